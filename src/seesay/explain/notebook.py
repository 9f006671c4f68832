"""Captions in notebooks: the interactive photo and caption in an output cell."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from seesay.caption import Caption
from seesay.explain.page import render_fragment


@dataclass(frozen=True, repr=False)
class NotebookDisplay:
    """A captioned photo: notebooks show it, consoles print its caption."""

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
        caption: its caption; hovering over a word shows its attention.
    """
    return NotebookDisplay(render_fragment(image, caption), caption.text)
