"""The HTML report of an evaluation: figures, then photos with caption, CIDEr-D and references."""

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
class ScoredPhoto:
    """One photo of the page.

    Attributes:
        image: upright, any mode and size; None where it cannot be opened.
        caption: the model's caption with attention, or a Failure with the reason why the photo is
            missing.
        cider: CIDEr-D of the caption, 0 to 10; shown x100.
        references: captions that people wrote.
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
        about: how the photos were chosen, one sentence.
        photos: iterated once, so that they need not be in memory together.
    """

    title: str
    about: str
    photos: Iterable[ScoredPhoto]


@dataclass(frozen=True)
class Summary:
    """The part above the photos, in plain text.

    Attributes:
        scores: name -> value as text.
        facts: heading -> a line.
        charts: heading -> label -> number of photos; each becomes a bar chart.
        notes: remarks on how to read the scores.
    """

    scores: Mapping[str, str]
    facts: Mapping[str, str] = field(default_factory=dict)
    charts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    notes: Sequence[str] = ()


def render_report(title: str, summary: Summary, sections: Iterable[Section]) -> str:
    """The page as one self-contained HTML document; sections without photos are left out.

    Raises:
        ValueError: a word's attention is not (rows, cols) weights.
    """
    parts = {section.title: html for section in sections if (html := _section(section))}
    links = " ".join(f'<a href="#{_anchor(name)}">{escape(name)}</a>' for name in parts)
    items = [_summary_html(summary), f'<nav aria-label="Parts of the page">{links}</nav>', *parts.values()]
    return fill_page(title, "\n".join(items), read_template("cards.css") + read_template("report.css"))


def write_report(path: str | Path, title: str, summary: Summary, sections: Iterable[Section]) -> Path:
    """Write `render_report` to a file, creating its folder, and return the path.

    Raises:
        SeesayError: the file cannot be written.
        ValueError: a word's attention is not (rows, cols) weights.
    """
    return write_html(path, render_report(title, summary, sections))


def _summary_html(summary: Summary) -> str:
    scores = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in summary.scores.items())
    notes = "".join(f"<p>{escape(note)}</p>" for note in summary.notes)
    facts = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in summary.facts.items())
    charts = "".join(_chart(name, counts) for name, counts in summary.charts.items())
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
    description = escape(f"{name}, {', '.join(f'{label}: {count:,}' for label, count in counts.items())}")
    return f"""<div class="chart"><h2>{escape(name)}</h2>
<div class="bars" role="img" aria-label="{description}">{bars}</div>
<p><span>{escape(first)}</span><span>{escape(last)}</span></p></div>"""


def _section(section: Section) -> str:
    items = [
        item_html(photo.image, photo.caption, LONG_SIDE, _references(photo.cider, photo.references))
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


def _references(cider: float, references: Sequence[str]) -> str:
    lines = "".join(f"<li>{escape(text)}</li>" for text in references)
    return f"""<p class="cider">CIDEr {100 * cider:.1f}</p>
<ul class="references" aria-label="What people wrote">{lines}</ul>
"""
