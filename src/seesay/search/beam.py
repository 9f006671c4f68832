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

# The best finished sentence is final when no unfinished one could overtake it by ending within this
# many tokens of probability 1: a word and the end token (docs/performance.md, "When a search ends").
GRACE_TOKENS = 2


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
    model: StepModel, options: BeamOptions | None = None, finish_all: bool = False
) -> list[list[Hypothesis]]:
    """Search for the best sentences of each photo, ranked as `BeamOptions.length_penalty` says.

    Args:
        model: the decoder.
        options: beam width, ranking, rules.
        finish_all: search until all K sentences of a photo have ended. False: the search for a photo
            ends, and unfinished sentences are given up, as soon as none of them could overtake the
            best finished one by ending within GRACE_TOKENS tokens of probability 1. (With a
            `length_penalty` above 0, a longer sentence could still have overtaken it.)

    Returns:
        1 to K different sentences of each photo, best first. There are fewer than K if the rules
        allow no more, or if some were given up.

    Raises:
        NotNumbersError: the decoder returned log-probabilities that are NaN.
    """
    options = options or BeamOptions()
    return decode(model, Beam(options, finish_all), options)


class Beam(Strategy):
    """Keeps the K likeliest sentences at each step; see `beam_search`."""

    def __init__(self, options: BeamOptions, finish_all: bool) -> None:
        self.options, self.finish_all = options, finish_all

    def choose(self, beams: Beams, allowed: Array) -> tuple[Array | None, Array]:
        photos, _, vocab = allowed.shape
        scores = beams.xp.reshape(beams.total[..., None] + allowed, (photos, -1))
        children = topk(beams.xp, scores, self.options.beam)
        if self.options.beam == 1:
            return None, children
        return children // vocab, children % vocab

    def settle(self, beams: Beams) -> None:
        if not self.finish_all:
            beams.give_up(beams.alive & self._is_best_final(beams))

    def collect(self, beams: Beams, photos: np.ndarray) -> list[list[Hypothesis]]:
        real = to_numpy(is_real(beams.total))[photos]
        return [
            sorted(compress(sentences, ones), key=self._rank, reverse=True)
            for sentences, ones in zip(super().collect(beams, photos), real, strict=True)
        ]

    def _is_best_final(self, beams: Beams) -> Array:
        """(B, 1) whether no unfinished sentence of a photo can overtake its best finished one.

        An unfinished sentence is ranked as if it ended after GRACE_TOKENS more tokens of
        probability 1. For example, with length_penalty 1, a finished sentence of log-probability -6
        and 6 tokens (the end counted) has rank -1. An unfinished one of -5.5 and 3 tokens could
        reach -5.5 / 5 = -1.1 at best, so it cannot overtake.
        """
        xp, total, alive = beams.xp, beams.total, beams.alive
        tokens = (beams.written != beams.end).sum(axis=-1)
        lengths = tokens + xp.where(alive, GRACE_TOKENS, 1)  # 1: the end token of a finished sentence
        ranks = total / lengths ** float(self.options.length_penalty)
        finished = xp.where(alive, xp.full_like(ranks, -xp.inf), ranks)
        behind = ranks < xp.max(finished, axis=1, keepdims=True)
        return (behind | ~alive).all(axis=1)[:, None]

    def _rank(self, hypothesis: Hypothesis) -> float:
        return hypothesis.score / len(hypothesis.logprobs) ** self.options.length_penalty


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
