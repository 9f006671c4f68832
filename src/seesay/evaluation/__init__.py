"""Evaluating a bundle on data: scores of its captions, and tests of its attention."""

from seesay.evaluation.caption_scores import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
