"""Runs side by side: recipes, sizes, time and scores as a table, Markdown, CSV and a chart. Knows no torch."""

from seesay.comparison.models import ModelComparison, compare_models, read_scores, score_model
from seesay.comparison.runs import RunSummary, measure_speed, read_run
from seesay.comparison.tables import Comparison, compare

__all__ = [
    "Comparison",
    "ModelComparison",
    "RunSummary",
    "compare",
    "compare_models",
    "measure_speed",
    "read_run",
    "read_scores",
    "score_model",
]
