"""Caption -> figure, interactive HTML page, notebook display. Needs numpy and Pillow only."""

from seesay.data.images import picture_of
from seesay.explain.figure import draw_figure
from seesay.explain.notebook import caption_html, display, show
from seesay.explain.overlay import draw_boxes, draw_overlay, heat, heat_map
from seesay.explain.page import (
    LONG_SIDE,
    MANY,
    SMALL_SIDE,
    fill_gallery,
    fill_page,
    item_html,
    render_page,
    write_html,
    write_page,
)
from seesay.explain.report_page import ScoredPhoto, Section, Summary, render_report, write_report

__all__ = [
    "LONG_SIDE",
    "MANY",
    "SMALL_SIDE",
    "ScoredPhoto",
    "Section",
    "Summary",
    "caption_html",
    "display",
    "draw_boxes",
    "draw_figure",
    "draw_overlay",
    "fill_gallery",
    "fill_page",
    "heat",
    "heat_map",
    "item_html",
    "picture_of",
    "render_page",
    "render_report",
    "show",
    "write_html",
    "write_page",
    "write_report",
]
