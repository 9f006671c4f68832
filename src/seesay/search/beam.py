"""Beam search; greedy search is a beam of one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import compress, islice
from typing import Any, NamedTuple

import numpy as np

from seesay.search.constraints import Rules, check_limits
from seesay.search.decode import Beams, Strategy, decode, is_real
from seesay.search.hypothesis import Hypothesis
from seesay.search.step import FORBIDDEN, Array, StepModel, to_numpy

# The best ended sentence is final when no unfinished one could overtake it by ending within this
# many tokens of probability 1: a word and the end token (docs/experiments.md).
GRACE_TOKENS = 2

MOST_ENDED = 5  # ended sentences for each place in the beam; untrained models end anywhere


@dataclass(frozen=True)
class BeamOptions(Rules):
    """Options of beam search.

    Attributes:
        beam: K, the number of hypotheses kept for each photo; 1 is greedy search.
        length_penalty: a; sentences are ranked by log-probability / length ** a; 0: by
            log-probability alone.
    """

    beam: int = 3
    length_penalty: float = 0.7

    def __post_init__(self) -> None:
        check_limits(beam=self.beam)
        check_limits(whole=False, length_penalty=self.length_penalty)
        super().__post_init__()


def beam_search(
    model: StepModel, options: BeamOptions | None = None, keep_ended: bool = False
) -> list[list[Hypothesis]]:
    """Search for the best sentences of each photo, ranked as `BeamOptions.length_penalty` says.

    Args:
        model: the decoder.
        options: beam width, ranking, rules.
        keep_ended: whether sentences that have ended keep their places in the beam (`FixedBeam`) or
            leave them to others (`RefilledBeam`). Greedy search is the same in both.

    Returns:
        Different sentences of each photo, best first: with `keep_ended` K of them, without it up to
        MOST_ENDED K. Fewer, or none, if the rules allow no more.

    Raises:
        NotNumbersError: the decoder returned log-probabilities that are NaN or +infinite.
    """
    options = options or BeamOptions()
    strategy = FixedBeam if keep_ended or options.beam == 1 else RefilledBeam
    return decode(model, strategy(options), options)


class FixedBeam(Strategy):
    """Keeps the K likeliest sentences at each step, ended or not, until all of them have ended.

    Training draws its sentences in this way.
    """

    def __init__(self, options: BeamOptions) -> None:
        self.options = options

    def choose(self, beams: Beams, allowed: Array) -> tuple[Array | None, Array]:
        vocab = allowed.shape[-1]
        scores = beams.xp.reshape(beams.total[..., None] + allowed, (len(allowed), -1))
        children = topk(beams.xp, scores, self.options.beam)
        if self.options.beam == 1:
            return None, children
        return children // vocab, children % vocab

    def collect(self, beams: Beams, photos: np.ndarray) -> list[list[Hypothesis]]:
        real = to_numpy(is_real(beams.total))[photos]
        found = super().collect(beams, photos)
        return [ranked(compress(sentences, ones), self.options) for sentences, ones in zip(found, real, strict=True)]


class RefilledBeam(Strategy):
    """Keeps the K likeliest unfinished sentences at each step; those that end are set aside.

    A sentence may end if it is then at least as likely as the least likely of the K that go on. The
    search for a photo is over, and its unfinished sentences are given up, as soon as none of them
    could overtake its best ended one by ending within GRACE_TOKENS tokens of probability 1. For
    example, with length_penalty 1, an ended sentence of log-probability -6 and 6 tokens (the end
    counted) has rank -1. An unfinished one of -5.5 and 3 tokens could reach -5.5 / 5 = -1.1 at best,
    so it cannot overtake. (With a `length_penalty` above 0, a longer one could still have done so.)

    By then more than K sentences have ended, mostly. A `FixedBeam` finds K at most, and those that
    have ended leave less room for the others (docs/experiments.md).
    """

    def __init__(self, options: BeamOptions) -> None:
        self.options = options
        self._ended: dict[int, list[Ended]] = {}  # of each photo

    def choose(self, beams: Beams, allowed: Array) -> tuple[Array | None, Array]:
        xp, vocab = beams.xp, allowed.shape[-1]
        scores = beams.total[..., None] + allowed
        scores[..., beams.end] = FORBIDDEN
        scores = xp.reshape(scores, (len(allowed), -1))
        children = topk(xp, scores, self.options.beam)
        end = allowed[..., beams.end]
        ended = beams.total + end
        least = scores[beams.rows, children[:, -1:]]  # `topk` has overwritten the others
        may_end = beams.alive & is_real(ended) & (ended >= least)
        if may_end.any():
            self._set_aside(beams, *map(to_numpy, (may_end, ended, end)))
        return children // vocab, children % vocab

    def _set_aside(self, beams: Beams, may_end: np.ndarray, total: np.ndarray, end: np.ndarray) -> None:
        tokens = beams.written.shape[-1]
        for row, place in zip(*map(np.ndarray.tolist, may_end.nonzero()), strict=True):
            photo = int(beams.photos[row])
            rank = rank_of(float(total[row, place]), tokens + 1, self.options)
            self._ended.setdefault(photo, []).append(Ended(place, tokens, float(end[row, place]), rank))

    def settle(self, beams: Beams) -> None:
        if self._ended:
            likeliest = to_numpy(beams.total)[:, 0].astype(float)
            reachable = rank_of(likeliest, beams.written.shape[-1] + GRACE_TOKENS, self.options)
            ranks = ([one.rank for one in self._ended.get(photo, ())] for photo in beams.photos.tolist())
            beams.give_up(reachable < np.array([max(several, default=-np.inf) for several in ranks]))

    def collect(self, beams: Beams, photos: np.ndarray) -> list[list[Hypothesis]]:
        most = MOST_ENDED * self.options.beam  # only the best are traced back
        ended = [
            sorted(self._ended.pop(photo, []), key=lambda one: -one.rank)[:most]
            for photo in beams.photos[photos].tolist()
        ]
        rows = np.repeat(photos, [len(several) for several in ended])
        every = np.array([one for several in ended for one in several], dtype=float).reshape(-1, 4)
        places, tokens = every[:, :2].astype(np.int64).T
        sentences = iter(beams.hypotheses(rows, places, tokens, every[:, 2]))
        return [ranked(islice(sentences, len(several)), self.options) for several in ended]


class Ended(NamedTuple):
    """A sentence that has ended.

    Attributes:
        place: in the beam, of its last token.
        tokens: their number, without the end.
        end: log-probability of the end.
        rank: as `rank_of` gives it.
    """

    place: int
    tokens: int
    end: float
    rank: float


def ranked(sentences: Iterable[Hypothesis], options: BeamOptions) -> list[Hypothesis]:
    """Sentences, best first."""
    return sorted(sentences, key=lambda one: rank_of(one.score, len(one.logprobs), options), reverse=True)


def rank_of(logprob: Any, tokens: int, options: BeamOptions) -> Any:
    """Rank of a sentence, or of an array of them; the end counts as a token."""
    return logprob / tokens**options.length_penalty


def topk(xp: Any, values: Array, k: int) -> Array:
    """Indices of the k largest values of each row of (B, N), largest first, equal values in order.

    Overwrites the values that it selects. For small k this is several times faster than a
    partition.
    """
    rows = xp.arange(values.shape[0], device=values.device)
    indices = xp.zeros((values.shape[0], min(k, values.shape[1])), dtype=xp.int64, device=values.device)
    for rank in range(indices.shape[1]):
        if rank:
            values[rows, indices[:, rank - 1]] = -xp.inf
        indices[:, rank] = values.argmax(axis=1)  # the method: `xp.argmax` is slower
    return indices
