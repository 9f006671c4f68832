"""Occlusion: how the log-probability of each word falls when one patch of the photo after the other is hidden."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np
from PIL import Image

from seesay.bundle.format import Bundle
from seesay.caption import Caption, Failure
from seesay.data.hiding import hide
from seesay.errors import PhotoError

MOST_PATCHES = 64


class SentenceScorer(Protocol):
    """The part of `CaptionModel` that occlusion needs."""

    @property
    def bundle(self) -> Bundle: ...

    def score_many(self, images: Iterable[Image.Image], text: str) -> Iterator[Caption | Failure]: ...


def patch_grid(grid: tuple[int, int]) -> tuple[int, int]:
    """The grid of patches: the encoder's regions, or a coarser grid if there are more than `MOST_PATCHES`."""
    if grid[0] * grid[1] <= MOST_PATCHES:
        return grid
    shrink = (MOST_PATCHES / (grid[0] * grid[1])) ** 0.5
    rows, cols = (max(1, int(n * shrink)) for n in grid)
    return rows, cols


def occlusion_falls(model: SentenceScorer, picture: Image.Image, text: str) -> np.ndarray:
    """The fall of each word's log-probability when a patch is filled with the photo's mean colour.

    After Zeiler and Fergus 2014 (https://arxiv.org/abs/1311.2901, section 4.2).

    Args:
        model: scores the sentence.
        picture: the upright photo.
        text: the sentence.

    Returns:
        (words, rows, cols) float32, positive where the word depends on the patch.
    """
    rows, cols = patch_grid(model.bundle.grid)
    patches = np.eye(rows * cols, dtype=bool).reshape(-1, rows, cols)
    pictures = (picture, *(hide(picture, patch, "mean") for patch in patches))
    logprobs = word_logprobs(model, pictures, text)
    falls = logprobs[0] - logprobs[1:]  # (patches, words)
    return falls.T.reshape(-1, rows, cols).astype(np.float32)


def word_logprobs(model: SentenceScorer, pictures: Iterable[Image.Image], text: str) -> np.ndarray:
    """The log-probability of each word of a sentence on each picture: (pictures, words).

    Raises:
        PhotoError: a picture cannot be read.
        TextError: the sentence has words outside the vocabulary.
    """
    logprobs = []
    for result in model.score_many(pictures, text):
        if isinstance(result, Failure):
            raise PhotoError(result.reason)
        logprobs.append([word.logprob for word in result.words])
    return np.array(logprobs)
