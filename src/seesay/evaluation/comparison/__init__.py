"""Comparing runs and models in tables and charts. Needs no torch."""

from seesay.evaluation.comparison.models import ModelComparison, compare_models, read_scores, score_model
from seesay.evaluation.comparison.run_table import Comparison, compare
from seesay.evaluation.comparison.runs import RunSummary, measure_speed, read_run

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
