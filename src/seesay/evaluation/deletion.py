"""Deletion and insertion: how far words become less likely when parts of the photo are hidden."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from seesay.data.hiding import FILLS, hide, moved, top_regions
from seesay.metrics.localisation import NamedWord, Share, other_words
from seesay.runtime import CaptionModel
from seesay.runtime.occlusion import word_logprobs

SHARES = (0.05, 0.1, 0.25)  # of the photo's area
AREAS = ("top", "random", "least", "centre", "other_word")


@dataclass(frozen=True)
class Sentence:
    """A sentence about one photo, some words of which name things.

    Attributes:
        photo: the photo's name.
        picture: the upright photo.
        text: the sentence.
        words: the words that name things, with their positions, maps and log-probabilities.
    """

    photo: str
    picture: Image.Image
    text: str
    words: tuple[NamedWord, ...]


@dataclass(frozen=True)
class Fall:
    """How much less likely words become, in natural log-probability.

    Attributes:
        fill: how the area is hidden: "mean", "blur" or "road".
        share: share of the photo's area that is hidden (deletion) or shown (insertion).
        falls: for each of `AREAS` the mean fall.
        gaps: for each area except `top`, the mean difference of a word's fall for `top` and for the
            area.
    """

    fill: str
    share: float
    falls: dict[str, Share]
    gaps: dict[str, Share]


def deletion(
    model: CaptionModel,
    sentences: Sequence[Sentence],
    insert: bool = False,
    fills: Sequence[str] = tuple(FILLS),
    shares: Sequence[float] = SHARES,
    seed: int = 0,
    advance: Callable[[], None] | None = None,
) -> list[Fall]:
    """Score sentences again while the most attended or another part of the photo is hidden.

    Args:
        model: scores the sentences.
        sentences: sentences with the maps of their words.
        insert: hide everything except the part. A part that shows what the word depends on makes
            the word fall less, so good attention has gaps below 0.
        fills, shares: how to hide, and how much of the photo.
        seed: the seed of the random areas and of the noise.
        advance: called after each sentence.

    Returns:
        One `Fall` for each fill and share.
    """
    random = np.random.default_rng(seed)
    measured = {(fill, share): {area: [] for area in AREAS} for share in shares for fill in fills}
    photos: list[str] = []
    for sentence in sentences:
        others = other_words(sentence.words)
        for word, other in zip(sentence.words, others, strict=True):
            photos.append(word.photo)
            for share in shares:
                areas = _areas(word, other, share, random)
                hidden = {area: ~part if insert else part for area, part in areas.items()}
                for fill in fills:
                    pictures = [hide(sentence.picture, part, fill, seed) for part in hidden.values()]
                    falls = falls_of(model, pictures, sentence.text, word)
                    by_area = dict(zip(hidden, falls, strict=True))
                    for area, values in measured[fill, share].items():
                        values.append(by_area.get(area, float("nan")))
        if advance:
            advance()
    if not photos:
        return []
    return [_summary(fill, share, falls, photos) for (fill, share), falls in measured.items()]


def falls_of(model: CaptionModel, pictures: Sequence[Image.Image], text: str, word: NamedWord) -> list[float]:
    """The fall of a word's log-probability on each of several changed photos."""
    return [word.logprob - logprobs[word.position] for logprobs in word_logprobs(model, pictures, text)]


def _areas(
    word: NamedWord, other: np.ndarray | None, share: float, random: np.random.Generator
) -> dict[str, np.ndarray]:
    """(rows, cols) bool of each of `AREAS`; `other_word` only where there is one."""
    rows, cols = word.attention.shape
    top = top_regions(word.attention, share)
    middle = [np.abs(np.arange(n) - (n - 1) / 2) / n for n in (rows, cols)]
    areas = {
        "top": top,
        "random": moved(top, random),
        "least": top_regions(-word.attention, share),
        "centre": top_regions(-np.maximum(middle[0][:, None], middle[1][None, :]), share),
    }
    return areas if other is None else {**areas, "other_word": top_regions(other, share)}


def _summary(fill: str, share: float, falls: dict[str, list[float]], photos: Sequence[str]) -> Fall:
    values = {area: np.array(numbers) for area, numbers in falls.items()}
    means = {area: _share(numbers, photos) for area, numbers in values.items()}
    gaps = {area: _share(values["top"] - values[area], photos) for area in AREAS[1:]}
    return Fall(fill, share, means, gaps)


def _share(values: np.ndarray, photos: Sequence[str]) -> Share:
    known = ~np.isnan(values)
    return Share.of(values[known].tolist(), [photo for photo, k in zip(photos, known, strict=True) if k])
