"""One HTML file that shows photos, captions, and where the model looked for each word; it needs no network."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from collections.abc import Iterable
from functools import cache
from html import escape
from pathlib import Path, PurePath

import numpy as np
from PIL import Image

from seesay.caption import Caption, Failure, Word
from seesay.errors import SeesayError
from seesay.explain.lettering import percent
from seesay.explain.overlay import GLOW, GLOW_OPACITY, SHADE, SHADE_OPACITY, fall_heat, heat
from seesay.writing import write_text

Result = Caption | list[Caption] | Failure
Item = tuple[Image.Image | None, Result]  # the picture may be None where there is no caption

LONG_SIDE = 640  # pixels; larger photos are shrunk to it
QUALITY = 82


def render_page(items: Iterable[Item], title: str = "seesay") -> str:
    """The page as one self-contained HTML document.

    Args:
        items: upright photos (any mode and size) with their captions, shown in this order, or with the reason why
            there is none. Of several captions the first one is shown word by word, the others below it.
        title: heading and window title, plain text.

    Raises:
        ValueError: a word's attention is not (rows, cols) weights.
    """
    return fill_page(title, "\n".join(item_html(image, caption) for image, caption in items))


def fill_page(title: str, items: str, style: str = "") -> str:
    """The page around what stands on it.

    Args:
        title: heading and window title, plain text.
        items: HTML, from `item_html` and around it.
        style: CSS beside the page's own.
    """
    css = read_template("page.css") + style
    return fill_template("page.html", title=escape(title), style=css, script=_script(), items=items)


def write_page(path: str | Path, items: Iterable[Item], title: str = "seesay") -> Path:
    """Write `render_page` to a file, whose folder is made if need be, and return its path.

    Raises:
        SeesayError: the file cannot be written.
        ValueError: a word's attention is not (rows, cols) weights.
    """
    return write_html(path, render_page(items, title))


def write_html(path: str | Path, page: str) -> Path:
    """Write a page to a file, whose folder is made if need be, and return its path.

    Raises:
        SeesayError: the file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SeesayError(f"{path}: cannot be written: {path.parent}: {error.strerror}") from error
    write_text(path, page, "replace")
    return path


def render_fragment(image: Image.Image, caption: Caption) -> str:
    """One photo and its caption as HTML to be put into another page, with its own style and script."""
    style, script = read_template("page.css"), _script()
    return f'<div class="seesay"><style>{style}</style>{item_html(image, caption)}</div><script>{script}</script>'


def item_html(
    image: Image.Image | None,
    result: Result,
    long_side: int = LONG_SIDE,
    below: str = "",
    several: str = "alternatives",
    needed: np.ndarray | None = None,
) -> str:
    """One photo with its caption, the words of which light it up in a page with the page's script.

    Args:
        image: the upright photo; None where it could not be read.
        result: its caption, several of them, or a Failure, of which the file's name and the reason are shown.
        long_side: pixels; larger photos are shrunk to it.
        below: HTML under the caption.
        several: what several captions are called.
        needed: (words, rows, cols) falls of `CaptionModel.occlusion` of the caption shown word by word;
            the page then shows them as a second map.
    """
    if isinstance(result, Failure):
        name = f"{PurePath(result.image).name}: " if result.image else ""
        return f'<p class="failed">{escape(name + result.reason)}</p>'
    caption, *others = result if isinstance(result, list) else [result]
    if image is None:
        raise ValueError(f"'{caption.text}': a caption is shown on its photo, got None")
    name = PurePath(caption.image).name if caption.image else ""
    below = (_others_html(caption, others, several) if others else "") + below
    photo, alt = _shrunk(image, long_side), escape(caption.text)
    wide, high = photo.size
    play = '<button type="button" class="play">Play</button>' if caption.words else ""
    if needed is not None and caption.words:
        play += '<button type="button" class="switch" aria-pressed="false">What it needed</button>'
    return f"""<figure>
<div class="photo" style="--aspect:{wide / high:.4f}">
<img src="{_data_url(photo)}" width="{wide}" height="{high}" alt="{alt}"><canvas aria-hidden="true"></canvas>
</div>
<figcaption>
<p class="caption" role="group" aria-label="Caption, word by word">{_sentence(caption)}</p>
<p class="meta"><span class="name">{escape(name)}</span>{play}<span class="readout" aria-hidden="true"></span></p>
{below}<script type="application/json">{_heat_json(caption, needed)}</script>
</figcaption>
</figure>"""


def _others_html(first: Caption, others: list[Caption], several: str) -> str:
    """Captions beside the first one, each with its log-probability."""
    rows = "".join(f"<li>{escape(each.text)} <span>{each.score:.1f}</span></li>" for each in others)
    about = f"{several.capitalize()}, with their log-probabilities (the caption above: {first.score:.1f})"
    return f'<div class="others"><p>{escape(about)}</p><ul>{rows}</ul></div>'


def _sentence(caption: Caption) -> str:
    return " ".join(map(_word, caption.words)) or escape(caption.text)


def _word(word: Word) -> str:
    text, sure = escape(word.text), escape(percent(word.logprob))
    return (
        f'<button type="button" class="word" style="--p:{math.exp(min(word.logprob, 0.0)):.3f}" '
        f'data-percent="{sure}"{_chosen(word)} aria-pressed="false" aria-label="{text}, {sure} sure">{text}</button>'
    )


def _chosen(word: Word) -> str:
    """The regions that hard attention took, for the page to frame."""
    return f' data-chosen="{json.dumps(word.chosen)}"' if word.chosen else ""


def _heat_json(caption: Caption, needed: np.ndarray | None = None) -> str:
    """(words, rows, cols) heat as whole numbers 0-255, of attention and, where they are given, of the falls."""
    kinds = {"looked": [heat(word.attention) for word in caption.words]}
    if needed is not None:
        kinds["needed"] = [fall_heat(falls) for falls in needed]
    maps = {kind: [np.rint(each * 255).astype(int).tolist() for each in maps] for kind, maps in kinds.items()}
    return json.dumps(maps, separators=(",", ":"))


def photo_data(image: Image.Image, long_side: int) -> tuple[str, int, int]:
    """A photo as the address of an `img`, with the width and height that it has there.

    Args:
        image: upright, any mode and size.
        long_side: pixels; larger photos are shrunk to it.
    """
    photo = _shrunk(image, long_side)
    return _data_url(photo), *photo.size


def _shrunk(image: Image.Image, long_side: int) -> Image.Image:
    photo = image.convert("RGB")
    photo.thumbnail((long_side, long_side), Image.Resampling.LANCZOS)
    return photo


def _data_url(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


@cache
def read_template(name: str) -> str:
    """A file of the folder `template`."""
    return (Path(__file__).parent / "template" / name).read_text("utf-8")


def _script() -> str:
    colours = {"shade": (*SHADE, SHADE_OPACITY), "glow": (*GLOW, GLOW_OPACITY)}
    return fill_template("page.js", colours=json.dumps(colours))


def fill_template(template: str, **values: str) -> str:
    """Put the values into a template's {{names}}, in one pass: values may hold braces of their own."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], read_template(template))
