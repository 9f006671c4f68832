"""Caption -> figure, HTML page with hover, notebook display. Needs numpy and Pillow only."""

from seesay.explain.figure import draw_figure
from seesay.explain.notebook import display
from seesay.explain.overlay import draw_overlay, heat, heat_map
from seesay.explain.page import render_page, write_page

__all__ = ["display", "draw_figure", "draw_overlay", "heat", "heat_map", "render_page", "write_page"]
