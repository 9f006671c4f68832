"""Runs side by side: recipes, sizes, time and scores as a table, Markdown, CSV and a chart. Knows no torch."""

from seesay.comparison.runs import RunSummary, measure_speed, read_run
from seesay.comparison.tables import Comparison, compare

__all__ = ["Comparison", "RunSummary", "compare", "measure_speed", "read_run"]
