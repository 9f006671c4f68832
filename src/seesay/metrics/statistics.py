"""What scores alone do not show: how varied captions are, and how sure a mean is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from seesay.errors import DataError
from seesay.metrics.inputs import Tokens, check_hypotheses


@dataclass(frozen=True)
class CaptionStatistics:
    """How varied a set of captions is.

    Attributes:
        captions: how many there are.
        mean_length: words a caption.
        distinct_words: different words in all captions together.
        distinct_captions: captions that differ from each other.
        novel: share, 0 to 1, of captions that no training caption equals; None where training captions are unknown.
    """

    captions: int
    mean_length: float
    distinct_words: int
    distinct_captions: int
    novel: float | None


def caption_statistics(
    hypotheses: Sequence[Tokens], training_captions: Iterable[Tokens] | None = None
) -> CaptionStatistics:
    """Count what a captioner varies: lengths, words, captions, and how many it made up itself.

    Args:
        hypotheses: B captions as tokens.
        training_captions: the captions it was trained on, tokenised the same way.

    Raises:
        DataError: there is no caption.
    """
    if not hypotheses:
        raise DataError("no captions to count: expected at least one")
    check_hypotheses(hypotheses)
    captions = [tuple(caption) for caption in hypotheses]
    seen = None if training_captions is None else set(map(tuple, training_captions))
    return CaptionStatistics(
        captions=len(captions),
        mean_length=sum(map(len, captions)) / len(captions),
        distinct_words=len({word for caption in captions for word in caption}),
        distinct_captions=len(set(captions)),
        novel=None if seen is None else sum(caption not in seen for caption in captions) / len(captions),
    )


def bootstrap_interval(per_image: np.ndarray, seed: int, draws: int = 1000, level: float = 0.95) -> tuple[float, float]:
    """Where the mean of a score would lie on other images like these: the percentile bootstrap (Efron 1979).

    Args:
        per_image: (B,) scores.
        seed: of the draws; the same seed gives the same interval.
        draws: resamples of B images with replacement.
        level: share of the resampled means inside the interval, above 0, below 1.

    Returns:
        Lower and upper end, in the unit of `per_image`.

    Raises:
        DataError: no scores, or `level` or `draws` out of range.
    """
    per_image = np.asarray(per_image, np.float64)
    if per_image.ndim != 1 or not per_image.size:
        raise DataError(f"per-image scores have shape {per_image.shape}: expected (images,), at least one")
    if not 0 < level < 1 or draws < 1:
        raise DataError(f"got level {level} and {draws} draws: expected a level between 0 and 1, a draw or more")
    random = np.random.default_rng(seed)
    means = [random.choice(per_image, per_image.size).mean() for _ in range(draws)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
