"""Make pictures that are no photos, from which `seesay calibrate --non-photos` learns `Caption.kind`.

    python scripts/make_non_photos.py OUT --debian FOLDER [--photos FOLDER] [--each 240]

Writes OUT/train/KIND and OUT/test/KIND for the kinds text, screenshot, chart, drawing and blank. The two
groups share no source: other fonts, texts, page designs, charts, icons, drawings and patterns. Needs
Chromium, matplotlib, and the contents of these Debian packages below FOLDER (`apt-get download NAMES`, then
`dpkg -x FILE FOLDER` for each):

    openclipart-png oxygen-icon-theme                                                          train
    gnome-icon-theme tango-icon-theme tuxpaint-data freeciv-data maxima-doc gnuplot-doc
    fonts-lato fonts-roboto-slab                                                                test

`--photos` names a folder of photos (training photos only), of which some become drawings: posterised, or
their edges alone.
"""

from __future__ import annotations

import argparse
import html
import pydoc
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

ROOT = Path(__file__).resolve().parents[1]
SIDES = (300, 380, 480)  # pixels of the pictures
CELL, CELLS = (480, 360), 16  # pages on one screenshot of Chromium, each cut out
LARGEST = 200_000  # bytes of a drawing's file; a few have 100 million pixels
FONTS = {
    "train": sorted(Path("/usr/share/fonts/truetype/liberation").glob("*.ttf")),
    "test": sorted(Path("/usr/share/fonts/truetype/dejavu").glob("*.ttf")),
}
Picture = Image.Image
Maker = Callable[[Random, "Sources"], Picture]


class Sources:
    """What one group may use: words, fonts, files and photos."""

    def __init__(self, group: str, debian: Path, photos: Path | None) -> None:
        self.group, self.share = group, debian / "usr" / "share"
        if group == "train":
            text = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "docs").glob("*.md")))
            self.drawings = self._files("openclipart", "icons/oxygen/base/256x256", "icons/oxygen/base/128x128")
            self.fonts = FONTS["train"]
        else:
            modules = ("argparse", "random", "statistics", "email", "zipfile", "turtle", "difflib", "calendar")
            text = "\n".join(pydoc.plain(pydoc.render_doc(name)) for name in modules)
            games = ("tuxpaint", "games/freeciv", "icons/gnome/256x256", "icons/Tango/32x32", "icons/gnome/48x48")
            self.drawings = self._files(*games)
            self.fonts = FONTS["test"] + sorted((self.share / "fonts").rglob("[LR]*.ttf"))  # Lato, Roboto
        self.words = [word for word in text.split() if word.isalpha()]
        self.pages = [*self.share.glob("doc/**/*.html")]
        self.photos = sorted(photos.glob("*.jpg")) if photos else []

    def _files(self, *folders: str) -> list[Path]:
        files = (path for folder in folders for path in (self.share / folder).rglob("*.png"))
        return sorted(path for path in files if path.is_file() and path.stat().st_size < LARGEST)

    def text(self, random: Random, low: int, high: int) -> str:
        start = random.randrange(len(self.words) - high)
        return " ".join(self.words[start : start + random.randint(low, high)])


def colour(random: Random, light: bool | None = None) -> tuple[int, int, int]:
    low, high = {None: (0, 255), True: (200, 255), False: (0, 90)}[light]
    return random.randint(low, high), random.randint(low, high), random.randint(low, high)


def canvas(random: Random, light: bool | None = True) -> Picture:
    return Image.new("RGB", (random.choice(SIDES), random.choice(SIDES)), colour(random, light))


# text


def lettered(random: Random, sources: Sources) -> Picture:
    """Lines of text in one font: from a single word across the picture to a page."""
    dark = random.random() < 0.3
    picture = canvas(random, light=not dark)
    draw, font = ImageDraw.Draw(picture), str(random.choice(sources.fonts))
    size = random.choice((9, 11, 13, 16, 22, 34, 60))
    drawn, line = ImageFont.truetype(font, size), max(2, int(picture.width / size * 1.7))
    margin, y = random.randint(4, 40), random.randint(4, 40)
    ink = colour(random, light=dark)
    while y < picture.height - (random.randint(0, 150) if random.random() < 0.3 else 0):
        text = sources.text(random, 1, 20)[:line]
        draw.text((margin, y), text, ink, drawn)
        y += int(size * random.choice((1.2, 1.4, 2.2)))
    if random.random() < 0.25:
        picture = picture.rotate(random.uniform(-8, 8), expand=False, fillcolor=picture.getpixel((0, 0)))
    return scanned(random, picture) if random.random() < 0.3 else picture


def scanned(random: Random, picture: Picture) -> Picture:
    """With the blur, shade and grain of a scan or a photocopy."""
    pixels = np.asarray(picture.filter(ImageFilter.GaussianBlur(random.uniform(0, 0.9))), np.float32)
    noise = np.random.default_rng(random.getrandbits(32))
    shade = np.linspace(random.uniform(0.75, 1), random.uniform(0.75, 1), picture.width)[None, :, None]
    pixels = pixels * shade + noise.normal(0, random.uniform(0, 9), pixels.shape)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def receipt(random: Random, sources: Sources) -> Picture:
    """Two columns: things and amounts; a form or a table of contents."""
    picture = canvas(random)
    draw, font = ImageDraw.Draw(picture), ImageFont.truetype(str(random.choice(sources.fonts)), random.randint(11, 18))
    for y in range(random.randint(5, 30), picture.height, random.randint(16, 30)):
        draw.text((12, y), sources.text(random, 1, 3)[:24], colour(random, False), font)
        draw.text((picture.width - 80, y), f"{random.uniform(0, 99):.2f}", colour(random, False), font)
        if random.random() < 0.2:
            draw.line((8, y, picture.width - 8, y), colour(random, False))
    return picture


# charts


def plotted(random: Random, sources: Sources) -> Picture:
    """One of matplotlib's charts."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    noise = np.random.default_rng(random.getrandbits(32))
    style = random.choice(["default", "ggplot", "bmh", "dark_background", "seaborn-v0_8", "grayscale"])
    with pyplot.style.context(style):
        figure, axes = pyplot.subplots(figsize=(random.uniform(3, 5), random.uniform(2.4, 4.5)), dpi=100)
        x = np.arange(random.randint(5, 40))
        kind = random.choice(["line", "bar", "pie", "scatter", "heat", "hist", "box", "area"])
        if kind == "line":
            axes.plot(x, noise.normal(0, 1, (len(x), random.randint(1, 4))).cumsum(0))
        elif kind == "bar":
            axes.bar(x[:12], noise.uniform(1, 9, len(x[:12])), color=random.choice(["C0", "C1", "C2", "C3"]))
        elif kind == "pie":
            axes.pie(noise.uniform(1, 5, random.randint(3, 7)), labels=None)
        elif kind == "scatter":
            axes.scatter(*noise.normal(0, 1, (2, 150)), s=random.randint(4, 60), c=noise.uniform(0, 1, 150))
        elif kind == "heat":
            axes.imshow(
                noise.uniform(0, 1, (random.randint(4, 20),) * 2), cmap=random.choice(["viridis", "gray", "hot"])
            )
        elif kind == "hist":
            axes.hist(noise.normal(0, 1, 400), bins=random.randint(8, 40))
        elif kind == "box":
            axes.boxplot(noise.normal(0, 1, (30, 5)))
        else:
            axes.stackplot(x, noise.uniform(0, 1, (3, len(x))))
        axes.set_title(sources.text(random, 1, 4))
        axes.set_xlabel(sources.text(random, 1, 3))
        figure.canvas.draw()
        picture = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")  # pyright: ignore
        pyplot.close(figure)
    return picture


def hand_made_chart(random: Random, sources: Sources) -> Picture:
    """Charts and diagrams that Pillow draws, with the test group's fonts: no library's design."""
    picture = canvas(random)
    draw, font = ImageDraw.Draw(picture), ImageFont.truetype(str(random.choice(sources.fonts)), 12)
    width, height = picture.size
    kind = random.choice(["bars", "rings", "lines", "boxes", "table"])
    if kind == "bars":
        for x in range(40, width - 20, (step := random.randint(18, 50))):
            top = random.randint(40, height - 50)
            draw.rectangle((x, top, x + step - 8, height - 30), colour(random))
            draw.text((x, height - 24), str(random.randint(1, 99)), "black", font)
    elif kind == "rings":
        radius, angle = min(width, height) // 2 - 30, 0
        box = (width // 2 - radius, height // 2 - radius, width // 2 + radius, height // 2 + radius)
        while angle < 360:
            turn = random.randint(15, 120)
            draw.pieslice(box, angle, min(360, angle + turn), colour(random), outline="white")
            angle += turn
    elif kind == "lines":
        for y in range(30, height - 20, 40):
            draw.line((30, y, width - 10, y), (190, 190, 190))
        for _ in range(random.randint(1, 3)):
            points = [(x, random.randint(30, height - 40)) for x in range(30, width - 10, 30)]
            draw.line(points, colour(random), width=random.randint(1, 4))
    elif kind == "boxes":
        spots = [(random.randint(5, width - 110), random.randint(5, height - 45)) for _ in range(random.randint(4, 9))]
        for (x, y), (u, v) in pairwise(spots):
            draw.line((x + 50, y + 15, u + 50, v + 15), "black", 2)
        for x, y in spots:
            draw.rectangle((x, y, x + 100, y + 34), colour(random, True), "black")
            draw.text((x + 6, y + 9), sources.text(random, 1, 2)[:14], "black", font)
    else:
        for y in range(10, height, 26):
            for x in range(10, width, 90):
                draw.rectangle((x, y, x + 90, y + 26), colour(random, True), "gray")
                draw.text((x + 5, y + 6), f"{random.uniform(0, 999):.1f}", "black", font)
    draw.text((40, 8), sources.text(random, 2, 5), "black", font)
    return picture


# drawings


def drawn(random: Random, sources: Sources) -> Picture:
    """Clip art or an icon on a plain or shaded ground; sometimes several."""
    ground = canvas(random, light=random.choice((True, True, None)))
    if random.random() < 0.25:
        ground = shaded(random, sources).resize(ground.size)
    for _ in range(random.choice((1, 1, 1, 2, 4, 9))):
        with Image.open(random.choice(sources.drawings)) as file:
            art = file.convert("RGBA")
        share = random.uniform(0.35, 0.95)
        scale = min(ground.width * share / art.width, ground.height * share / art.height)
        art = art.resize((max(1, int(art.width * scale)), max(1, int(art.height * scale))))
        at = random.randint(0, max(0, ground.width - art.width)), random.randint(0, max(0, ground.height - art.height))
        ground.paste(art, at, art)
    return ground


def from_photo(random: Random, sources: Sources) -> Picture:
    """A photo posterised like a poster, or its edges like a pencil drawing."""
    if not sources.photos:
        return drawn(random, sources)
    with Image.open(random.choice(sources.photos)) as file:
        photo = file.convert("RGB")
    if random.random() < 0.4:
        flat = photo.filter(ImageFilter.MedianFilter(7))
        return flat.quantize(random.choice((4, 6, 8))).convert("RGB")
    edges = photo.convert("L").filter(ImageFilter.GaussianBlur(random.uniform(0.6, 1.5))).filter(ImageFilter.FIND_EDGES)
    lines = ImageOps.invert(ImageOps.autocontrast(edges, cutoff=(60, 2)))
    if sources.group == "test":  # hatched with charcoal
        lines = lines.filter(ImageFilter.MinFilter(3))
    return lines.convert("RGB")


def shapes(random: Random, sources: Sources) -> Picture:
    """Flat shapes on a plain ground."""
    picture = canvas(random, None)
    draw = ImageDraw.Draw(picture)
    for _ in range(random.randint(1, 14)):
        x, y = random.randint(-40, picture.width), random.randint(-40, picture.height)
        box = (x, y, x + random.randint(20, 250), y + random.randint(20, 250))
        shape = random.choice(["ellipse", "rectangle", "line", "polygon"])
        if shape == "polygon":
            draw.polygon([(random.randint(0, 480), random.randint(0, 480)) for _ in range(3)], colour(random))
        else:
            getattr(draw, shape)(box, colour(random))
    return picture


# blanks


def shaded(random: Random, sources: Sources) -> Picture:
    """A plain colour or a gradient between two."""
    one, two = np.array(colour(random, None), float), np.array(colour(random, None), float)
    two = one if random.random() < 0.3 else two
    y, x = np.mgrid[0:1:128j, 0:1:128j]
    angle = random.uniform(0, 7)
    t = x * np.cos(angle) + y * np.sin(angle)
    if sources.group == "test":  # around a point
        t = np.hypot(x - random.random(), y - random.random())
    t = ((t - t.min()) / max(float(np.ptp(t)), 1e-9))[..., None]
    return Image.fromarray((one * (1 - t) + two * t).astype(np.uint8)).resize((360, 360))


def noisy(random: Random, sources: Sources) -> Picture:
    """Noise of one scale (train), or of many at once, as clouds have it (test)."""
    noise = np.random.default_rng(random.getrandbits(32))
    channels = random.choice((1, 3))
    total = np.zeros((256, 256, channels))
    sizes = [random.choice((4, 16, 64, 256))] if sources.group == "train" else [4, 8, 16, 32, 64, 128, 256]
    for size in sizes:
        layer = noise.uniform(0, 255 / len(sizes) * 1.0, (size, size, channels)).astype(np.float32)
        grown = [np.asarray(Image.fromarray(layer[..., c]).resize((256, 256))) for c in range(channels)]
        total += np.stack(grown, -1) * (1 if len(sizes) == 1 else 3 / np.log2(size))
    total = np.repeat(total, 3 // channels, axis=-1)
    return Image.fromarray(np.clip(total, 0, 255).astype(np.uint8))


def patterned(random: Random, sources: Sources) -> Picture:
    """Stripes or a checkerboard (train), dots or waves (test)."""
    y, x = np.mgrid[0:320, 0:320]
    step = random.choice((8, 20, 40, 80))
    if sources.group == "train":
        on = (x // step + (y // step if random.random() < 0.5 else 0)) % 2 == 0
    elif random.random() < 0.5:
        on = (x % step - step / 2) ** 2 + (y % step - step / 2) ** 2 < (step / 3) ** 2
    else:
        on = np.sin(np.hypot(x - 160, y - 160) / step * 4) > 0
    return Image.fromarray(np.where(on[..., None], colour(random), colour(random)).astype(np.uint8))


# screenshots, by Chromium


def web_page(random: Random, sources: Sources) -> str:
    """A made-up page, form, list or shop."""
    ink, ground, accent = (f"rgb{colour(random, light)}" for light in (False, True, None))
    if random.random() < 0.3:
        ink, ground = ground, ink
    text = lambda low, high: html.escape(sources.text(random, low, high))  # noqa: E731
    menu = "".join(f"<a style='margin:8px'>{text(1, 1)}</a>" for _ in range(random.randint(3, 6)))
    kind = random.choice(["article", "cards", "form", "list", "code", "mail"])
    if kind == "cards":
        card = "<div style='border:1px solid gray;width:28%;display:inline-block;margin:4px;padding:4px'><div style="
        card += "'height:50px;background:{}'></div><b>{}</b><br><small>{}</small></div>"
        body = "".join(card.format(f"rgb{colour(random)}", text(1, 2), text(2, 6)) for _ in range(6))
    elif kind == "form":
        body = "".join(f"<p>{text(1, 3)}<br><input value='{text(0, 3)}'>" for _ in range(4)) + "<button>OK</button>"
    elif kind == "list":
        body = "<ul>" + "".join(f"<li><a href=x>{text(2, 8)}</a>" for _ in range(14)) + "</ul>"
    elif kind == "code":
        lines = "\n".join("  " * random.randint(0, 4) + text(1, 6) + " = " + text(1, 2) for _ in range(22))
        body = f"<pre style='color:{accent}'>{lines}</pre>"
    elif kind == "mail":
        row = "<tr><td><b>{}</b><td>{}<td>{}"
        body = "<table>" + "".join(row.format(text(1, 2), text(3, 7), random.randint(1, 28)) for _ in range(14))
        body += "</table>"
    else:
        body = f"<h1>{text(2, 6)}</h1>" + "".join(f"<p>{text(15, 60)}" for _ in range(4))
    family = random.choice(["Liberation Sans", "Liberation Serif", "Liberation Mono"])
    style = f"font:{random.randint(10, 17)}px {family};color:{ink};background:{ground};width:100%;height:100%"
    bar = f"<div style='background:{accent};padding:6px'>{menu}</div>"
    return f"<div style='{style}'>{bar}<div style='padding:10px'>{body}</div></div>"


def terminal(random: Random, sources: Sources) -> str:
    """A terminal with output of commands."""
    lines = [f"user@{sources.words[0]}:~$ {html.escape(sources.text(random, 1, 4))}"]
    for _ in range(28):
        lines.append(
            html.escape(" ".join(random.choice([sources.text(random, 1, 6), f"{random.random():.4f}"]) for _ in "ab"))
        )
    ink, ground = random.choice([("#0f0", "#000"), ("#ddd", "#222"), ("#eee", "#300a24"), ("#333", "#fdf6e3")])
    style = f"font:{random.randint(10, 15)}px Liberation Mono;color:{ink};background:{ground};width:100%;height:100%"
    return f"<pre style='margin:0;padding:6px;{style}'>" + "\n".join(lines) + "</pre>"


def manual(random: Random, sources: Sources) -> str:
    """A page of a manual that others designed, at some place and scale."""
    page, scale = random.choice(sources.pages), random.choice((0.6, 0.8, 1, 1.4))
    frame = f"<iframe src='file://{page.resolve()}' style='border:0;transform-origin:0 0;transform:scale({scale});"
    return frame + f"width:{100 / scale}%;height:2000px;margin-top:-{random.choice((0, 0, 100, 300))}px'></iframe>"


def screenshots(makers: list[Callable[[Random, Sources], str]], sources: Sources, number: int) -> Iterator[Picture]:
    """Pages as Chromium shows them."""
    random, made = Random(f"screenshot {sources.group}"), 0
    while made < number:
        cells = [random.choice(makers)(random, sources) for _ in range(CELLS)]
        frame = f"<div style='width:{CELL[0]}px;height:{CELL[1]}px;overflow:hidden;position:relative;background:white'>"
        body = "".join(f"{frame}{cell}</div>" for cell in cells)
        with tempfile.TemporaryDirectory() as folder:
            page, shot = Path(folder) / "page.html", Path(folder) / "shot.png"
            page.write_text(f"<meta charset=utf-8><body style='margin:0'>{body}", encoding="utf-8")
            size = f"--window-size={CELL[0]},{CELL[1] * CELLS}"
            flags = [
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--allow-file-access-from-files",
            ]
            subprocess.run(
                ["chromium", *flags, size, f"--screenshot={shot}", f"file://{page}"], check=True, capture_output=True
            )
            with Image.open(shot) as file:
                tall = file.convert("RGB")
        for index in range(CELLS):
            cell = tall.crop((0, index * CELL[1], CELL[0], (index + 1) * CELL[1]))
            if np.asarray(cell).std() > 5:  # a page that had not loaded is white
                made += 1
                yield cell


PICTURES: dict[str, dict[str, list[Maker]]] = {
    "train": {
        "text": [lettered, lettered, receipt],
        "chart": [plotted],
        "drawing": [drawn, drawn, drawn, from_photo, shapes],
        "blank": [shaded, noisy, patterned],
    },
    "test": {
        "text": [lettered],
        "chart": [hand_made_chart],
        "drawing": [drawn, drawn, from_photo],
        "blank": [shaded, noisy, patterned],
    },
}
PAGES: dict[str, list[Callable[[Random, Sources], str]]] = {"train": [web_page, terminal], "test": [manual]}


def main() -> None:
    """Make both groups."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--debian", type=Path, required=True)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--each", type=int, default=240, help="pictures of each kind for training; a half for the test")
    arguments = parser.parse_args()
    for group, kinds in PICTURES.items():
        sources = Sources(group, arguments.debian, arguments.photos)
        number = arguments.each if group == "train" else arguments.each // 2
        for kind, makers in kinds.items():
            random = Random(f"{kind} {group}")
            pictures = (random.choice(makers)(random, sources) for _ in range(number))
            save(arguments.out / group / kind, pictures)
        save(arguments.out / group / "screenshot", screenshots(PAGES[group], sources, number))


def save(folder: Path, pictures: Iterator[Picture]) -> None:
    """As PNG and JPEG in turns, so that neither says what a picture is."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for count, picture in enumerate(pictures, start=1):
        name = folder / f"{count:04}"
        if count % 2:
            picture.convert("RGB").save(name.with_suffix(".png"))
        else:
            picture.convert("RGB").save(name.with_suffix(".jpg"), quality=85)
    print(f"{folder}: {count:,} pictures", flush=True)


if __name__ == "__main__":
    main()
