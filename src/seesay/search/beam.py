"""Beam search; greedy search is a beam of one."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np

from seesay.search.constraints import Rules, check_limits
from seesay.search.decode import Beams, Strategy, decode, is_real
from seesay.search.hypothesis import Hypothesis
from seesay.search.step import Array, StepModel, to_numpy

# A finished sentence waits for an unfinished one that could rank before it by ending within so many tokens that cost
# nothing: a word and its end (docs/performance.md, "When a search ends").
GRACE_TOKENS = 2


@dataclass(frozen=True)
class BeamOptions(Rules):
    """How to search with beams.

    Attributes:
        beam: K, hypotheses kept for each photo; 1 is greedy search.
        length_penalty: a; hypotheses are ranked by log-probability / length ** a, 0 leaves it as it is.
    """

    beam: int = 3
    length_penalty: float = 0.7

    def __post_init__(self) -> None:
        check_limits(beam=self.beam)
        check_limits(whole=False, length_penalty=self.length_penalty)
        super().__post_init__()


def beam_search(
    model: StepModel, options: BeamOptions | None = None, number: int | None = None
) -> list[list[Hypothesis]]:
    """The best sentences of each photo, best first: by log-probability / length ** `length_penalty`.

    Args:
        model: the decoder, and where it begins.
        options: width, ranking, rules.
        number: sentences that are wanted of each photo. The first one then is settled early: once no unfinished
            sentence could rank before it by ending within GRACE_TOKENS more tokens that cost nothing. What might yet
            win in more tokens than that comes after it (none can, where `length_penalty` is 0). With 1 the photo is
            done then. None: all K, ranked at the end of the search.

    Returns:
        For each photo at least one sentence and at most K, all different; fewer where the rules do not allow as many.

    Raises:
        NotNumbersError: the step gave log-probabilities that are not numbers.
    """
    options = options or BeamOptions()
    return decode(model, Beam(options, number), options)


class Beam(Strategy):
    """Keeps the K likeliest continuations; see `beam_search`."""

    def __init__(self, options: BeamOptions, number: int | None) -> None:
        self.options, self.number = options, number
        self._first: Array | None = None  # (B, 1) the settled sentence, of photos that leave at this step
        self._settled: dict[int, Hypothesis] = {}  # by photo, where the search goes on for the others

    def choose(self, beams: Beams, allowed: Array) -> tuple[Array | None, Array]:
        photos, _, vocab = allowed.shape
        scores = beams.xp.reshape(beams.total[..., None] + allowed, (photos, -1))
        children = topk(beams.xp, scores, self.options.beam)
        if self.options.beam == 1:
            return None, children
        return children // vocab, children % vocab

    def settle(self, beams: Beams) -> None:
        if self.number is None:
            return
        first, settled = self._leaders(beams)
        if self.number == 1:
            self._first = first
            beams.alive = beams.alive & ~settled
            return
        rows = [row for row in np.flatnonzero(to_numpy(settled)) if beams.photos[row] not in self._settled]
        if rows:
            found = beams.hypotheses(np.array(rows), to_numpy(first)[rows])
            self._settled |= {int(beams.photos[row]): best for row, (best,) in zip(rows, found, strict=True)}

    def collect(self, beams: Beams, photos: np.ndarray) -> list[list[Hypothesis]]:
        if self._first is not None:
            return beams.hypotheses(photos, to_numpy(self._first)[photos])
        ranked = self._ranked(beams, photos)
        if self.number is None:
            return ranked
        firsts = [self._settled[photo] for photo in beams.photos[photos].tolist()]
        return [
            [first, *(other for other in others if other.tokens != first.tokens)][: self.number]
            for first, others in zip(firsts, ranked, strict=True)
        ]

    def _leaders(self, beams: Beams) -> tuple[Array, Array]:
        """Each photo's first finished sentence, (B, 1), and whether it is settled as the best one, (B, 1).

        Where it is, and the photo is done, its unfinished sentences count as finished from there on: they rank behind,
        and get no tokens at no cost any more.
        """
        xp, total, alive = beams.xp, beams.total, beams.alive
        tokens = (beams.written != beams.end).sum(axis=-1)
        lengths = tokens + xp.where(alive, GRACE_TOKENS, 1)  # a finished sentence has its end too
        ranks = total / lengths ** float(self.options.length_penalty)
        finished = xp.where(alive, xp.full_like(ranks, -xp.inf), ranks)
        first = finished.argmax(axis=1)[:, None]
        behind = ranks < xp.max(finished, axis=1, keepdims=True)
        return first, (behind | ~alive).all(axis=1)[:, None]

    def _ranked(self, beams: Beams, photos: np.ndarray) -> list[list[Hypothesis]]:
        """All sentences of some photos, best first."""
        real = to_numpy(is_real(beams.total))[photos]
        return [
            sorted(compress(sentences, ones), key=self._rank, reverse=True)
            for sentences, ones in zip(super().collect(beams, photos), real, strict=True)
        ]

    def _rank(self, hypothesis: Hypothesis) -> float:
        return hypothesis.score / len(hypothesis.logprobs) ** self.options.length_penalty


def topk(xp: Any, values: Array, k: int) -> Array:
    """Places of the k largest of each row of (B, N), largest first, of equals the first one first.

    Overwrites what it took. For a few of many it is several times faster than a partition.
    """
    rows = xp.arange(values.shape[0], device=values.device)
    places = xp.zeros((values.shape[0], min(k, values.shape[1])), dtype=xp.int64, device=values.device)
    for rank in range(places.shape[1]):
        if rank:
            values[rows, places[:, rank - 1]] = -xp.inf
        places[:, rank] = values.argmax(axis=1)  # for one photo `xp.argmax`'s way in would cost more than its work
    return places
