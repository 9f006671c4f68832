"""Hypothesis: a finished sentence in tokens, the result of every search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Hypothesis:
    """One finished sentence of one photo.

    Attributes:
        tokens: ids without start and end.
        logprobs: the model's natural log-probability of each token and of the end token (which `max_words` may have
            forced).
        attention: (tokens, P) float32 attention weights of each token.
        score: sum of `logprobs`.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    attention: np.ndarray
    score: float
