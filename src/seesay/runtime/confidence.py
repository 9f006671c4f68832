"""How far to trust a caption, from what captioning computes anyway (docs/confidence.md).

The encoder's regions, pooled over the photo, predict which words and pairs of words people would use of it. A sentence
is trusted as far as it agrees with them and as the decoder was sure of its tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from seesay.bundle.confidence_file import PHOTO, ConfidenceHead
from seesay.data.things import plainer, thing_of

PAIR_IDF = 7.0  # idf of a pair of words that people hardly ever use
MOST_SPREADS = 10.0  # a picture unlike any photo must not outweigh everything by a single feature
FLOOR = 0.02  # added to shares before their logarithm


def pooled(memory: Sequence[np.ndarray]) -> np.ndarray:
    """The features of a photo: mean, standard deviation and maximum over its regions, float32.

    If only the last layer of a transformer has finer regions, it is left out: what they add says
    where things are.

    Args:
        memory: the encoder's memory of one photo, arrays (1, heads, P, D / heads) or (1, P, D).

    Returns:
        (F,): the D means of each array, then all deviations, then all maxima.
    """
    regions = memory[0].shape[-2]  # of the first layer
    arrays = [array[0] for array in memory if array.shape[-2] <= regions]
    mean, squares, largest = (
        np.concatenate([pool(array).ravel() for array in arrays], dtype=np.float32)
        for pool in (_mean, _mean_square, _largest)
    )
    return np.concatenate([mean, np.sqrt(np.maximum(squares - mean * mean, 0)), largest])


# Along the last axis but one, in less than half the time of NumPy's reductions.
def _mean(regions: np.ndarray) -> np.ndarray:
    return np.full(regions.shape[-2], 1 / regions.shape[-2], np.float32) @ regions


def _mean_square(regions: np.ndarray) -> np.ndarray:
    return _mean(regions * regions)


def _largest(regions: np.ndarray) -> np.ndarray:
    while (count := regions.shape[-2]) > 1:  # one half against the other
        half = (count + 1) // 2
        regions = np.maximum(regions[..., :half, :], regions[..., count - half :, :])
    return regions


def standardised(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Features in units of their spread over the training photos, at most MOST_SPREADS of them."""
    return np.minimum(np.maximum((features - mean) / scale, -MOST_SPREADS), MOST_SPREADS)


class Evidence(NamedTuple):
    """What the features of one photo say.

    Attributes:
        codes: (R,) the features, projected; `Judge.shares` reads from them how often people use a gram.
        kind: "photo" or what else the picture is; None if the head does not know kinds.
        photo: probability that it is a photo; None likewise.
    """

    codes: np.ndarray
    kind: str | None
    photo: float | None

    @property
    def worth(self) -> float:
        """By what probabilities are multiplied that are true of photos only."""
        return 1.0 if self.photo is None or self.kind == PHOTO else self.photo


class Judge:
    """A head with its indices; safe to use from several threads.

    Args:
        head: from `seesay.bundle.confidence_file`.
    """

    def __init__(self, head: ConfidenceHead) -> None:
        self.head = head
        self.index = {gram: i for i, gram in enumerate(head.grams)}
        self._supporting = _supporting(head.grams)
        self._kinds = np.ascontiguousarray(head.kind_weights.T)  # (C, F): a few long rows multiply fastest

    def evidence(self, features: np.ndarray) -> Evidence:
        """Evidence from `pooled` features."""
        head = self.head
        features = standardised(features, head.mean, head.scale)
        codes = np.einsum("i,ij->j", features, head.project)  # on one thread: BLAS would take more, from the graphs
        if not head.kinds:
            return Evidence(codes, None, None)
        scores = np.einsum("i,ji->j", features, self._kinds) + head.kind_base
        other = 1 + int(scores[1:].argmax())
        margin = float(scores[0] - scores[other])
        kind = PHOTO if margin >= head.threshold else head.kinds[other]
        return Evidence(codes, kind, logistic(head.photo[0] * margin + head.photo[1]))

    def confidence(self, evidence: Evidence, words: Sequence[str], logprobs: Sequence[float]) -> float:
        """Probability that a person would accept a sentence; near 0 if the picture is no photo.

        Args:
            evidence: on the photo.
            words: of the sentence, as `split_words` gives them.
            logprobs: of its tokens and of the end token.
        """
        return logistic(self.logit(evidence, words, logprobs)) * evidence.worth

    def logit(self, evidence: Evidence, words: Sequence[str], logprobs: Sequence[float]) -> float:
        """Log-odds that a person would accept a sentence about this photo; arguments as of `confidence`."""
        signals = self.sentence_signals(evidence, words, logprobs)
        return float(signals @ self.head.accept[:-1] + self.head.accept[-1])

    def shares(self, evidence: Evidence, grams: Sequence[int]) -> np.ndarray:
        """Predicted shares of the photo's references that have each of these grams; may leave 0..1 a little."""
        return np.einsum("gr,r->g", self.head.shares[grams], evidence.codes) + self.head.base[grams]

    def _known(self, grams: Iterable[str]) -> list[int]:
        return [i for gram in dict.fromkeys(grams) if (i := self.index.get(gram)) is not None]

    def sentence_signals(self, evidence: Evidence, words: Sequence[str], logprobs: Sequence[float]) -> np.ndarray:
        """(ACCEPT_SIGNALS,) the signals of a sentence; arguments as of `confidence`.

        The mean log-probability of its tokens; then for its words, and for its pairs of words, the product of its
        tf-idf vector, at length 1, with that of the predicted shares.
        """
        pairs = self._known(map(" ".join, pairwise(words)))
        unknown = max(len(words) - 1, 1) - len(pairs)
        return np.array(
            [
                sum(logprobs) / len(logprobs),
                self._agreement(evidence, self._known(words), 0.0),
                self._agreement(evidence, pairs, PAIR_IDF**2 * unknown),
            ]
        )

    def _agreement(self, evidence: Evidence, grams: list[int], more: float) -> float:
        """tf-idf product of grams with the predicted shares; `more` is added to the square of the grams' length."""
        squares = self.head.idf[grams] ** 2
        return float(self.shares(evidence, grams) @ squares) / max(float(squares.sum()) + more, 1e-9) ** 0.5

    def word_confidence(self, evidence: Evidence, word: str, logprob: float) -> float | None:
        """Probability that the thing that a word names is there; None for words that name no thing."""
        thing = thing_of(word)
        if thing is None:
            return None
        signals = self.word_signals(evidence, word, thing, logprob)
        return logistic(float(signals @ self.head.word[:-1] + self.head.word[-1])) * evidence.worth

    def word_signals(self, evidence: Evidence, word: str, thing: str, logprob: float) -> np.ndarray:
        """(WORD_SIGNALS,) log-shares of the word and of all words that support it, its log-probability and idf."""
        own = self.index.get(word)
        supporting = self._supporting.get(thing, [])
        shares = np.maximum(self.shares(evidence, supporting if own is None else [*supporting, own]), 0)
        share = 0.0 if own is None else float(shares[-1])
        all_shares = float(shares[: len(supporting)].sum())
        rarity = PAIR_IDF if own is None else float(self.head.idf[own])
        return np.array([np.log(share + FLOOR), np.log(all_shares + FLOOR), logprob, rarity])


def _supporting(grams: Sequence[str]) -> dict[str, list[int]]:
    """Thing -> indices of the words that support it."""
    found: dict[str, list[int]] = {}
    for i, gram in enumerate(grams):
        if (thing := thing_of(gram)) is not None:
            for name in (thing, *plainer(thing)):
                found.setdefault(name, []).append(i)
    return found


def logistic(x: float) -> float:
    """1 / (1 + exp(-x)), for any x."""
    return float(1 / (1 + np.exp(-min(max(x, -60.0), 60.0))))
