"""A bar chart of CIDEr with its intervals, drawn with Pillow."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from seesay.evaluation.comparison.runs import RunSummary
from seesay.explain.lettering import fit, width, wrap, write_text

INK, MUTED, PAPER, GRID = (28, 27, 25), (110, 105, 96), (255, 255, 255), (226, 222, 214)
BAR, RUNNING_BAR = (86, 136, 178), (196, 213, 226)
WIDTH, MARGIN, GAP = 960, 36, 14  # pixels
ROW, THICK, CAP = 46, 26, 7  # of a run, its bar, half the end of its whisker
HEADING, LABEL, SMALL = 24, 18, 14
LABEL_ROOM, VALUE_ROOM = 280, 150


def draw_chart(runs: Sequence[RunSummary], warnings: Sequence[str] = ()) -> Image.Image:
    """A bar for each run from zero to its dev CIDEr x100, with a whisker for its interval.

    Args:
        runs: from the top down; those without a CIDEr get no bar. Bars are paler if the CIDEr comes
            from training's validation.
        warnings: written below.

    Returns:
        an RGB image on white, 960 pixels wide.
    """
    ends = [100 * (run.interval[1] if run.interval else run.cider or 0.0) for run in runs]
    labels = min(LABEL_ROOM, max(width(run.name, LABEL) for run in runs))
    left, right = MARGIN + round(labels) + GAP, WIDTH - MARGIN - VALUE_ROOM
    step = _step(max(ends))
    scale = (right - left) / (step * max(1, math.ceil(max(ends) / step)))  # pixels a point
    top = MARGIN + HEADING + 2 * GAP
    bottom = top + ROW * len(runs)
    notes = [line for text in warnings for line in wrap(text, SMALL, WIDTH - 2 * MARGIN)]
    height = bottom + 3 * GAP + round(1.5 * SMALL * len(notes)) + MARGIN
    canvas = Image.new("RGB", (WIDTH, height), PAPER)
    write_text(canvas, (MARGIN, MARGIN), "CIDEr-D on dev, x100", HEADING, INK)
    for tick in range(math.ceil(max(ends) / step) + 1):
        x = left + round(tick * step * scale)
        ImageDraw.Draw(canvas).line((x, top, x, bottom), GRID)
        write_text(canvas, (x, bottom + 4), f"{tick * step:g}", SMALL, MUTED, "ma")
    for place, run in enumerate(runs):
        _draw_run(canvas, run, (left, top + ROW * place + ROW // 2), scale)
    for line, text in enumerate(notes):
        write_text(canvas, (MARGIN, bottom + 3 * GAP + round(1.5 * SMALL * line)), text, SMALL, MUTED)
    return canvas


def _draw_run(canvas: Image.Image, run: RunSummary, start: tuple[int, int], scale: float) -> None:
    """Label left of `start`, bar, whisker and figure right of it."""
    (x, y), draw = start, ImageDraw.Draw(canvas)
    write_text(canvas, (x - GAP, y), fit(run.name, LABEL, LABEL_ROOM), LABEL, INK, "rm")
    if run.cider is None:
        write_text(canvas, (x + GAP // 2, y), "no score yet", SMALL, MUTED, "lm")
        return
    length = round(100 * run.cider * scale)
    if length:  # Pillow draws both ends of a rectangle
        colour = BAR if run.interval else RUNNING_BAR
        draw.rectangle((x, y - THICK // 2, x + length - 1, y + THICK // 2), colour)
    text, end = f"{100 * run.cider:.1f}", x + length
    if run.interval:
        low, high = (x + round(100 * value * scale) for value in run.interval)
        draw.line((low, y, high, y), INK, 2)
        for whisker in (low, high):
            draw.line((whisker, y - CAP, whisker, y + CAP), INK, 2)
        text, end = f"{text}  [{100 * run.interval[0]:.1f}, {100 * run.interval[1]:.1f}]", max(end, high)
    elif run.state == "running":
        text += "  running"
    write_text(canvas, (end + GAP // 2, y), text, SMALL, INK, "lm")


def _step(highest: float) -> float:
    """1, 2 or 5 times a power of ten: the smallest that needs five ticks at most."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest / 5))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power * 5 >= highest)
