"""How well probabilities fit what happened: calibration error, AUROC, risk and coverage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from seesay.metrics.statistics import area_under_curve

BINS = 10
COVERAGES = (0.25, 0.5, 0.75, 1.0)
DRAWS = 300


@dataclass(frozen=True)
class Measured:
    """A figure with the interval that 95 % of resamples of the photos lie in; NaN where it has no meaning."""

    value: float
    low: float
    high: float

    def to_list(self) -> list[float | None]:
        """Value, low and high for JSON, None in place of NaN."""
        return [None if np.isnan(x) else round(float(x), 4) for x in (self.value, self.low, self.high)]

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def expected_calibration_error(probability: np.ndarray, happened: np.ndarray, bins: int = BINS) -> float:
    """Mean distance of probability and frequency over bins of equal width, weighted by their photos.

    Args:
        probability: (N,) predictions, 0 to 1.
        happened: (N,) whether it happened.
        bins: their number.
    """
    which = np.minimum((probability * bins).astype(int), bins - 1)
    gaps = np.bincount(which, probability - np.asarray(happened, float), bins)
    return float(np.abs(gaps).sum() / len(probability))


def auroc(score: np.ndarray, happened: np.ndarray) -> float:
    """Probability that a photo where it happened has the higher score; NaN unless both occur."""
    happened = np.asarray(happened, bool)
    if happened.all() or not happened.any():
        return float("nan")
    return area_under_curve(score[happened].tolist(), score[~happened].tolist())


def diagram(probability: np.ndarray, happened: np.ndarray, bins: int = BINS) -> list[dict[str, float]]:
    """The reliability diagram: for bins of equal width the photos, their mean probability and their frequency."""
    which = np.minimum((probability * bins).astype(int), bins - 1)
    return [
        {
            "photos": int((which == b).sum()),
            "confidence": round(float(probability[which == b].mean()), 4),
            "accepted": round(float(happened[which == b].mean()), 4),
        }
        for b in range(bins)
        if (which == b).any()
    ]


def mean_of_surest(confidence: np.ndarray, score: np.ndarray, share: float) -> float:
    """Mean score of the given share of photos with the highest confidence: a point of the risk-coverage curve."""
    count = max(1, round(share * len(score)))
    return float(score[np.argsort(-confidence, kind="stable")[:count]].mean())


def measured(figure: Callable[..., float], *arrays: np.ndarray, seed: int = 0, draws: int = DRAWS) -> Measured:
    """A figure of arrays (N, ...) with its interval, from resamples of their rows."""
    random = np.random.default_rng(seed)
    count = len(arrays[0])
    values = []
    for _ in range(draws):
        rows = random.integers(0, count, count)
        values.append(figure(*(array[rows] for array in arrays)))
    if np.isnan(values).all():
        return Measured(figure(*arrays), float("nan"), float("nan"))
    low, high = np.nanquantile(values, [0.025, 0.975])
    return Measured(figure(*arrays), float(low), float(high))


def reliability(confidence: np.ndarray, accepted: np.ndarray, cider: np.ndarray) -> dict[str, Any]:
    """All figures for JSON; those with an interval as [value, low, high].

    Args:
        confidence: (N,) of each caption, 0 to 1.
        accepted: (N,) whether a person would accept it, see `seesay.metrics.acceptance`.
        cider: (N,) CIDEr-D, 0 to 10.
    """
    surest = {
        f"{share:.0%}": measured(lambda c, s, share=share: mean_of_surest(c, s, share), confidence, cider).to_list()
        for share in COVERAGES
    }
    return {
        "photos": len(confidence),
        "accepted": round(float(accepted.mean()), 4),
        "confidence": round(float(confidence.mean()), 4),
        "auroc": measured(auroc, confidence, accepted).to_list(),
        "calibration_error": measured(expected_calibration_error, confidence, accepted).to_list(),
        "cider_of_surest": surest,
        "diagram": diagram(confidence, accepted),
    }
