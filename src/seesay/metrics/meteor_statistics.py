"""Corpus METEOR 1.5 (Denkowski and Lavie 2014) from the jar's statistics of each image.

It equals the jar's own figure, so METEOR of resampled images needs no Java.
"""

from __future__ import annotations

import numpy as np

STATISTICS = 23  # numbers that the jar gives for an image
MATCHERS = 4  # exact, stem, synonym, paraphrase
# The jar's default parameters for English (task "rank").
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])


def meteor_of(statistics: np.ndarray) -> np.ndarray:
    """METEOR of sums of statistics.

    Args:
        statistics: (..., 23), from `additive`: words of caption and reference; function words of
            both; for each matcher the matched content words of both and the matched function words
            of both; chunks; matched words of both.

    Returns:
        (...,) 0 (worst) to 1; 0 where nothing matches.
    """
    words, others, functions, other_functions = (statistics[..., i] for i in range(4))
    matches = statistics[..., 4:20].reshape(*statistics.shape[:-1], MATCHERS, 4)
    # (..., MATCHERS)
    content, other_content, function, other_function = (matches[..., i] for i in range(4))
    chunks, matched, other_matched = (statistics[..., i] for i in range(20, STATISTICS))
    matched_in_caption = (DELTA * content + (1 - DELTA) * function) @ WEIGHTS
    matched_in_reference = (DELTA * other_content + (1 - DELTA) * other_function) @ WEIGHTS
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = matched_in_caption / (DELTA * (words - functions) + (1 - DELTA) * functions)
        recall = matched_in_reference / (DELTA * (others - other_functions) + (1 - DELTA) * other_functions)
        mean = 1 / ((1 - ALPHA) / precision + ALPHA / recall)
        scattered = chunks / ((matched + other_matched) / 2)
        score = mean * (1 - GAMMA * scattered**BETA)
    return np.where(np.isfinite(score), score, 0.0)


def additive(statistics: np.ndarray) -> np.ndarray:
    """The statistics, (B, 23), as the jar adds them up.

    The chunk count of a caption that equals its reference is 0 there instead of 1.
    """
    matched, other_matched = statistics[:, 21], statistics[:, 22]
    whole = (matched == statistics[:, 0]) & (other_matched == statistics[:, 1]) & (statistics[:, 20] == 1)
    added = statistics.copy()
    added[whole, 20] = 0
    return added
