"""Beam search over an abstract step: one implementation for torch and numpy; greedy is a beam of one.

The step sees tokens and state as (B, K, ...) and the photos' memory without K, so nothing is copied per beam. Photos
whose sentences are all finished leave the batch. What was written and where the model looked are kept as each step
gave them; the winners' ancestry is followed back when a photo leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np

from seesay.search.step import WORST, Advance, Array, allow, freeze, namespace, to_numpy

# Of one step: parent (B, K), token (B, K), its log-probability (B, K), where parents looked (B, K before the step, P).
Trace = tuple[Array, Array, Array, Array]

SOON = 2  # tokens that an unfinished sentence may still hope for at no cost: a word and its end (docs/performance.md)
# The range of each option: beyond it a search would take hours, or all memory, and find nothing better.
LIMITS = {"beam": (1, 100), "max_words": (1, 1000), "length_penalty": (0, 10), "block_ngrams": (0, 1000)}
STAY = 0.75  # finished photos leave once no more than this share still runs: all copies together are three batches


@dataclass(frozen=True)
class SearchOptions:
    """How to search.

    Attributes:
        beam: K, hypotheses kept for each photo; 1 is greedy search.
        max_words: tokens at most, the end token not counted.
        length_penalty: a; hypotheses are ranked by log-probability / length ** a, 0 leaves it as it is.
        block_ngrams: n > 0 forbids to write any n tokens in a row twice.
        may_repeat: ids of the tokens that a sentence may have twice ("a", "in"), the others it has once at most ("a
            mirror and a mirror" is not written); empty: all of them may.

    Raises:
        ValueError: a value is outside its `LIMITS`, or of another type.
    """

    beam: int = 3
    max_words: int = 40
    length_penalty: float = 0.7
    block_ngrams: int = 0
    may_repeat: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "may_repeat", tuple(self.may_repeat))  # JSON has lists
        for name, (low, high) in LIMITS.items():
            value: Any = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
                raise ValueError(f"{name}={value!r}: expected a number")
            if not low <= value:
                raise ValueError(f"{name}={value}: expected at least {low}")
            if not value <= high:
                raise ValueError(f"{name}={value}: expected at most {high}")
            if name != "length_penalty" and value % 1 != 0:
                raise ValueError(f"{name}={value}: expected a whole number")


@dataclass(frozen=True)
class Hypothesis:
    """One finished sentence of one photo.

    Attributes:
        tokens: ids without start and end.
        logprobs: natural log-probability of each token, then that of the end (at `max_words` it has to be written).
        attention: (tokens, P) float32, where the model looked for each token.
        score: sum of `logprobs`.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    attention: np.ndarray
    score: float


def beam_search(
    step: Advance,
    state: Any,
    memory: Any,
    start: Array,
    end: int,
    forbidden: Sequence[int] = (),
    options: SearchOptions | None = None,
    best_only: bool = False,
) -> list[list[Hypothesis]]:
    """The best sentences of each photo, best first.

    Args:
        step: (tokens (B, K), state, memory) -> (logprobs (B, K, V), state, attention (B, K, P)), for any B and K.
        state: a tuple of arrays (B, 1, ...): before the first word all beams of a photo are one.
        memory: a tuple of arrays (B, ...), what the step needs of each photo.
        start: (B, 1) start tokens; their kind of array (numpy or torch, device) is the search's.
        end: id of the end token.
        forbidden: ids never written (padding, start, unknown).
        options: width, length, ranking.
        best_only: give the first sentence only, and be done with a photo once no unfinished one could rank before it by
            ending within SOON more tokens that cost nothing. What might yet win in more than that is given up (nothing,
            where `length_penalty` is 0).

    Returns:
        For each photo at least one and at most K hypotheses, sorted by their normalised score; fewer than K where
        the vocabulary does not give that many, one of them for `best_only`.

    Raises:
        ValueError: the step gave log-probabilities that are not numbers.
    """
    options = options or SearchOptions()
    xp = namespace(start)
    device = start.device
    total = xp.zeros(start.shape, dtype=xp.float32, device=device)
    alive = xp.ones(start.shape, dtype=xp.bool, device=device)
    rows = xp.arange(start.shape[0], device=device)[:, None]
    token, written = start, start[..., None][..., :0]
    once = None  # (V,) which tokens may be written once only
    trace: list[Trace] = []
    photos, found, all_alive = np.arange(start.shape[0]), {}, True
    for place in range(options.max_words + 1):
        logprobs, state, attention = step(token, state, memory)
        allowed = allow(logprobs, forbidden, end, place == options.max_words)
        if options.block_ngrams:
            _block_repeats(xp, allowed, written, options.block_ngrams)
        if options.may_repeat:
            if once is None:
                once = _all_but(xp, allowed.shape[-1], [*options.may_repeat, end], device)
            _forbid(xp, allowed, written, once[written])
        if not all_alive:
            freeze(xp, allowed, alive, end)
        vocab = allowed.shape[-1]
        children = topk(xp, xp.reshape(total[..., None] + allowed, (allowed.shape[0], -1)), options.beam)
        parent, token = children // vocab, children % vocab
        gained = allowed[rows, parent, token]
        total = total[rows, parent] + gained
        alive = alive[rows, parent] & (token != end) & _is_real(total)
        written = xp.concat([written[rows, parent], token[..., None]], axis=-1)
        trace.append((parent, token, gained, attention))
        all_alive = bool(alive.all())
        if not all_alive:
            first = None
            if best_only:
                first, led = _lead(xp, total, alive, written, end, options.length_penalty)
                alive = alive & ~led
            running = np.any(to_numpy(alive), axis=1)
            stay = np.flatnonzero(running)
            if len(stay) <= STAY * len(running):
                leave = np.flatnonzero(~running)
                if np.isnan(to_numpy(total)[leave]).any():
                    raise ValueError("the model's log-probabilities are not numbers (NaN)")
                if first is None:
                    sentences = _every(trace, leave, total, end, options.length_penalty)
                else:
                    sentences = _follow_back(trace, leave, to_numpy(first)[leave], end)
                found |= zip(photos[leave].tolist(), sentences, strict=True)
                if not len(stay):
                    break
                photos, rows = photos[stay], rows[: len(stay)]
                trace = list(_rows(tuple(trace), stay))
                state, memory = _rows((state, memory), stay)
                total, alive, token, parent, written = _rows((total, alive, token, parent, written), stay)
        if options.beam > 1:
            state = tuple(part[rows, parent] for part in state)
    return [found[photo] for photo in range(start.shape[0])]


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


def _is_real(total: Array) -> Array:
    """False for beams that no allowed word led to: they fill places while fewer than K sentences are possible."""
    return total > WORST / 2


def _lead(xp: Any, total: Array, alive: Array, written: Array, end: int, length_penalty: float) -> tuple[Array, Array]:
    """Each photo's first finished sentence, (B, 1), and whether it stays the first, (B, 1), were others to end SOON.

    Those that are given up then count as finished from there on, and stay behind: they get no token more for nothing.

    Args:
        total, alive: (B, K).
        written: (B, K, T).
    """
    words = (written != end).sum(axis=-1)
    ranks = total / (words + xp.where(alive, SOON, 1)) ** float(length_penalty)  # a finished sentence has its end too
    finished = xp.where(alive, xp.full_like(ranks, -xp.inf), ranks)
    first = finished.argmax(axis=1)[:, None]
    behind = ranks < xp.max(finished, axis=1, keepdims=True)
    return first, (behind | ~alive).all(axis=1)[:, None]


def _block_repeats(xp: Any, allowed: Array, written: Array, n: int) -> None:
    """Forbid every token that would complete an n-gram its beam (B, K, T) has written already; changes `allowed`."""
    windows = written.shape[-1] - n + 1
    if windows < 1:
        return
    latest = written[..., windows:]  # the last n - 1 words: what follows them where they stood before is forbidden
    after = written[..., n - 1 :]
    same = after >= 0
    for i in range(n - 1):
        same = same & (written[..., i : i + windows] == latest[..., i : i + 1])
    _forbid(xp, allowed, after, same)


def _forbid(xp: Any, allowed: Array, words: Array, which: Array) -> None:
    """Of each beam's words (B, K, T), those for which (B, K, T) is True; changes `allowed`."""
    photo, beam, place = xp.nonzero(which)
    if len(photo):
        allowed[photo, beam, words[photo, beam, place]] = WORST


def _all_but(xp: Any, number: int, tokens: list[int], device: Any) -> Array:
    """(number,) True, False for some tokens."""
    mask = xp.ones(number, dtype=xp.bool, device=device)
    mask[tokens] = False
    return mask


def _rows(part: Any, places: np.ndarray) -> Any:
    """Some photos of arrays (B, ...) in nested tuples."""
    return tuple(_rows(each, places) for each in part) if isinstance(part, tuple) else part[places]


def _every(
    trace: Sequence[Trace], photos: np.ndarray, total: Array, end: int, length_penalty: float
) -> list[list[Hypothesis]]:
    """The sentences of some photos, best first."""
    real = to_numpy(_is_real(total))[photos]
    beams = np.broadcast_to(np.arange(real.shape[1]), real.shape)
    return [
        sorted(
            compress(sentences, ones),
            key=lambda hypothesis: -hypothesis.score / len(hypothesis.logprobs) ** length_penalty,
        )
        for sentences, ones in zip(_follow_back(trace, photos, beams, end), real, strict=True)
    ]


def _follow_back(trace: Sequence[Trace], photos: np.ndarray, beams: np.ndarray, end: int) -> list[list[Hypothesis]]:
    """Read some beams (N, n) of N photos from their last token to their first."""
    rows, path = photos[:, None], []
    for parts in reversed(trace):
        parent, token, gained, attention = map(to_numpy, parts)
        words, costs, beams = token[rows, beams], gained[rows, beams], parent[rows, beams]
        path.append((words, costs, attention[rows, beams]))
    tokens, gained, attention = (np.stack(part[::-1], axis=2) for part in zip(*path, strict=True))
    return [
        [_hypothesis(*beam, end) for beam in zip(*photo, strict=True)]
        for photo in zip(tokens, gained, attention, strict=True)
    ]


def _hypothesis(tokens: np.ndarray, gained: np.ndarray, attention: np.ndarray, end: int) -> Hypothesis:
    """A path up to its first end: a finished beam repeats it for nothing."""
    length = int(np.argmax(tokens == end))
    logprobs = tuple(gained[: length + 1].tolist())
    maps = np.array(attention[:length], np.float32)  # a copy: one sentence should not keep those of all photos
    return Hypothesis(tuple(tokens[:length].tolist()), logprobs, maps, sum(logprobs))
