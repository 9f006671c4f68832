"""Statistics of attention maps, which show whether they are flat or all alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class AttentionStatistics:
    """Statistics of attention maps, each in 0..1.

    Attributes:
        entropy: mean entropy of a word's map, relative to that of a uniform map (1).
        between_words: mean total variation distance between the maps of neighbouring words; 0 means
            that all words of a sentence have the same map.
        between_photos: the same between words at the same position of neighbouring photos; 0 means
            that maps do not depend on the photo.
    """

    entropy: float
    between_words: float
    between_photos: float

    def to_dict(self) -> dict[str, float]:
        """Plain values for JSON."""
        return asdict(self)


def attention_statistics(maps: Sequence[np.ndarray]) -> AttentionStatistics:
    """Figures over all captions of a data set.

    Args:
        maps: for each caption (L, P) weights, rows summing to 1; L may be 0.
    """
    rows = np.concatenate([m.reshape(len(m), -1) for m in maps if len(m)] or [np.ones((1, 1))]).astype(np.float64)
    entropies = -(rows * np.log(np.maximum(rows, 1e-30))).sum(axis=1) / max(np.log(rows.shape[1]), 1e-12)
    words = [_distance(m[1:], m[:-1]) for m in maps if len(m) > 1]
    photos = [_distance(a[:n], b[:n]) for a, b in pairwise(maps) if (n := min(len(a), len(b)))]
    return AttentionStatistics(min(float(entropies.mean()), 1.0), _mean(words), _mean(photos))


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Total variation distance of each row of a to the same row of b."""
    return 0.5 * np.abs(a.reshape(len(a), -1) - b.reshape(len(b), -1)).sum(axis=1)


def _mean(parts: Sequence[np.ndarray]) -> float:
    return float(np.concatenate(parts).mean()) if parts else 0.0
