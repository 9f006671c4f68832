"""How far to trust a caption, from what captioning computes anyway (docs/confidence.md).

The encoder's regions, pooled over the photo, predict which words and pairs of words people would use of it. A sentence
is trusted as far as it agrees with them and as the decoder was sure of its tokens.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from math import exp, log
from operator import mul
from typing import NamedTuple

import numpy as np

from seesay.bundle.confidence_file import PHOTO, ConfidenceHead
from seesay.data.things import plainer, thing_of
from seesay.data.tokens import CaptionTokenizer
from seesay.search import Hypothesis

PAIR_IDF = 7.0  # idf of a pair of words that people hardly ever use
MOST_SPREADS = 10.0  # a picture unlike any photo must not outweigh everything by a single feature
FLOOR = 0.02  # added to shares before their logarithm


def pooled(memory: Sequence[np.ndarray]) -> np.ndarray:
    """The features of a photo: mean, standard deviation and maximum over its regions, float32.

    Arrays with another number of regions than the first are left out, such as the finer regions of
    a transformer's last layer: what they add says where things are.

    Args:
        memory: the encoder's memory of one photo, arrays (1, heads, P, D / heads) or (1, P, D).

    Returns:
        (F,): the D means of each array, then all deviations, then all maxima.
    """
    count = memory[0].shape[-2]  # of the first layer
    arrays = (array[0] for array in memory if array.shape[-2] == count)
    regions = np.concatenate([_joined(array) if array.ndim == 3 else array for array in arrays], axis=1)
    each = np.full(count, 1 / count, np.float32)
    mean, squares = each @ regions, each @ (regions * regions)  # in less than half the time of NumPy's means
    while (left := len(regions)) > 1:  # the maximum of one half and the other, likewise
        half = (left + 1) // 2
        regions = np.maximum(regions[:half], regions[left - half :])
    return np.concatenate([mean, np.sqrt(np.maximum(squares - mean * mean, 0)), regions[0]], dtype=np.float32)


def _joined(heads: np.ndarray) -> np.ndarray:
    """(heads, P, D / heads) -> (P, D)."""
    return heads.swapaxes(0, 1).reshape(heads.shape[1], -1)


def standardised(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Features in units of their spread over the training photos, at most MOST_SPREADS of them."""
    return np.minimum(np.maximum((features - mean) / scale, -MOST_SPREADS), MOST_SPREADS)


class Said(NamedTuple):
    """A sentence as it is judged.

    Attributes:
        words: as `split_words` gives them.
        logprobs: of its tokens and of the end token.
        shown: the displayed words, each with its log-probability.
    """

    words: Sequence[str]
    logprobs: Sequence[float]
    shown: Sequence[tuple[str, float]]

    @classmethod
    def of(cls, tokenizer: CaptionTokenizer, sentence: Hypothesis) -> Said:
        """A sentence of a search."""
        spans, logprobs = tokenizer.words(sentence.tokens), sentence.logprobs
        shown = [(span.text, sum(logprobs[span.start : span.stop])) for span in spans]
        return cls(tokenizer.split(sentence.tokens), logprobs, shown)


class Evidence(NamedTuple):
    """What the features of one photo say.

    Attributes:
        codes: (R,) the features, projected.
        kind: "photo" or what else the picture is; None if the head does not know kinds.
        photo: probability that it is a photo; None likewise.
        shares: of the grams that were looked up, the predicted share of the photo's references that have each; may
            leave 0..1 a little.
        words: of the words that were looked up, the signals that are the same in all sentences.
        judge: the key of the judge.
    """

    codes: np.ndarray
    kind: str | None
    photo: float | None
    shares: dict[int, float]
    words: dict[str, tuple[float, float, float] | None]
    judge: int

    @property
    def worth(self) -> float:
        """By what probabilities are multiplied that are true of photos only."""
        return 1.0 if self.photo is None or self.kind == PHOTO else self.photo


class Preference(NamedTuple):
    """What counts in the choice of a sentence besides the log-odds of its being accepted, in log-odds.

    Attributes:
        doubt: what a `doubt` of 1 costs.
        pairs: what an agreement of 1 of its pairs of words with the photo is worth, beyond its weight in the log-odds.
    """

    doubt: float
    pairs: float


USUAL = Preference(doubt=0.5, pairs=0.0)  # docs/experiments.md


class Judge:
    """A head with its indices; safe to use from several threads.

    Sentences are judged in plain Python: at a dozen words each, NumPy would take several times as long.

    Args:
        head: from `seesay.bundle.confidence_file`.

    Attributes:
        head: the same.
        key: differs from that of another head.
    """

    def __init__(self, head: ConfidenceHead) -> None:
        self.head = head
        self.index = {gram: i for i, gram in enumerate(head.grams)}
        self._squares: list[float] = (head.idf**2).tolist()
        self._accept: list[float] = head.accept.tolist()
        self._word: list[float] = head.word.tolist()
        self._supporting = _supporting(head.grams)
        self.key = zlib.crc32(b"".join(np.asarray(x).tobytes() for x in (head.accept, head.word, head.base, head.mean)))
        self._columns = np.hstack([head.project, head.kind_weights]) if head.kinds else head.project  # one product

    def evidence(self, features: np.ndarray) -> Evidence:
        """Evidence from `pooled` features."""
        head = self.head
        features = standardised(features, head.mean, head.scale)
        codes = np.einsum("i,ij->j", features, self._columns)  # on one thread: BLAS would take more, from the graphs
        if not head.kinds:
            return Evidence(codes, None, None, {}, {}, self.key)
        ranks = head.project.shape[1]
        codes, scores = codes[:ranks], codes[ranks:] + head.kind_base
        other = 1 + int(scores[1:].argmax())
        margin = float(scores[0] - scores[other])
        kind = PHOTO if margin >= head.threshold else head.kinds[other]
        return Evidence(codes, kind, logistic(head.photo[0] * margin + head.photo[1]), {}, {}, self.key)

    def confidence(self, evidence: Evidence, said: Said) -> float:
        """Probability that a person would accept a sentence; near 0 if the picture is no photo."""
        return logistic(self.logits(evidence, [said])[0]) * evidence.worth

    def logits(self, evidence: Evidence, sentences: Sequence[Said]) -> list[float]:
        """For each sentence the log-odds that a person would accept it, if the picture is a photo."""
        return [_weighed(self._accept, signals) for signals in self.sentence_signals(evidence, sentences)]

    def ranked(self, evidence: Evidence, sentences: Sequence[Said], preference: Preference = USUAL) -> list[int]:
        """Indices of a photo's sentences, the one first that should be the caption.

        They are in the order of their log-odds, changed by the preference; equal ones stay in order. A sentence that
        names a thing twice ("two dogs are playing with a dog") comes after all that do not, unless the likeliest does
        so too: the photo makes both mentions look right. One without words comes last.

        Args:
            evidence: on the photo.
            sentences: one or more, the likeliest first.
            preference: what counts besides.
        """
        may_repeat, keys = names_twice(sentences[0]), []
        for said, signals in zip(sentences, self.sentence_signals(evidence, sentences), strict=True):
            *_, pairs = signals
            worth = _weighed(self._accept, signals) + preference.pairs * pairs
            worth -= preference.doubt * self.doubt(evidence, said)
            keys.append((bool(said.words), may_repeat or not names_twice(said), worth))
        return sorted(range(len(keys)), key=keys.__getitem__, reverse=True)

    def sentence_signals(self, evidence: Evidence, sentences: Sequence[Said]) -> list[tuple[float, ...]]:
        """The ACCEPT_SIGNALS signals of each sentence.

        The mean log-probability of its tokens; then for its words, and for its pairs of words, the product of its
        tf-idf vector, at length 1, with that of the predicted shares.
        """
        words = [self._known(said.words) for said in sentences]
        pairs = [self._known(map(" ".join, pairwise(said.words))) for said in sentences]
        named = {word for said in sentences for word, _ in said.shown if word not in evidence.words}
        of_things = (grams for word in named if (grams := self._grams_of_thing(word)))
        self._shares(evidence, set().union(*words, *pairs, *of_things))  # all at once: faster than one by one
        signals = []
        for said, own, joined in zip(sentences, words, pairs, strict=True):
            unknown = max(len(said.words) - 1, 1) - len(joined)
            signals.append(
                (
                    sum(said.logprobs) / len(said.logprobs),
                    self._agreement(evidence, own, 0.0),
                    self._agreement(evidence, joined, PAIR_IDF**2 * unknown),
                )
            )
        return signals

    def _grams_of_thing(self, word: str) -> list[int] | None:
        """The words that support the thing that a word names; None if it names none."""
        thing = thing_of(word)
        return None if thing is None else self._supporting.get(thing, [])

    def _known(self, grams: Iterable[str]) -> list[int]:
        return [i for gram in dict.fromkeys(grams) if (i := self.index.get(gram)) is not None]

    def _shares(self, evidence: Evidence, grams: Collection[int]) -> list[float]:
        """Predicted shares of the photo's references that have each of these grams."""
        shares = evidence.shares
        if missing := [i for i in grams if i not in shares]:
            values = np.einsum("gr,r->g", self.head.shares[missing], evidence.codes) + self.head.base[missing]
            shares.update(zip(missing, values.tolist(), strict=True))
        return [shares[i] for i in grams]

    def _agreement(self, evidence: Evidence, grams: list[int], more: float) -> float:
        """tf-idf product of grams with the predicted shares; `more` is added to the square of the grams' length."""
        squares = [self._squares[i] for i in grams]
        product = sum(map(mul, map(evidence.shares.__getitem__, grams), squares))
        return product / max(more + sum(squares), 1e-9) ** 0.5

    def doubt(self, evidence: Evidence, said: Said) -> float:
        """The sum of (1 - p)^2 over the things that a sentence names, each there with probability p.

        The square counts hardly anything for what is likely there, so that no sentence gains by leaving it out.
        """
        odds = (self._word_logit(evidence, word, logprob) for word, logprob in said.shown)
        return sum((1 - logistic(x)) ** 2 for x in odds if x is not None)

    def word_confidence(self, evidence: Evidence, word: str, logprob: float) -> float | None:
        """Probability that the thing that a word names is there; None for words that name no thing."""
        odds = self._word_logit(evidence, word, logprob)
        return None if odds is None else logistic(odds) * evidence.worth

    def _word_logit(self, evidence: Evidence, word: str, logprob: float) -> float | None:
        signals = self.word_signals(evidence, word, logprob)
        return None if signals is None else _weighed(self._word, signals)

    def word_signals(self, evidence: Evidence, word: str, logprob: float) -> tuple[float, ...] | None:
        """The WORD_SIGNALS signals of a word that names a thing, else None.

        Its log-probability and idf; log-shares of the word and of all words that support it.
        """
        if word not in evidence.words:
            evidence.words[word] = self._signals_of_photo(evidence, word)
        signals = evidence.words[word]
        return None if signals is None else (logprob, *signals)

    def _signals_of_photo(self, evidence: Evidence, word: str) -> tuple[float, float, float] | None:
        """The signals that do not depend on the sentence."""
        supporting = self._grams_of_thing(word)
        if supporting is None:
            return None
        own = self.index.get(word)
        share = 0.0 if own is None else max(self._shares(evidence, [own])[0], 0.0)
        all_shares = sum(max(x, 0.0) for x in self._shares(evidence, supporting))
        rarity = PAIR_IDF if own is None else float(self.head.idf[own])
        return rarity, log(share + FLOOR), log(all_shares + FLOOR)


def names_twice(said: Said) -> bool:
    """Whether a sentence names a thing twice."""
    things = [thing for word, _ in said.shown if (thing := thing_of(word)) is not None]
    return len(set(things)) < len(things)


def _weighed(weights: Sequence[float], signals: Sequence[float]) -> float:
    """Log-odds of a logistic regression, whose last weight is the constant."""
    return sum(map(mul, weights, signals)) + weights[-1]


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
    return 1 / (1 + exp(-min(max(x, -60.0), 60.0)))
