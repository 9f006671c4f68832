"""Confidence intervals and paired tests of corpus scores, by resampling images.

Corpus BLEU and METEOR are functions of sums over images, so resampling the images means weighting
the sums. All models share one set of resamples, so that they are compared on the same images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from seesay.errors import DataError
from seesay.metrics.bleu import COUNTS, bleu_of
from seesay.metrics.meteor_statistics import STATISTICS, meteor_of

DRAWS = 1000
CHUNK = 100  # resamples computed at once
FIGURES = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "meteor", "rouge_l", "cider")


@dataclass(frozen=True)
class PerImage:
    """Statistics of each image, from which the scores of a corpus are computed.

    Attributes:
        bleu: (B, 10) counts of `bleu_counts`.
        rouge_l: (B,) 0 to 1.
        cider: (B,) 0 to 10.
        meteor: (B, 23) statistics of METEOR's jar; None where it was left out.
    """

    bleu: np.ndarray
    rouge_l: np.ndarray
    cider: np.ndarray
    meteor: np.ndarray | None = None

    def figures(self, times: np.ndarray) -> dict[str, np.ndarray]:
        """Corpus scores in which each image counts a given number of times.

        Args:
            times: (N, B) for N corpora.

        Returns:
            name -> (N,) fractions, CIDEr 0 to 10; without METEOR where it was left out.
        """
        images = times.sum(axis=1)
        bleu = bleu_of(times @ self.bleu)  # (N, 4)
        figures = {f"bleu_{n + 1}": bleu[:, n] for n in range(bleu.shape[1])}
        if self.meteor is not None:
            figures["meteor"] = meteor_of(times @ self.meteor)
        return figures | {"rouge_l": times @ self.rouge_l / images, "cider": times @ self.cider / images}

    def take(self, images: np.ndarray) -> PerImage:
        """The statistics of some images, by their indices."""
        meteor = None if self.meteor is None else self.meteor[images]
        return PerImage(self.bleu[images], self.rouge_l[images], self.cider[images], meteor)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "bleu": self.bleu.astype(int).tolist(),
            "rouge_l": self.rouge_l.tolist(),
            "cider": self.cider.tolist(),
            "meteor": None if self.meteor is None else self.meteor.tolist(),
        }

    @classmethod
    def from_dict(cls, values: Any) -> PerImage:
        """The inverse of `to_dict`. Raises DataError if the values have another form."""
        try:
            bleu, rouge_l, cider = (np.asarray(values[key], np.float64) for key in ("bleu", "rouge_l", "cider"))
            meteor = None if values["meteor"] is None else np.asarray(values["meteor"], np.float64)
        except (KeyError, TypeError, ValueError, OverflowError):
            raise DataError("expected lists bleu, rouge_l, cider and meteor, a row for each image") from None
        per_image = cls(bleu, rouge_l, cider, meteor)
        shapes = [(bleu, (len(cider), COUNTS)), (rouge_l, (len(cider),)), (cider, (len(cider),))]
        shapes += [] if meteor is None else [(meteor, (len(cider), STATISTICS))]
        if not len(cider) or any(array.shape != shape or not np.isfinite(array).all() for array, shape in shapes):
            raise DataError("expected as many finite rows of bleu, rouge_l, cider and meteor as there are images")
        return per_image


@dataclass(frozen=True)
class Figure:
    """A score, or the difference of two scores.

    Attributes:
        value: the score of all images, each counted once.
        low, high: the interval that contains 95 % of the resamples.
        p: for a difference, twice the share of resamples with the other sign (a two-sided paired
            bootstrap test, Koehn 2004); None for a score.
    """

    value: float
    low: float
    high: float
    p: float | None = None


def resampled(scores: Mapping[str, PerImage], seed: int = 0, draws: int = DRAWS) -> dict[str, dict[str, np.ndarray]]:
    """Corpus scores of several models on the same resamples of the images.

    Args:
        scores: each model's statistics, of the same images in the same order.
        seed: the seed of the draws.
        draws: resamples of B images with replacement.

    Returns:
        model -> figure -> (1 + draws,) values; the first is that of all images, each counted once.

    Raises:
        DataError: the models have scores of different numbers of images.
    """
    sizes = {len(per_image.cider) for per_image in scores.values()}
    if len(sizes) != 1:
        raise DataError(f"scores of {' and '.join(map(str, sorted(sizes)))} images: expected the same images")
    images = sizes.pop()
    random = np.random.default_rng(seed)
    parts: dict[str, list[dict[str, np.ndarray]]] = {
        name: [per_image.figures(np.ones((1, images)))] for name, per_image in scores.items()
    }
    for start in range(0, draws, CHUNK):
        drawn = [random.integers(0, images, images) for _ in range(min(CHUNK, draws - start))]
        times = np.stack([np.bincount(numbers, minlength=images) for numbers in drawn]).astype(np.float64)
        for name, per_image in scores.items():
            parts[name].append(per_image.figures(times))
    return {
        name: {key: np.concatenate([part[key] for part in values]) for key in values[0]}
        for name, values in parts.items()
    }


def figure(values: np.ndarray) -> Figure:
    """A score with its interval, from `resampled`."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return Figure(float(values[0]), float(low), float(high))


def difference(values: np.ndarray, others: np.ndarray) -> Figure:
    """The difference of two models' scores, with its interval and p."""
    gaps = values - others
    below, above = np.mean(gaps[1:] <= 0), np.mean(gaps[1:] >= 0)
    interval = figure(gaps)
    p = min(1.0, max(2 * float(min(below, above)), 1 / (len(gaps) - 1)))
    return Figure(interval.value, interval.low, interval.high, p)
