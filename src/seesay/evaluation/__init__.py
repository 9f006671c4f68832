"""Bundle + data -> scores of its captions, and how far its attention can be trusted."""

from seesay.evaluation.caption_scores import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
