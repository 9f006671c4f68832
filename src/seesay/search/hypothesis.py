"""Hypothesis: one finished sentence, in tokens; what every search gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Hypothesis:
    """One finished sentence of one photo.

    Attributes:
        tokens: ids without start and end.
        logprobs: the model's natural log-probability of each token, then that of the end (also where `max_words` left
            nothing else to write).
        attention: (tokens, P) float32, where the model looked for each token.
        score: sum of `logprobs`.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    attention: np.ndarray
    score: float
