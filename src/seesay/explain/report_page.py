"""The page of an evaluation: its figures, then photos with the caption, its CIDEr-D, and what people wrote."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from PIL import Image

from seesay.caption import Caption, Failure
from seesay.explain.page import fill_page, item_html, read_template, write_html

LONG_SIDE = 320  # pixels; there are dozens of photos on the page


@dataclass(frozen=True)
class Judged:
    """One photo of the page.

    Attributes:
        image: upright, any mode and size; None where it cannot be opened.
        caption: the model's, with attention; a Failure says why the photo is not there.
        cider: CIDEr-D of the caption, 0 to 10; shown x100.
        references: what people wrote.
    """

    image: Image.Image | None
    caption: Caption | Failure
    cider: float
    references: Sequence[str]


@dataclass(frozen=True)
class Section:
    """Photos under a heading.

    Attributes:
        title: plain text.
        about: a sentence on how the photos were chosen.
        photos: read once, one at a time, so that they need not be in memory together.
    """

    title: str
    about: str
    photos: Iterable[Judged]


@dataclass(frozen=True)
class Figures:
    """What stands above the photos, all plain text.

    Attributes:
        scores: name -> figure, as it is to be shown.
        facts: heading -> a line.
        charts: heading -> label -> how many photos; each becomes a row of bars.
        notes: what must be known to read the scores.
    """

    scores: Mapping[str, str]
    facts: Mapping[str, str] = field(default_factory=dict)
    charts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    notes: Sequence[str] = ()


def render_report(title: str, figures: Figures, sections: Iterable[Section]) -> str:
    """The page as one self-contained HTML document; sections without photos are left out.

    Raises:
        ValueError: a word's attention is not (rows, cols) weights.
    """
    shown = {section.title: html for section in sections if (html := _section(section))}
    links = " ".join(f'<a href="#{_anchor(name)}">{escape(name)}</a>' for name in shown)
    items = [_summary(figures), f'<nav aria-label="Parts of the page">{links}</nav>', *shown.values()]
    return fill_page(title, "\n".join(items), read_template("report.css"))


def write_report(path: str | Path, title: str, figures: Figures, sections: Iterable[Section]) -> Path:
    """Write `render_report` to a file, whose folder is made if need be, and return its path.

    Raises:
        SeesayError: the file cannot be written.
        ValueError: a word's attention is not (rows, cols) weights.
    """
    return write_html(path, render_report(title, figures, sections))


def _summary(figures: Figures) -> str:
    scores = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in figures.scores.items())
    notes = "".join(f"<p>{escape(note)}</p>" for note in figures.notes)
    facts = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in figures.facts.items())
    charts = "".join(_chart(name, counts) for name, counts in figures.charts.items())
    return f"""<section class="summary">
<dl class="scores">{scores}</dl>
<div class="notes">{notes}</div>
<dl class="facts">{facts}</dl>
<div class="charts">{charts}</div>
</section>"""


def _chart(name: str, counts: Mapping[str, int]) -> str:
    most = max(counts.values(), default=0) or 1
    bars = "".join(
        f'<i title="{escape(label)}: {count:,}" style="--h:{count / most:.3f}"></i>' for label, count in counts.items()
    )
    first, last = (next(iter(order), "") for order in (counts, reversed(list(counts))))
    said = escape(f"{name}, {', '.join(f'{label}: {count:,}' for label, count in counts.items())}")
    return f"""<div class="chart"><h2>{escape(name)}</h2>
<div class="bars" role="img" aria-label="{said}">{bars}</div>
<p><span>{escape(first)}</span><span>{escape(last)}</span></p></div>"""


def _section(section: Section) -> str:
    items = [
        item_html(photo.image, photo.caption, LONG_SIDE, _judgement(photo.cider, photo.references))
        for photo in section.photos
    ]
    if not items:
        return ""
    return f"""<section id="{_anchor(section.title)}">
<h2>{escape(section.title)}</h2>
<p class="about">{escape(section.about)}</p>
<div class="cards">
{"".join(items)}
</div>
</section>"""


def _anchor(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower())


def _judgement(cider: float, references: Sequence[str]) -> str:
    lines = "".join(f"<li>{escape(text)}</li>" for text in references)
    return f"""<p class="cider">CIDEr {100 * cider:.1f}</p>
<ul class="references" aria-label="What people wrote">{lines}</ul>
"""
