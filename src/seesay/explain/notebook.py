"""Captions in notebooks: the interactive photo and caption in an output cell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image

from seesay.caption import Caption, Failure
from seesay.data.images import open_photo
from seesay.errors import PhotoError
from seesay.explain.page import SMALL_SIDE, Result, item_html, read_template, render_fragment, words_html

SIDE = 480  # pixels of a photo's longer side in an output cell


@dataclass(frozen=True, repr=False)
class NotebookDisplay:
    """Captioned photos: notebooks show them, consoles print their captions."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def display(image: Image.Image, caption: Caption) -> NotebookDisplay:
    """A photo with its caption, for the last line of a notebook cell.

    Args:
        image: the upright photo, any mode and size.
        caption: the photo's caption; hovering over a word shows its attention.
    """
    return NotebookDisplay(render_fragment(item_html(image, caption)), caption.text)


def show(results: Iterable[Result] | Result) -> NotebookDisplay:
    """Display captions in a notebook as a gallery, each on its photo.

    The photos of `CaptionModel.encode` are at hand; others are opened again by the captions' `image`.
    Without either, only the words are shown.

    Args:
        results: what `CaptionModel.caption_many` and `alternatives` give: captions, lists of them, failures.
    """
    listed = [results] if isinstance(results, Caption | Failure) else list(results)
    items = "".join(_item(result, SMALL_SIDE) for result in listed)
    html = render_fragment(f'<div class="cards">{items}</div>', read_template("cards.css"))
    return NotebookDisplay(html, "\n".join(map(_text, listed)))


def caption_html(caption: Caption) -> str:
    """The HTML that a notebook displays for one caption."""
    return render_fragment(_item(caption, SIDE))


def _item(result: Result, side: int) -> str:
    if isinstance(result, Failure):
        return item_html(None, result)
    first = result[0] if isinstance(result, list) else result
    picture = picture_behind(first, 2 * side)
    if picture is None:
        return f"<div>{words_html(first)}</div>"
    return item_html(picture, result, side)


def picture_behind(caption: Caption, enough: int) -> Image.Image | None:
    """The photo of a caption, or None if it cannot be opened.

    Args:
        caption: has a `photo`, or a path in `image`.
        enough: pixels that each side needs; larger photos may be opened at a reduced size.
    """
    if caption.photo is not None:
        return caption.photo.picture
    if caption.image is None:
        return None
    try:
        return open_photo(caption.image, enough)
    except PhotoError:
        return None


def _text(result: Result) -> str:
    if isinstance(result, Failure):
        return result.error
    return str(result[0] if isinstance(result, list) else result)
