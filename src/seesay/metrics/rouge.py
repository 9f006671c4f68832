"""ROUGE-L (Lin 2004), as pycocoevalcap computes it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np

from seesay.metrics.inputs import References, Tokens, check_pairs

BETA = 1.2  # recall weighs BETA² times as much as precision; the value of pycocoevalcap


def rouge_l(hypotheses: Sequence[Tokens], references: References) -> np.ndarray:
    """ROUGE-L of each image (Lin, "ROUGE", 2004), equal to pycocoevalcap's `Rouge`.

    F-measure of the longest common subsequence. As in pycocoevalcap, the best precision and the
    best recall may come from different references of the image.

    Args:
        hypotheses: B captions as tokens.
        references: B lists of captions as tokens.

    Returns:
        (B,) float64, each 0 (worst) to 1; the score of a corpus is the mean.

    Raises:
        DataError: the two differ in length, there are no images, or one has no reference.
    """
    check_pairs(hypotheses, references)
    return np.array([_score(h, captions) for h, captions in zip(hypotheses, references, strict=True)])


def _score(hypothesis: Tokens, captions: Sequence[Tokens]) -> float:
    # pycocoevalcap splits "" into one empty word, so an empty caption matches another empty caption
    hypothesis = hypothesis or ("",)
    captions = [caption or ("",) for caption in captions]
    common = [_common_subsequence(hypothesis, caption) for caption in captions]
    precision = max(common) / len(hypothesis)
    recall = max(length / len(caption) for length, caption in zip(common, captions, strict=True))
    if not precision:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _common_subsequence(one: Tokens, other: Tokens) -> int:
    """Length of the longest common subsequence, by Hyyrö's bit-parallel recurrence (2004).

    Each row of the usual table is an integer whose bit i is 0 if the table increases between
    columns i and i + 1.
    """
    places: dict[Hashable, int] = defaultdict(int)
    for column, token in enumerate(one):
        places[token] |= 1 << column
    full = (1 << len(one)) - 1
    row = full
    for token in other:
        matched = row & places.get(token, 0)
        row = ((row + matched) | (row - matched)) & full
    return len(one) - row.bit_count()
