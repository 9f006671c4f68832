"""Integer codes for n-grams, so that numpy can count, weigh and join many at once.

N-grams are numbered, not hashed, so two different ones never share a number: the number of an
n-gram is the index of (number of its first n - 1 words, last word) in a sorted table.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from seesay.metrics.inputs import Tokens

ORDERS = 4
BITS = 31  # two numbers below 2**31 share one int64
# ends a sorted table, so that `searchsorted` always returns a valid index
BEYOND = np.iinfo(np.int64).max


class Entries(NamedTuple):
    """The distinct n-grams of one order in each of S sentences.

    Attributes:
        sentence: (C,) number of the sentence of each entry.
        gram: (C,) number of the n-gram.
        times: (C,) how often the n-gram occurs in the sentence.
    """

    sentence: np.ndarray
    gram: np.ndarray
    times: np.ndarray


class NgramTable:
    """Numbers, from 0 in each order n = 1..4, for the n-grams of the sentences it has learnt."""

    def __init__(self) -> None:
        self._words = _Numbering()
        self._codes: list[np.ndarray] = []

    @property
    def sizes(self) -> list[int]:
        """How many n-grams are known; one number for each order."""
        return [len(codes) - 1 for codes in self._codes]

    def learn(self, sentences: Sequence[Tokens]) -> list[Entries]:
        """Number the n-grams of `sentences` and count them; one item for each order.

        A table learns only once.
        """
        return list(_count(sentences, self._words, self._learn))

    def count(self, sentences: Sequence[Tokens]) -> Iterator[Entries]:
        """Count n-grams, order by order.

        Unknown n-grams get numbers from `sizes` on, which are valid for this call alone.
        """
        # a copy, or the table would grow by every word that is ever scored
        return _count(sentences, _Numbering(self._words), self._look_up)

    def _learn(self, order: int, code: np.ndarray) -> np.ndarray:
        if order == 0:  # words have numbers already
            self._codes.append(np.append(np.arange(len(self._words)), BEYOND))
            return code
        known, gram = np.unique(code, return_inverse=True)
        self._codes.append(np.append(known, BEYOND))
        return gram

    def _look_up(self, order: int, code: np.ndarray) -> np.ndarray:
        if order == 0:
            return code
        known = self._codes[order]
        gram = np.searchsorted(known, code)
        new = known[gram] != code
        gram[new] = len(known) - 1 + np.unique(code[new], return_inverse=True)[1]
        return gram


class _Numbering(dict[Hashable, int]):
    """Word -> number; a new word gets the next one."""

    def __missing__(self, word: Hashable) -> int:
        self[word] = number = len(self)
        return number


def _count(
    sentences: Sequence[Tokens], numbering: _Numbering, number: Callable[[int, np.ndarray], np.ndarray]
) -> Iterator[Entries]:
    """Count n-grams by the numbers that `number(order, code)` gives them."""
    lengths = lengths_of(sentences)
    words = np.fromiter(map(numbering.__getitem__, chain.from_iterable(sentences)), np.int64, lengths.sum())
    sentence = np.repeat(np.arange(len(sentences)), lengths)
    # number of words from here to the sentence's end
    left = np.repeat(lengths.cumsum(), lengths) - np.arange(len(words))
    start = np.arange(len(words))
    gram = np.zeros(len(words), np.int64)
    for order in range(ORDERS):
        fits = left[start] > order
        start = start[fits]
        gram = number(order, join(gram[fits], words[start + order]))
        key, times = np.unique(join(sentence[start], gram), return_counts=True)
        yield Entries(*split(key), times)


def join(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Pack two numbers into one, which sorts by `high`, then by `low`."""
    return high << BITS | low


def split(joined: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inverse of `join`."""
    return joined >> BITS, joined & ((1 << BITS) - 1)


def lengths_of(sentences: Sequence[Tokens]) -> np.ndarray:
    """(S,) number of tokens."""
    return np.fromiter(map(len, sentences), np.int64, len(sentences))
