"""The pictures and the page: geometry, what reaches the reader, and what must not."""

from __future__ import annotations

import base64
import io
import json
import math
import re
import shutil
import subprocess
import weakref
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seesay.caption import Caption, Failure, Word
from seesay.errors import SeesayError
from seesay.explain import (
    ScoredPhoto,
    Section,
    Summary,
    display,
    draw_figure,
    draw_overlay,
    heat,
    heat_map,
    render_page,
    render_report,
    write_page,
    write_report,
)
from seesay.explain.lettering import percent, width, wrap
from seesay.explain.overlay import FULL_FALL
from seesay.explain.page import item_html
from seesay.geometry import region_box

GRIDS = [(3, 5), (7, 2), (1, 1), (1, 4)]
SIZES = [(101, 67), (67, 101), (640, 64)]


def one_hot(row: int, col: int, grid: tuple[int, int]) -> np.ndarray:
    weights = np.zeros(grid, np.float32)
    weights[row, col] = 1
    return weights


def caption(text: str, image: str | None = "photo.jpg", grid: tuple[int, int] = (3, 5)) -> Caption:
    words = [
        Word(word, -0.5 * place, one_hot(place % grid[0], place % grid[1], grid))
        for place, word in enumerate(text.split())
    ]
    return Caption(text, -3.0, tuple(words), image)


def photo(size: tuple[int, int] = (101, 67), mode: str = "RGB") -> Image.Image:
    return Image.new("RGB", size, (120, 130, 140)).convert(mode)


# --- overlay ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("grid", [(3, 5), (7, 2), (1, 4)])
def test_one_hot_lights_its_own_region(grid: tuple[int, int], smooth: bool, size: tuple[int, int]) -> None:
    for row, col in np.ndindex(*grid):
        left, top, right, bottom = region_box(row, col, grid, size)
        lit = heat_map(one_hot(row, col, grid), size, smooth)
        assert lit.shape == size[::-1]
        y, x = (axis.mean() + 0.5 for axis in np.nonzero(lit == lit.max()))
        assert left < x < right and top < y < bottom
        bleed = 0.5 if smooth else 0.0
        wide, high = (right - left) * bleed + 0.5, (bottom - top) * bleed + 0.5  # half a pixel of rounding
        ys, xs = np.nonzero(lit)
        assert left - wide <= xs.min() + 0.5 and xs.max() + 0.5 <= right + wide
        assert top - high <= ys.min() + 0.5 and ys.max() + 0.5 <= bottom + high


@pytest.mark.parametrize("grid", GRIDS)
def test_uniform_attention_leaves_the_photo_as_it_is(grid: tuple[int, int]) -> None:
    uniform = np.full(grid, 1 / math.prod(grid), np.float32)
    assert np.allclose(heat(uniform), 0.5, atol=1e-6)
    assert draw_overlay(photo(), uniform).tobytes() == photo().tobytes()


def test_noise_around_uniform_stays_near_uniform() -> None:
    noise = 1 + 0.1 * np.random.default_rng(0).standard_normal((8, 8))
    assert np.abs(heat(noise / noise.sum()) - 0.5).max() < 0.1


def test_heat_grows_with_the_weight_and_ignores_the_maps_own_extremes() -> None:
    flat, peaked = np.full((4, 4), 1 / 16), np.full((4, 4), 0.5 / 15)
    peaked[0, 0] = 0.5
    assert heat(peaked)[0, 0] == 1  # sqrt(16) times uniform or more
    flat[0, :2] = 2 / 16, 0
    assert heat(flat)[0, 0] == pytest.approx(0.75)  # half way, on the log scale, to sqrt(16) times uniform
    assert heat(flat)[0, 1] == 0


def test_overlay_shades_the_rest_and_tints_the_region() -> None:
    drawn = np.asarray(draw_overlay(photo((50, 30)), one_hot(1, 2, (3, 5)))).astype(int)
    dark, lit = drawn[0, 0], drawn[15, 25]
    assert dark.max() < 0.4 * 120
    assert lit[0] > 120 and lit[2] < 140  # towards amber


@pytest.mark.parametrize("bad", [np.ones(4), np.ones((0, 3)), np.array([[0.5, -0.5]]), np.array([[np.nan, 1]])])
def test_attention_that_is_none_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="attention"):
        heat(bad)


# --- figure ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (2, 900), (3000, 40), (500, 375)])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK"])
def test_figure_takes_any_photo(size: tuple[int, int], mode: str) -> None:
    drawn = draw_figure(photo(size, mode), caption("a dog runs"))
    assert drawn.mode == "RGB" and drawn.width < 2000 and drawn.height < 1000
    assert drawn.getpixel((0, 0)) == drawn.getpixel((drawn.width - 1, drawn.height - 1)) == (255, 255, 255)


def test_figure_has_a_tile_for_the_photo_and_each_word() -> None:
    few, many = draw_figure(photo(), caption("a b c"), 4), draw_figure(photo(), caption("a b c d"), 4)
    assert few.width == many.width and many.height > few.height
    assert draw_figure(photo(), caption("a b c"), columns=1).height > 3 * few.height


def test_figure_differs_between_words_that_looked_elsewhere() -> None:
    here, there = (Caption("dog", 0.0, (Word("dog", 0.0, one_hot(0, col, (1, 5))),)) for col in (0, 4))
    assert draw_figure(photo(), here).tobytes() != draw_figure(photo(), there).tobytes()


def test_figure_survives_odd_text() -> None:
    odd = ["Straßenbahnhaltestellenüberdachung", "犬", "🐶", "e\u0301", "x" * 300, "\udcff"]
    drawn = draw_figure(photo(), caption(" ".join(odd), image="\udcff.jpg"))
    assert drawn.width < 2000
    draw_figure(photo(), Caption("", 0.0, ()))


def test_figure_refuses_no_columns() -> None:
    with pytest.raises(ValueError, match="columns"):
        draw_figure(photo(), caption("a"), columns=0)


def test_wrapping_keeps_every_word_within_the_width() -> None:
    text = "the quick brown fox jumps over the lazy dog"
    lines = wrap(text, 20, 120)
    assert " ".join(lines) == text and len(lines) > 2
    assert all(width(line, 20) <= 120 for line in lines)
    assert wrap("w" * 99, 20, 120)[0].endswith("...")


def test_percent() -> None:
    assert [percent(math.log(p)) for p in (1, 0.874, 0.01, 0.004)] == ["100%", "87%", "1%", "<1%"]
    assert percent(-math.inf) == "<1%"


# --- page ------------------------------------------------------------------------------------------------------------

HOSTILE = '</script><script>alert(1)</script> "q" \' & <img src=x onerror=alert(2)> {{script}}'


class Page(HTMLParser):
    """The page as a browser would take it apart: elements with their attributes, and what stands in them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if data.strip() and self.elements:
            self.inside.append((self.elements[-1][0], data))

    def attributes(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        of_tag = [attrs for name, attrs in self.elements if name == tag]
        return [attrs for attrs in of_tag if wanted.items() <= attrs.items()]

    def data(self, tag: str) -> list[str]:
        return [text for name, text in self.inside if name == tag]


def heat_numbers(page: Page) -> list[np.ndarray]:
    return [np.array(json.loads(text)["looked"]) for text in page.data("script") if text.startswith("{")]


def test_page_holds_photo_caption_and_numbers() -> None:
    said = caption("a brown dog")
    page = Page(render_page([(photo(), said)], "My photos"))
    (image,) = page.attributes("img")
    assert image["alt"] == "a brown dog"
    words = page.attributes("button", **{"class": "word"})
    assert [word["aria-label"] for word in words] == ["a, 100% sure", "brown, 61% sure", "dog, 37% sure"]
    assert page.data("title") == page.data("h1") == ["My photos"]
    expected = np.stack([np.rint(heat(word.attention) * 255) for word in said.words])
    assert np.array_equal(heat_numbers(page)[0], expected)


def test_page_shows_what_each_word_needed_where_it_is_given() -> None:
    said = caption("a dog")
    falls = np.zeros((2, 3, 4), np.float32)
    falls[1, 2, 0], falls[1, 0, 3] = FULL_FALL, -2.0
    html = item_html(photo(), said, needed=falls)
    page = Page(html)
    (numbers,) = [json.loads(text) for text in page.data("script") if text.startswith("{")]
    assert np.array(numbers["needed"]).shape == (2, 3, 4)
    assert (numbers["needed"][1][2][0], numbers["needed"][1][0][3], numbers["needed"][0][0][0]) == (255, 0, 128)
    (switch,) = page.attributes("button", **{"class": "switch"})
    assert switch["aria-pressed"] == "false"
    assert not Page(item_html(photo(), said)).attributes("button", **{"class": "switch"})


@pytest.mark.parametrize(("size", "shown"), [((1280, 320), (640, 160)), ((50, 20), (50, 20)), ((1, 3000), (1, 640))])
def test_photos_are_shrunk_into_the_page(size: tuple[int, int], shown: tuple[int, int]) -> None:
    (image,) = Page(render_page([(photo(size, "RGBA"), caption("a"))])).attributes("img")
    kind, data = str(image["src"]).split(",")
    decoded = Image.open(io.BytesIO(base64.b64decode(data)))
    assert kind == "data:image/jpeg;base64" and decoded.size == shown
    assert (image["width"], image["height"]) == (str(shown[0]), str(shown[1]))


def test_page_asks_nothing_of_the_network() -> None:
    text = render_page([(photo(), caption("a dog")), (photo(), caption("a cat"))])
    page = Page(text)
    assert not page.attributes("link") and not re.search(r"https?:|@import|url\(", text)
    assert all(str(attrs["src"]).startswith("data:") for _, attrs in page.elements if "src" in attrs)
    assert "default-src 'none'" in text
    assert "{{" not in text


def test_hostile_text_stays_text() -> None:
    failed = Failure(HOSTILE, f"bad {HOSTILE}")
    items = [(photo(), caption(HOSTILE, image=HOSTILE)), (None, failed)]
    hostile, tame = Page(render_page(items, HOSTILE)), Page(render_page([(photo(), caption("a " * 9))], "t"))
    count = len(hostile.attributes("script"))
    assert count == len(tame.attributes("script")) == 2
    assert hostile.data("h1") == [HOSTILE] and hostile.attributes("img")[0]["alt"] == HOSTILE
    assert len(hostile.attributes("img")) == 1
    last = hostile.attributes("button", **{"class": "word"})[-1]
    assert str(last["aria-label"]).startswith("{{script}}, ")


def test_failed_photo_is_one_line() -> None:
    page = Page(render_page([(None, Failure("albums/broken.jpg", "not an image"))]))
    assert "broken.jpg: not an image" in page.data("p")
    assert not page.attributes("figure")


def test_several_captions_of_a_photo() -> None:
    """The first is shown word by word, the others stand below it, whatever is in them."""
    several = [caption("a dog runs"), caption("two dogs"), caption(HOSTILE)]
    page = Page(render_page([(photo(), several)]))
    assert len(page.attributes("button", **{"class": "word"})) == 3
    assert page.data("li") == ["two dogs ", f"{HOSTILE} "]
    assert page.data("span").count("-3.0") == 2
    assert not Page(render_page([(photo(), several[:1])])).data("li")


def test_several_captions_have_their_confidence_where_it_is_known() -> None:
    said = [caption(text) for text in ("a dog", "a cat")]
    assert f"with their log-probabilities (the caption above: {said[0].score:.1f})" in item_html(photo(), said)
    sure = [replace(one, confidence=p) for one, p in zip(said, (0.75, 0.5), strict=True)]
    html = item_html(photo(), sure)
    assert "with their confidence (the caption above: 75%)" in html and "<li>a cat <span>50%</span></li>" in html


def test_a_caption_needs_its_photo() -> None:
    with pytest.raises(ValueError, match=r"^'a dog': a caption is shown on its photo, got None$"):
        render_page([(None, caption("a dog"))])


@pytest.mark.parametrize("kind", ["path", "bytes", "picture", "opened"])
def test_a_caption_draws_itself(kind: str, tmp_path: Path) -> None:
    """On whatever was captioned, turned upright; a photo that has been opened is not opened again."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6
    path = tmp_path / "a.png"
    image.save(path, exif=exif)
    upright = image.transpose(Image.Transpose.ROTATE_270)
    given: dict[str, Any] = {"path": path, "bytes": path.read_bytes(), "opened": SimpleNamespace(picture=upright)}
    with Image.open(path) as picture:
        photo_given = given.get(kind, picture)
        said = caption("a dog runs")
        figure, overlay = said.figure(photo_given), said.overlay(photo_given, "dog")
        assert figure.size != said.figure(photo_given, columns=1).size
    assert figure.tobytes() == draw_figure(upright, said).tobytes()
    assert overlay.tobytes() == draw_overlay(upright, said.words[1].attention).tobytes()


def test_a_word_by_its_text_its_place_or_itself() -> None:
    said = caption("a dog a cat")
    maps = [said.overlay(photo(), word).tobytes() for word in range(4)]
    assert len(set(maps)) == 4
    assert said.overlay(photo(), "a").tobytes() == maps[0]
    assert said.overlay(photo(), -1).tobytes() == said.overlay(photo(), said.words[3]).tobytes() == maps[3]
    for word in ("dogs", 4, -5):
        with pytest.raises(ValueError, match=rf"^word={word!r}: 'a dog a cat' has no such word$"):
            said.overlay(photo(), word)


def test_caption_without_words_shows_its_text() -> None:
    page = Page(render_page([(photo(), Caption("a dog", -1.0, ()))]))
    assert "a dog" in page.data("p") and not page.attributes("button")


def test_write_page(tmp_path: Path) -> None:
    items = [(photo(), caption("ein Hündchen läuft", image="\udcff.jpg"))]
    path = write_page(tmp_path / "new" / "page.html", items, "Überblick")
    assert "Hündchen" in path.read_text("utf-8") and "Überblick" in path.read_text("utf-8")
    with pytest.raises(SeesayError, match=r"page\.html: cannot be written: .*: File exists"):
        write_page(path / "page.html", items)


# --- report ----------------------------------------------------------------------------------------------------------


def judged(text: str, cider: float = 1.0, image: str = "photo.jpg") -> ScoredPhoto:
    return ScoredPhoto(photo((700, 350)), caption(text, image), cider, [f"people wrote {text}", HOSTILE])


def test_report_shows_figures_photos_and_references() -> None:
    figures = Summary({"CIDEr": "63.4"}, {"Length": "10.2 words"}, {"Words": {"3": 1, "4": 0, "5": 2}}, ["Few images"])
    sections = [
        Section("The best", "First.", [judged("a dog", 1.234)]),
        Section("None", "Nothing to see.", []),
        Section("The worst", "Last.", iter([judged("a", 0.0), judged("b", 0.0, HOSTILE)])),
    ]
    text = render_report(f"Model {HOSTILE}", figures, sections)
    page = Page(text)
    assert page.data("h1") == [f"Model {HOSTILE}"]
    assert page.data("dt") == ["CIDEr", "Length"] and page.data("dd") == ["63.4", "10.2 words"]
    assert "Few images" in page.data("p")
    assert [image["width"] for image in page.attributes("img")] == ["320"] * 3
    assert [said for said in page.data("p") if "CIDEr" in said] == ["CIDEr 123.4", "CIDEr 0.0", "CIDEr 0.0"]
    assert page.data("li") == [said for name in ("a dog", "a", "b") for said in (f"people wrote {name}", HOSTILE)]
    assert len(page.attributes("script")) == 4, "one a photo and the page's"
    assert [link["href"] for link in page.attributes("a")] == ["#the-best", "#the-worst"]
    assert page.attributes("section", id="the-best") and "Nothing to see." not in page.data("p")
    bars = page.attributes("i", style="--h:0.500") + page.attributes("i", style="--h:0.000")
    assert [bar["title"] for bar in bars] == ["3: 1", "4: 0"]
    assert page.attributes("div", role="img")[0]["aria-label"] == "Words, 3: 1, 4: 0, 5: 2"
    assert not re.search(r"https?:|@import|url\(|\{\{[^s]", text)


def test_report_of_nothing() -> None:
    page = Page(render_report("Empty", Summary({}, charts={"Words": {}}), []))
    assert page.data("h1") == ["Empty"] and not page.attributes("figure")


def test_report_shows_why_a_photo_is_not_there() -> None:
    gone = ScoredPhoto(None, Failure("a.jpg", "no such file"), 0.5, ["a cat sits"])
    page = render_report("t", Summary({}), [Section("All", "", [gone, judged("a dog")])])
    assert '<p class="failed">a.jpg: no such file</p>' in page
    assert page.count("<figure>") == 1


def test_report_opens_one_photo_at_a_time(tmp_path: Path) -> None:
    handed_out: list[weakref.ref[Image.Image]] = []

    def photos():
        for _ in range(3):
            item = judged("a dog")
            assert item.image
            handed_out.append(weakref.ref(item.image))
            yield item
            del item
            assert sum(image() is not None for image in handed_out) <= 1

    path = write_report(tmp_path / "new" / "report.html", "t", Summary({}), [Section("All", "", photos())])
    assert path.read_text("utf-8").count("<figure>") == 3


def test_notebook_draws_a_fragment_and_prints_the_sentence() -> None:
    shown = display(photo(), caption("a dog"))
    page = Page(shown._repr_html_())
    assert len(page.attributes("button", **{"class": "word"})) == 2 and not page.attributes("html")
    assert repr(shown) == "a dog"


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
# Presses a word as a reader would, then reports where the canvas glows most, as fractions of its size.
PROBE = """<script>
document.querySelectorAll(".word")[1].click();
const canvas = document.querySelector("canvas"), { width, height } = canvas;
const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
const glow = (i) => (pixels[i] > 0 ? pixels[i + 3] : 0);
let best = 0;
for (let i = 0; i < pixels.length; i += 4) if (glow(i) > glow(best)) best = i;
const x = ((best / 4) % width) / width, y = Math.floor(best / 4 / width) / height;
document.title = JSON.stringify([x, y, glow(best)]);
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the path")
def test_browser_lights_the_word_that_is_pressed(tmp_path: Path) -> None:
    assert CHROMIUM
    path = tmp_path / "page.html"
    path.write_text(render_page([(photo((202, 134)), caption("a dog"))]).replace("</body>", PROBE), "utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--disable-component-update", "--disable-sync", "--force-prefers-reduced-motion", "--dump-dom"]
    command = [CHROMIUM, *flags, f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    x, y, opacity = json.loads(Page(dom).data("title")[0])
    left, top, right, bottom = region_box(1, 1, (3, 5), (1, 1))  # the second word looked at row 1, column 1
    assert left < x < right and top < y < bottom and opacity > 90
