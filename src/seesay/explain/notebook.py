"""Captions in a notebook: the page's photo and words in an output cell."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from seesay.caption import Caption
from seesay.explain.page import render_fragment


@dataclass(frozen=True, repr=False)
class Shown:
    """A captioned photo that notebooks draw and consoles print as its sentence."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def display(image: Image.Image, caption: Caption) -> Shown:
    """The photo with its caption, for the last line of a notebook cell.

    Args:
        image: the upright photo, any mode and size.
        caption: its caption; pointing at a word lights up where the model looked.
    """
    return Shown(render_fragment(image, caption), caption.text)
