"""The HTML page of a data set: photos with their captions and boxes."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

from seesay.explain.page import fill_template, photo_data, read_template, write_html
from seesay.geometry import Box

LONG_SIDE = 480  # pixels
COLOURS = ("#e4572e", "#2e86ab", "#3a9d5d", "#a23b72", "#f0a202", "#6a4c93", "#00a6a6", "#8d6a3f")


@dataclass(frozen=True)
class Sample:
    """One photo of the page.

    Attributes:
        image: upright, any mode and size; or the reason why the photo cannot be read.
        name: shown below the photo.
        captions: shown below the name.
        boxes: label -> boxes in fractions of the photo's width and height.
    """

    image: Image.Image | str
    name: str
    captions: Sequence[str]
    boxes: Mapping[str, Sequence[Box]]


def render_data_page(title: str, about: Sequence[str], samples: Iterable[Sample]) -> str:
    """The page as one self-contained HTML document.

    Args:
        title: heading and window title, plain text.
        about: lines above the photos, plain text.
        samples: iterated once, so that the photos need not be in memory together.
    """
    lines = "".join(f"<p>{escape(line)}</p>" for line in about)
    style = "".join(map(read_template, ("page.css", "report.css", "data.css")))
    cards = "\n".join(map(_card, samples))
    return fill_template("data.html", title=escape(title), style=style, about=lines, cards=cards)


def write_data_page(path: str | Path, title: str, about: Sequence[str], samples: Iterable[Sample]) -> Path:
    """Write `render_data_page` to a file, creating its folder, and return the path.

    Raises:
        SeesayError: the file cannot be written.
    """
    return write_html(path, render_data_page(title, about, samples))


def _card(sample: Sample) -> str:
    captions = "".join(f"<li>{escape(caption)}</li>" for caption in sample.captions)
    text = f'<ul class="references" aria-label="What people wrote">{captions}</ul>'
    name = f'<p class="meta"><span class="name">{escape(sample.name)}</span></p>'
    if isinstance(sample.image, str):
        return f'<figure><p class="unreadable">{escape(sample.image)}</p><figcaption>{name}{text}</figcaption></figure>'
    url, wide, high = photo_data(sample.image, LONG_SIDE)
    boxes = "".join(_box(label, box) for label, boxes in sample.boxes.items() for box in boxes)
    alt = escape(sample.captions[0] if sample.captions else "")
    image = f'<img src="{url}" width="{wide}" height="{high}" alt="{alt}">'
    return f"""<figure>
<div class="photo" style="--aspect:{wide / high:.4f}">{image}{boxes}</div>
<figcaption>{name}{text}</figcaption>
</figure>"""


def _box(label: str, box: Box) -> str:
    left, top, right, bottom = (100 * edge for edge in box)
    colour = COLOURS[zlib.crc32(label.encode(errors="replace")) % len(COLOURS)]  # the same for a label on every photo
    position = f"left:{left:.2f}%;top:{top:.2f}%;width:{right - left:.2f}%;height:{bottom - top:.2f}%;--c:{colour}"
    return f'<span class="box" style="{position}" title="{escape(label)}"><b>{escape(label)}</b></span>'
