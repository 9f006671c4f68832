"""Hypothesis: a sentence that has ended, as tokens; the result of every search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Hypothesis:
    """One sentence of one photo.

    Attributes:
        tokens: ids, without the start and end tokens.
        logprobs: natural log-probabilities of the tokens and of the end token, which `max_words`
            may have forced.
        attention: (tokens, P) float32 attention weights of each token.
        score: the sum of `logprobs`.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    attention: np.ndarray
    score: float
