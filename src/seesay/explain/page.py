"""A self-contained HTML page of captioned photos that shows the attention of each word."""

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
Item = tuple[Image.Image | None, Result]  # the picture may be None for a Failure

LONG_SIDE = 640  # pixels; larger photos are shrunk to it
MANY = 24  # photos from which on a page is a searchable gallery of small ones
SMALL_SIDE = 320  # pixels, there
QUALITY = 82  # of the JPEGs


def render_page(items: Iterable[Item], title: str = "seesay") -> str:
    """The page as one self-contained HTML document.

    Args:
        items: upright photos (any mode and size), in this order, with their captions or a Failure.
            Of a list of captions the first one is shown word by word, the others below it.
        title: heading and window title, plain text.

    Raises:
        ValueError: a word's attention is not (rows, cols) weights.
    """
    return fill_page(title, "\n".join(item_html(image, caption) for image, caption in items))


def fill_gallery(title: str, items: Iterable[str]) -> str:
    """The page around many photos: small, side by side, searched by their captions and names.

    Args:
        title: heading and window title, plain text.
        items: HTML, from `item_html` with `SMALL_SIDE`.
    """
    search = (
        '<p class="search" hidden><label>Search <input type="search" autocomplete="off"></label>'
        '<span role="status"></span></p>'
    )
    gallery = f'<section>{search}<div class="cards">\n{"".join(items)}\n</div></section>'
    return fill_page(title, gallery, read_template("cards.css") + read_template("many.css"))


def fill_page(title: str, items: str, style: str = "") -> str:
    """Put HTML of photos into the page.

    Args:
        title: heading and window title, plain text.
        items: HTML, as `item_html` returns it.
        style: additional CSS.
    """
    css = read_template("page.css") + style
    return fill_template("page.html", title=escape(title), style=css, script=page_script(), items=items)


def write_page(path: str | Path, items: Iterable[Item], title: str = "seesay") -> Path:
    """Write `render_page` to a file, creating its folder, and return the path.

    Raises:
        SeesayError: the file cannot be written.
        ValueError: a word's attention is not (rows, cols) weights.
    """
    return write_html(path, render_page(items, title))


def write_html(path: str | Path, page: str) -> Path:
    """Write a page to a file, creating its folder, and return the path.

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


def render_fragment(items: str, style: str = "") -> str:
    """HTML to be put into another page, with its own style and script.

    Args:
        items: from `item_html` and around it.
        style: CSS beside the page's own.
    """
    css = read_template("page.css") + style
    return f'<div class="seesay"><style>{css}</style>{items}</div><script>{page_script()}</script>'


def words_html(caption: Caption) -> str:
    """A caption without its photo: its words, with how sure the model was of each."""
    words = (
        f'<span class="word" style="--p:{_p(word)}" title="{escape(percent(word.logprob))} sure">'
        f"{escape(word.text)}</span>"
        for word in caption.words
    )
    name = PurePath(caption.image).name if caption.image else ""
    meta = f'<p class="meta"><span class="name">{escape(name)}</span></p>' if name else ""
    return f'<p class="caption">{" ".join(words) or escape(caption.text)}</p>{meta}'


def item_html(
    image: Image.Image | None,
    result: Result,
    long_side: int = LONG_SIDE,
    below: str = "",
    several: str = "alternatives",
    needed: np.ndarray | None = None,
) -> str:
    """One photo and its caption as HTML, whose words the page's script makes interactive.

    Args:
        image: the upright photo; None for a Failure.
        result: its caption, a list of captions, or a Failure, whose file name and reason are shown.
        long_side: pixels; larger photos are shrunk to it.
        below: HTML under the caption.
        several: the heading of a list of captions.
        needed: (words, rows, cols) falls from `CaptionModel.occlusion` for the first caption, which
            the page can show in place of the attention.
    """
    if isinstance(result, Failure):
        name = f"{PurePath(result.image).name}: " if result.image else ""
        return f'<p class="failed">{escape(name + result.reason)}</p>'
    caption, *others = result if isinstance(result, list) else [result]
    if image is None:
        raise ValueError(f"'{caption.text}': a caption is shown on its photo, got None")
    name = PurePath(caption.image).name if caption.image else ""
    below = (_others_html(caption, others, several) if others else "") + below
    photo, alt = _shrunk(image, long_side), escape(caption.shown)
    wide, high = photo.size
    play = _trust(caption)
    play += '<button type="button" class="play">Play</button>' if caption.words else ""
    if needed is not None and caption.words:
        play += '<button type="button" class="switch" aria-pressed="false">What it needed</button>'
    return f"""<figure>
<div class="photo" style="--aspect:{wide / high:.4f}">
<img src="{_data_url(photo)}" width="{wide}" height="{high}" alt="{alt}" decoding="async">
<canvas aria-hidden="true"></canvas>
</div>
<figcaption>
<p class="caption" role="group" aria-label="Caption, word by word">{_sentence(caption)}</p>
<p class="meta"><span class="name">{escape(name)}</span>{play}<span class="readout" aria-hidden="true"></span></p>
{below}<script type="application/json">{_heat_json(caption, needed)}</script>
</figcaption>
</figure>"""


def _trust(caption: Caption) -> str:
    """How sure the model is of the whole caption, or that the picture is no photo; empty if it does not know."""
    if caption.confidence is None:
        return ""
    sure = f"{caption.confidence:.0%} sure"
    said = f"{caption.shown}, {sure}" if caption.withheld else sure
    return f'<span class="name">{escape(said)}</span>'


def _others_html(first: Caption, others: list[Caption], several: str) -> str:
    """The other captions, each with its confidence, or with its log-probability if the model knows none."""
    trusted = all(caption.confidence is not None for caption in (first, *others))

    def figure(caption: Caption) -> str:
        return f"{caption.confidence:.0%}" if trusted else f"{caption.score:.1f}"

    rows = "".join(f"<li>{escape(other.text)} <span>{figure(other)}</span></li>" for other in others)
    what = "confidence" if trusted else "log-probabilities"
    about = f"{several.capitalize()}, with their {what} (the caption above: {figure(first)})"
    return f'<div class="others"><p>{escape(about)}</p><ul>{rows}</ul></div>'


def _sentence(caption: Caption) -> str:
    return " ".join(map(_word, caption.words)) or escape(caption.text)


def _word(word: Word) -> str:
    text, probability = escape(word.text), escape(percent(word.logprob))
    if word.confidence is not None:  # of things: whether they are there, not how likely the word was
        probability = f"{word.confidence:.0%}"
    return (
        f'<button type="button" class="word" style="--p:{_p(word)}" '
        f'data-percent="{probability}"{_chosen(word)} aria-pressed="false" '
        f'aria-label="{text}, {probability} sure">{text}</button>'
    )


def _p(word: Word) -> str:
    """The word's probability for the style; of a thing, that it is there."""
    if word.confidence is not None:
        return f"{word.confidence:.3f}"
    return f"{math.exp(min(word.logprob, 0.0)):.3f}"


def _chosen(word: Word) -> str:
    """The regions that hard attention chose, as an attribute: the page frames them."""
    return f' data-chosen="{json.dumps(word.chosen)}"' if word.chosen else ""


def _heat_json(caption: Caption, needed: np.ndarray | None = None) -> str:
    """Heat (words, rows, cols) as integers 0-255, of the attention and, if given, of the falls."""
    kinds = {"looked": [heat(word.attention) for word in caption.words]}
    if needed is not None:
        kinds["needed"] = [fall_heat(falls) for falls in needed]
    maps = {kind: [np.rint(255 * heat_).astype(int).tolist() for heat_ in of_words] for kind, of_words in kinds.items()}
    return json.dumps(maps, separators=(",", ":"))


def photo_data(image: Image.Image, long_side: int) -> tuple[str, int, int]:
    """A photo as a data URL, with the width and height of the encoded picture.

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
    """The text of a file in the folder `template`."""
    return (Path(__file__).parent / "template" / name).read_text("utf-8")


def page_script() -> str:
    """The script that lights up the photo under a figure's words, in figures added later too."""
    colours = {"shade": (*SHADE, SHADE_OPACITY), "glow": (*GLOW, GLOW_OPACITY)}
    return fill_template("page.js", colours=json.dumps(colours))


def fill_template(template: str, **values: str) -> str:
    """Replace the {{names}} of a template by values; braces in the values are left alone."""
    return re.sub(r"\{\{(\w+)\}\}", lambda name: values[name[1]], read_template(template))
