"""Localisation: whether attention lies on the named object, measured on boxes that people drew."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seesay.geometry import Box, box_coverage, union_area
from seesay.metrics.statistics import ratio_interval

COVERED = 0.5  # a region counts as inside a box if at least this share of it is
KINDS = ("attention", "uniform", "centre", "mean_map", "other_word", "other_photo")
# upper bound of the boxes' share of the photo
SIZES = {"small": 0.15, "medium": 0.4, "large": 1.01}


@dataclass(frozen=True, eq=False)
class NamedWord:
    """A word that names a thing with a box.

    Attributes:
        photo: the photo's name.
        noun: the noun in the singular.
        attention: (rows, cols) weights of the step that wrote the word, summing to 1.
        boxes: the boxes of the thing, in fractions of the photo's width and height.
        position: the word's index in its sentence.
        logprob: the word's natural log-probability.
    """

    photo: str
    noun: str
    attention: np.ndarray
    boxes: tuple[Box, ...]
    position: int = 0
    logprob: float = 0.0


@dataclass(frozen=True)
class Share:
    """A mean over words with its 95 % bootstrap interval.

    Photos are resampled, each with all of its words.

    Attributes:
        mean: over the words.
        interval: (low, high).
        words: the number of words.
        photos: the number of photos that they come from.
    """

    mean: float
    interval: tuple[float, float]
    words: int
    photos: int

    @classmethod
    def of(cls, values: Sequence[float], photos: Sequence[str]) -> Share:
        """The mean of values, one for each word, given with the name of its photo."""
        sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for value, photo in zip(values, photos, strict=True):
            sums[photo][0] += value
            sums[photo][1] += 1
        if not sums:
            return cls(float("nan"), (float("nan"), float("nan")), 0, 0)
        totals, counts = np.array(list(sums.values())).T
        interval = ratio_interval(totals, counts, seed=0)
        return cls(float(totals.sum() / counts.sum()), interval, len(values), len(sums))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; a mean of nothing is null."""
        if not self.words:
            return {"mean": None, "interval": None, "words": 0, "photos": 0}
        interval = [round(end, 4) for end in self.interval]
        words = {"words": self.words, "photos": self.photos}
        return {"mean": round(self.mean, 4), "interval": interval, **words}


@dataclass(frozen=True)
class MapScores:
    """The scores of one kind of map, over the words for which it exists."""

    pointing: Share
    mass: Share


def pointing(weights: np.ndarray, covered: np.ndarray) -> float:
    """Whether the region with the largest weight lies in the boxes: 1 or 0.

    If several regions have the largest weight, the mean over these.

    The Pointing Game (Zhang et al. 2016, https://arxiv.org/abs/1608.00507) on a grid of regions.

    Args:
        weights: (rows, cols).
        covered: (rows, cols) share of each region that lies in the boxes.
    """
    return float((covered[weights == weights.max()] >= COVERED).mean())


def mass_inside(weights: np.ndarray, covered: np.ndarray) -> float:
    """The share of the weights inside the boxes.

    A region counts in proportion to the part of it that the boxes cover.

    Relevance mass accuracy (Arras et al. 2022, https://arxiv.org/abs/2003.07258).
    """
    return float((weights * covered).sum() / weights.sum())


def localisation(words: Sequence[NamedWord]) -> dict[str, dict[str, MapScores]]:
    """Scores of attention and five baselines, for all words and by the size of their boxes.

    Args:
        words: words of any number of photos, in the order of the sentences.

    Returns:
        "all", "small", "medium", "large" -> kind of map -> scores. The kinds: `attention`;
        `uniform`; `centre` (the regions nearest the centre of the photo); `mean_map` (the mean of
        all maps); `other_word` (the map of the next word of the same photo that names something
        else); `other_photo` (the map of the same noun in another photo). The last two exist for
        some words only.
    """
    covered = [box_coverage(word.boxes, _grid(word)) for word in words]
    areas = [union_area(word.boxes) for word in words]
    kinds = _maps(words)
    sizes = {"all": [True] * len(words)}
    low = 0.0
    for name, high in SIZES.items():
        sizes[name] = [low <= area < high for area in areas]
        low = high
    return {
        size: {kind: _scores(words, maps, covered, chosen) for kind, maps in kinds.items()}
        for size, chosen in sizes.items()
    }


def _scores(
    words: Sequence[NamedWord],
    maps: Sequence[np.ndarray | None],
    covered: Sequence[np.ndarray],
    chosen: Sequence[bool],
) -> MapScores:
    triples = [
        (weights, share, word.photo)
        for word, weights, share, wanted in zip(words, maps, covered, chosen, strict=True)
        if wanted and weights is not None
    ]
    photos = [photo for _, _, photo in triples]
    return MapScores(
        Share.of([pointing(weights, share) for weights, share, _ in triples], photos),
        Share.of([mass_inside(weights, share) for weights, share, _ in triples], photos),
    )


def _maps(words: Sequence[NamedWord]) -> Mapping[str, Sequence[np.ndarray | None]]:
    if not words:
        return {kind: [] for kind in KINDS}
    grid = _grid(words[0])
    mean = np.mean([word.attention for word in words], axis=0)
    return {
        "attention": [word.attention for word in words],
        "uniform": [np.full(grid, 1 / np.prod(grid))] * len(words),
        "centre": [centre_map(grid)] * len(words),
        "mean_map": [mean] * len(words),
        "other_word": other_words(words),
        "other_photo": _other_photos(words),
    }


def centre_map(grid: tuple[int, int]) -> np.ndarray:
    """(rows, cols) with equal weights on the one, two or four regions nearest the centre."""
    rows, cols = (np.abs(np.arange(n) - (n - 1) / 2) for n in grid)
    nearest = (rows[:, None] == rows.min()) & (cols[None, :] == cols.min())
    return nearest / nearest.sum()


def other_words(words: Sequence[NamedWord]) -> list[np.ndarray | None]:
    """For each word the map of its photo's next word (cyclically) with other boxes, or None."""
    return _next_maps(words, lambda word: word.photo, lambda word: word.boxes)


def _other_photos(words: Sequence[NamedWord]) -> list[np.ndarray | None]:
    """For each word the map of its noun in the next photo (cyclically) that has it, or None."""
    return _next_maps(words, lambda word: word.noun, lambda word: word.photo)


def _next_maps(
    words: Sequence[NamedWord],
    same: Callable[[NamedWord], Hashable],
    other: Callable[[NamedWord], Hashable],
) -> list[np.ndarray | None]:
    """For each word the map of the next one with equal `same` and different `other`, or None."""
    groups: dict[Hashable, list[NamedWord]] = defaultdict(list)
    for word in words:
        groups[same(word)].append(word)
    read: Counter[Hashable] = Counter()  # words of each group so far, this one included
    maps: list[np.ndarray | None] = []
    for word in words:
        key = same(word)
        read[key] += 1
        following = (*groups[key][read[key] :], *groups[key][: read[key] - 1])
        maps.append(next((w.attention for w in following if other(w) != other(word)), None))
    return maps


def _grid(word: NamedWord) -> tuple[int, int]:
    rows, cols = word.attention.shape
    return rows, cols
