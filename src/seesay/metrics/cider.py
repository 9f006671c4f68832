"""CIDEr-D (Vedantam et al. 2015), prepared once from the references: a score, and a reward quick enough to train on.

Axis letters: B hypotheses, M images, S references of all images, E entries (one n-gram of one reference).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from seesay.errors import DataError
from seesay.metrics.inputs import References, Tokens, check_hypotheses, check_references
from seesay.metrics.ngrams import ORDERS, Entries, NgramTable, join, lengths_of, split

SIGMA = 6.0  # spread of the length penalty, in words


class _Order(NamedTuple):
    """All that scoring needs of the references' n-grams of one order; entries sorted by `key`."""

    idf: np.ndarray  # (G + 1,) of each known n-gram, and last of an unknown one
    key: np.ndarray  # (E,) image, n-gram
    sentence: np.ndarray  # (E,) which reference
    weight: np.ndarray  # (E,) tf-idf: times * idf
    unit: np.ndarray  # (E,) the same over the norm of the reference's vector


class CiderD:
    """CIDEr-D against fixed references (Vedantam et al., "CIDEr", CVPR 2015), equal to pycocoevalcap's `Cider`.

    For each n = 1..4 the cosine of tf-idf vectors, the hypothesis clipped to the reference, times
    exp(-(difference in length)² / (2 · 6²)); the mean over n and the image's references, times 10.

    Args:
        references: for each of M images its captions as tokens (strings, or ints).
        corpus: captions of the images that the document frequencies come from (the training split, say);
            unset: `references` themselves, which says little with a handful of images: with one, every score is 0.

    Raises:
        DataError: there are no images, or one has no reference.
    """

    def __init__(self, references: References, corpus: References | None = None) -> None:
        check_references(references)
        check_references(references if corpus is None else corpus)
        self._table = NgramTable()
        self._captions = _captions_each(references)
        sentences = list(chain.from_iterable(references))
        self._lengths = _penalised_lengths(sentences)
        if corpus is None:
            entries = self._table.learn(sentences)
            idfs = self._document_idfs(entries, self._captions)
        else:
            documents = list(chain.from_iterable(corpus))
            self._table.learn(sentences + documents)
            entries = self._table.count(sentences)
            idfs = self._document_idfs(self._table.count(documents), _captions_each(corpus))
        self._orders = [self._prepare(*pair) for pair in zip(idfs, entries, strict=True)]

    def __len__(self) -> int:
        """Number of images M."""
        return len(self._captions)

    def score(self, hypotheses: Sequence[Tokens], images: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """CIDEr-D of each hypothesis.

        Args:
            hypotheses: B captions as tokens.
            images: B indices of the images they describe, in any order, repeated where an image has several
                hypotheses; unset: one hypothesis for each image, in order.

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
        """(B,) clipped cosines of one order times the length penalty, summed over the image's references."""
        weight, norm = _weigh(entries, order.idf, len(lengths))
        mine, theirs = _matches(join(image[entries.sentence], entries.gram), order.key)
        hypothesis = entries.sentence[mine]
        longer = lengths[hypothesis] - self._lengths[order.sentence[theirs]]
        cosine = np.minimum(weight[mine], order.weight[theirs]) * order.unit[theirs]
        cosine *= np.exp(longer**2 / (-2 * SIGMA**2))
        return np.bincount(hypothesis, cosine, len(lengths)) / norm

    def _prepare(self, idf: np.ndarray, entries: Entries) -> _Order:
        weight, norm = _weigh(entries, idf, len(self._lengths))
        image = np.repeat(np.arange(len(self)), self._captions)
        key = join(image[entries.sentence], entries.gram)
        place = np.argsort(key)
        unit = weight / norm[entries.sentence]
        return _Order(idf, key[place], entries.sentence[place], weight[place], unit[place])

    def _document_idfs(self, order_entries: Iterable[Entries], captions: np.ndarray) -> list[np.ndarray]:
        """For each order log(documents / documents that have the n-gram, at least 1), (G + 1,)."""
        document = np.repeat(np.arange(len(captions)), captions)
        idfs = []
        for size, entries in zip(self._table.sizes, order_entries, strict=True):
            key = np.sort(join(document[entries.sentence], entries.gram))
            _, gram = split(key[np.diff(key, prepend=-1) > 0])  # each n-gram once a document
            having = np.bincount(gram, minlength=size + 1)
            idfs.append(np.log(len(captions)) - np.log(np.maximum(having, 1)))
        return idfs

    def _checked_images(self, number: int, images: Sequence[int] | np.ndarray | None) -> np.ndarray:
        indices = np.arange(len(self)) if images is None else np.asarray(images, np.int64)
        if indices.shape != (number,):
            raise DataError(
                f"got {number} hypotheses for {indices.size} images: expected one image index for each hypothesis"
            )
        if number and not 0 <= indices.min() <= indices.max() < len(self):
            raise DataError(f"image index outside 0..{len(self) - 1}: got {indices.min()}..{indices.max()}")
        return indices


def _weigh(entries: Entries, idf: np.ndarray, sentences: int) -> tuple[np.ndarray, np.ndarray]:
    """The tf-idf weight of each entry, (C,), and the norm of each sentence's vector, (S,); a norm of 0 becomes 1."""
    weight = entries.times * idf.take(entries.gram, mode="clip")  # unknown n-grams have the last idf
    norm = np.sqrt(np.bincount(entries.sentence, weight**2, sentences))
    return weight, np.where(norm, norm, 1.0)


def _matches(keys: np.ndarray, ordered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs (i, j) with keys[i] == ordered[j], as two arrays."""
    first = np.searchsorted(ordered, keys, "left")
    number = np.searchsorted(ordered, keys, "right") - first
    mine = np.repeat(np.arange(len(keys)), number)
    return mine, np.arange(len(mine)) + np.repeat(first - (number.cumsum() - number), number)


def _captions_each(references: References) -> np.ndarray:
    return np.array([len(captions) for captions in references])


def _penalised_lengths(sentences: Sequence[Tokens]) -> np.ndarray:
    """(S,) lengths as pycocoevalcap takes them: the number of bigrams, so 0 for no word and for one."""
    return np.maximum(lengths_of(sentences) - 1, 0)
