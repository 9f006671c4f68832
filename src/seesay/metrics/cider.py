"""CIDEr-D (Vedantam et al. 2015), fast enough to be a training reward.

The references are prepared once.

Axis letters: B hypotheses, M images, S references of all images, E entries (one n-gram of one
reference), U different n-grams of images (one n-gram of one image, whatever its references).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from seesay.errors import DataError
from seesay.metrics.inputs import References, Tokens, check_hypotheses, check_references
from seesay.metrics.ngrams import BEYOND, ORDERS, Entries, NgramTable, join, lengths_of, split

SIGMA = 6.0  # spread of the length penalty, in words


class _Order(NamedTuple):
    """The references' n-grams of one order.

    Entries are sorted by image, then by n-gram.
    """

    idf: np.ndarray  # (G + 1,) of each known n-gram, and last of an unknown one
    key: np.ndarray  # (U + 1,) image, n-gram; then BEYOND
    first: np.ndarray  # (U + 1,) where the entries of each `key` begin, and where they end
    sentence: np.ndarray  # (E,) which reference
    weight: np.ndarray  # (E,) tf-idf: times * idf
    unit: np.ndarray  # (E,) the same over the norm of the reference's vector


class CiderD:
    """CIDEr-D against fixed references, equal to pycocoevalcap's `Cider`.

    For each n = 1..4 it is the cosine of the tf-idf vectors, the hypothesis clipped to the
    reference, times exp(-(difference in length)² / (2 · 6²)); the score is the mean over n and the
    image's references, times 10 (Vedantam et al., "CIDEr", CVPR 2015).

    Args:
        references: for each of M images its captions as tokens (strings, or ints).
        corpus: captions of the images for the document frequencies, such as the training split;
            None: `references`. A handful of images is too few: with a single one every score is 0.

    Raises:
        DataError: there are no images, or one has no reference.
    """

    def __init__(self, references: References, corpus: References | None = None) -> None:
        check_references(references)
        check_references(references if corpus is None else corpus)
        self._table = NgramTable()
        self._captions = _captions_per_image(references)
        sentences = list(chain.from_iterable(references))
        self._lengths = _penalised_lengths(sentences)
        if corpus is None:
            orders = self._table.learn(sentences)
            idfs = None
        else:
            documents = list(chain.from_iterable(corpus))
            self._table.learn(sentences + documents)
            orders = self._table.count(sentences)
            counted = zip(self._table.count(documents), self._table.sizes, strict=True)
            images = _captions_per_image(corpus)
            idfs = [_idf(_group(entries, images).key, size, len(corpus)) for entries, size in counted]
        self._orders = [
            self._prepare(entries, size, None if idfs is None else idfs[n])
            for n, (entries, size) in enumerate(zip(orders, self._table.sizes, strict=True))
        ]

    def __len__(self) -> int:
        """Number of images M."""
        return len(self._captions)

    def score(self, hypotheses: Sequence[Tokens], images: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """CIDEr-D of each hypothesis.

        Args:
            hypotheses: B captions as tokens.
            images: B indices of the images they describe, in any order, repeated where an image has
                several hypotheses; unset: one hypothesis for each image, in order.

        Returns:
            (B,) float64, each 0 (worst) to 10; the score of a corpus is the mean.

        Raises:
            DataError: the number of hypotheses does not fit, or an index is outside 0..M-1.
        """
        check_hypotheses(hypotheses)
        image = self._checked_images(len(hypotheses), images)
        lengths = _penalised_lengths(hypotheses)
        total = np.zeros(len(hypotheses))
        for order, entries in zip(self._orders, self._table.count(hypotheses), strict=True):
            total += self._similarity(order, entries, image, lengths)
        return 10 * total / (ORDERS * self._captions[image])

    def _similarity(self, order: _Order, entries: Entries, image: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The clipped cosines of one order times the length penalty, (B,).

        They are summed over the image's references.
        """
        weight, norm = _tf_idf(entries, order.idf, len(lengths))
        mine, theirs = _matches(join(image[entries.sentence], entries.gram), order)
        hypothesis = entries.sentence[mine]
        longer = lengths[hypothesis] - self._lengths[order.sentence[theirs]]
        cosine = np.minimum(weight[mine], order.weight[theirs]) * order.unit[theirs]
        cosine *= np.exp(longer**2 / (-2 * SIGMA**2))
        return np.bincount(hypothesis, cosine, len(lengths)) / norm

    def _prepare(self, entries: Entries, size: int, idf: np.ndarray | None) -> _Order:
        groups = _group(entries, self._captions)
        if idf is None:
            idf = _idf(groups.key, size, len(self))
        weight, norm = _tf_idf(entries, idf, len(self._lengths))
        unit = weight / norm[entries.sentence]
        place = groups.place
        key = np.append(groups.key, BEYOND)
        return _Order(idf, key, groups.first, entries.sentence[place], weight[place], unit[place])

    def _checked_images(self, number: int, images: Sequence[int] | np.ndarray | None) -> np.ndarray:
        indices = np.arange(len(self)) if images is None else np.asarray(images, np.int64)
        if indices.shape != (number,):
            raise DataError(
                f"got {number} hypotheses for {indices.size} images: expected one image index for each hypothesis"
            )
        if number and not 0 <= indices.min() <= indices.max() < len(self):
            raise DataError(f"image index outside 0..{len(self) - 1}: got {indices.min()}..{indices.max()}")
        return indices


class _Groups(NamedTuple):
    """Entries grouped by image and n-gram."""

    place: np.ndarray  # (E,) of the entries, sorted so
    key: np.ndarray  # (U,) image, n-gram
    first: np.ndarray  # (U + 1,) where each group begins, and where the last one ends


def _group(entries: Entries, captions: np.ndarray) -> _Groups:
    """Group the entries of all captions of some images.

    Args:
        entries: the entries of the captions, image after image.
        captions: (M,) number of captions of each image.
    """
    image = np.repeat(np.arange(len(captions)), captions)
    key = join(image[entries.sentence], entries.gram)
    # fast, because the entries of each caption are sorted already
    place = np.argsort(key, kind="stable")
    key = key[place]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    return _Groups(place, key[first], np.append(first, len(key)))


def _idf(key: np.ndarray, size: int, documents: int) -> np.ndarray:
    """The inverse document frequencies, log(N / max(1, n)), (G + 1,).

    They are those of the G known n-grams and last that of an unknown one; n of the N documents
    contain the n-gram.

    Args:
        key: (U,) document and n-gram (`join`), each pair once.
        size: G.
        documents: N.
    """
    having = np.bincount(split(key)[1], minlength=size + 1)
    return np.log(documents) - np.log(np.maximum(having, 1))


def _tf_idf(entries: Entries, idf: np.ndarray, sentences: int) -> tuple[np.ndarray, np.ndarray]:
    """The tf-idf weight of each entry, (C,), and the norm of each sentence's vector, (S,).

    A norm of 0 is replaced by 1.
    """
    # unknown n-grams have the last idf
    weight = entries.times * idf.take(entries.gram, mode="clip")
    norm = np.sqrt(np.bincount(entries.sentence, weight**2, sentences))
    return weight, np.where(norm, norm, 1.0)


def _matches(keys: np.ndarray, order: _Order) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (i, j) where `keys[i]` is the key of the order's entry j, as two arrays."""
    group = np.searchsorted(order.key, keys)
    found = np.flatnonzero(order.key[group] == keys)
    first = order.first[group[found]]
    number = order.first[group[found] + 1] - first
    return np.repeat(found, number), np.arange(number.sum()) + np.repeat(first - (number.cumsum() - number), number)


def _captions_per_image(references: References) -> np.ndarray:
    return np.array([len(captions) for captions in references])


def _penalised_lengths(sentences: Sequence[Tokens]) -> np.ndarray:
    """(S,) lengths as pycocoevalcap defines them: the number of bigrams."""
    return np.maximum(lengths_of(sentences) - 1, 0)
