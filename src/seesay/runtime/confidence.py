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

TOP = 12  # words that a photo's prediction is compared with: about as many as a sentence has
PAIR_IDF = 7.0  # idf of a pair of words that people hardly ever use
MOST_SPREADS = 10.0  # a picture unlike any photo must not outweigh everything by a single feature
FLOOR = 0.02  # added to shares before their logarithm


def pooled(memory: np.ndarray) -> np.ndarray:
    """The features of a photo: mean, standard deviation and maximum of its regions, (3 D,) float32.

    Args:
        memory: the first array of the encoder's memory for one photo, (1, heads, P, D / heads) or (1, P, D).
    """
    regions = memory[0] if memory.ndim == 3 else memory[0].transpose(1, 0, 2).reshape(memory.shape[2], -1)  # (P, D)
    mean = regions.mean(axis=0)
    spread = np.sqrt(np.maximum(np.einsum("pd,pd->d", regions, regions) / len(regions) - mean * mean, 0))
    return np.concatenate([mean, spread, regions.max(axis=0)], dtype=np.float32)


def standardised(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Features in units of their spread over the training photos, at most MOST_SPREADS of them."""
    return np.minimum(np.maximum((features - mean) / scale, -MOST_SPREADS), MOST_SPREADS)


class Evidence(NamedTuple):
    """What the features of one photo say.

    Attributes:
        shares: (G,) predicted share of the photo's references that have each gram; may leave 0..1 a little.
        norm: length of the predicted tf-idf vector.
        top: sum of idf-weighted shares of the words that are predicted most.
        kind: "photo" or what else the picture is; None if the head does not know kinds.
        photo: probability that it is a photo; None likewise.
    """

    shares: np.ndarray
    norm: float
    top: float
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
        self._words = np.array([" " not in gram for gram in head.grams])
        self._supporting = _supporting(head.grams)

    def evidence(self, features: np.ndarray) -> Evidence:
        """Evidence from `pooled` features."""
        head = self.head
        features = standardised(features, head.mean, head.scale)
        shares = _times(_times(features, head.project), head.shares) + head.base
        weighed = np.maximum(shares * self.head.idf, 0)
        words = weighed[self._words]
        top = float(np.partition(words, -TOP)[-TOP:].sum()) if len(words) > TOP else float(words.sum())
        norm = float(np.sqrt(weighed @ weighed))
        if not head.kinds:
            return Evidence(shares, norm, top, None, None)
        scores = _times(features, head.kind_weights) + head.kind_base
        other = 1 + int(scores[1:].argmax())
        margin = float(scores[0] - scores[other])
        kind = PHOTO if margin >= head.threshold else head.kinds[other]
        return Evidence(shares, norm, top, kind, logistic(head.photo[0] * margin + head.photo[1]))

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
        grams = self.grams_of(words)
        plain, shared = self.head.gram_weights[:, grams]
        by_gram = plain.sum() + shared @ (evidence.shares[grams] * self.head.idf[grams])
        return float(signals @ self.head.accept[:-1] + self.head.accept[-1] + by_gram)

    def grams_of(self, words: Sequence[str]) -> list[int]:
        """Indices of the head's grams that a sentence has, each once."""
        return self._known((*words, *map(" ".join, pairwise(words))))

    def _known(self, grams: Iterable[str]) -> list[int]:
        return [i for gram in dict.fromkeys(grams) if (i := self.index.get(gram)) is not None]

    def sentence_signals(self, evidence: Evidence, words: Sequence[str], logprobs: Sequence[float]) -> np.ndarray:
        """(ACCEPT_SIGNALS,) the signals of a sentence; arguments as of `confidence`."""
        content, pairs = self._known(words), self._known(map(" ".join, pairwise(words)))
        shares, idf = evidence.shares[content], self.head.idf[content]
        pair_idf = self.head.idf[pairs]
        squares, pair_squares = idf * idf, pair_idf * pair_idf
        total = float(idf.sum())
        sure = float(shares @ idf)
        unknown = max(len(words) - 1, 1) - len(pairs)
        return np.array(
            [
                sum(logprobs) / len(logprobs),
                sum(logprobs),
                sum(sorted(logprobs)[:3]) / min(len(logprobs), 3),
                len(words),
                total / max(len(content), 1),
                float(shares.sum()) / max(len(content), 1),
                float(shares.min()) if content else 0.0,
                float(shares @ squares) / max(float(squares.sum()), 1e-9) ** 0.5,
                float(evidence.shares[pairs] @ pair_squares)
                / max(float(pair_squares.sum()) + PAIR_IDF**2 * unknown, 1e-9) ** 0.5,
                sure / total if total else 0.0,
                evidence.norm,
                sure / max(evidence.top, 1e-3),
            ]
        )

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
        share = 0.0 if own is None else max(float(evidence.shares[own]), 0.0)
        supporting = self._supporting.get(thing)
        all_shares = 0.0 if supporting is None else float(np.maximum(evidence.shares[supporting], 0).sum())
        rarity = PAIR_IDF if own is None else float(self.head.idf[own])
        return np.array([np.log(share + FLOOR), np.log(all_shares + FLOOR), logprob, rarity])


def _times(vector: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """vector @ matrix on one thread: BLAS would take more, from the graphs that run at the same time."""
    return np.einsum("i,ij->j", vector, matrix)


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
