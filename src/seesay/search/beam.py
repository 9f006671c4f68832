"""Beam search over an abstract step: one implementation for torch and numpy; greedy is a beam of one.

The step sees tokens and state as (B, K, ...) and never the photo, so nothing is copied per beam. What was written and
where the model looked are kept as each step gave them; the winners' ancestry is followed back at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np

Array = Any  # a numpy array or a torch tensor
Advance = Callable[[Array, Any], tuple[Array, Any, Array]]

WORST = -1e30  # what a forbidden word costs; finite, so that sums of it stay numbers
IMPOSSIBLE = -1e4  # the least log-probability that a model can give: far from likely, and far from forbidden


@dataclass(frozen=True)
class SearchOptions:
    """How to search.

    Attributes:
        beam: K, hypotheses kept for each photo; 1 is greedy search.
        max_words: tokens at most, the end token not counted.
        length_penalty: a; hypotheses are ranked by log-probability / length ** a, 0 leaves it as it is.
        block_ngrams: n > 0 forbids to write any n tokens in a row twice.
    """

    beam: int = 3
    max_words: int = 40
    length_penalty: float = 0.7
    block_ngrams: int = 0

    def __post_init__(self) -> None:
        for name, low in (("beam", 1), ("max_words", 1), ("length_penalty", 0), ("block_ngrams", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least {low}")


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
    start: Array,
    end: int,
    forbidden: Sequence[int] = (),
    options: SearchOptions | None = None,
) -> list[list[Hypothesis]]:
    """The best sentences of each photo, best first.

    Args:
        step: (tokens (B, K), state) -> (logprobs (B, K, V), state, attention (B, K, P)).
        state: a tuple of arrays (B, K, ...), equal for all beams of a photo.
        start: (B, K) start tokens, K = `options.beam`; their kind of array (numpy or torch, device) is the search's.
        end: id of the end token.
        forbidden: ids never written (padding, start, unknown).
        options: width, length, ranking.

    Returns:
        For each photo at least one and at most K hypotheses, sorted by their normalised score; fewer than K where
        the vocabulary does not give that many.
    """
    options = options or SearchOptions()
    xp = array_api_compat.array_namespace(start)
    batch, beams = start.shape
    device = array_api_compat.device(start)
    # All beams start equal, so only the first may have children at the first step.
    total = xp.where(xp.arange(beams, device=device) == 0, 0.0, WORST) + xp.zeros((batch, beams), device=device)
    total = xp.astype(total, xp.float32)
    alive = xp.ones((batch, beams), dtype=xp.bool, device=device)
    tokens = start
    trace: list[tuple[Array, Array, Array, Array]] = []  # per step: parent, token, log-probability, attention
    histories = [[[] for _ in range(beams)] for _ in range(batch)]
    for place in range(options.max_words + 1):
        logprobs, state, attention = step(tokens, state)
        allowed = allow(xp, logprobs, forbidden, end, place == options.max_words)
        if options.block_ngrams:
            allowed = _block_repeats(xp, allowed, histories, options.block_ngrams)
        allowed = freeze(xp, allowed, alive, end)
        vocab = allowed.shape[-1]
        total, flat = topk(xp, xp.reshape(total[..., None] + allowed, (batch, beams * vocab)), beams)
        parent, tokens = flat // vocab, flat % vocab
        gained = xp.reshape(gather(xp, xp.reshape(allowed, (batch, beams * vocab)), flat), (batch, beams))
        trace.append((parent, tokens, gained, attention))
        alive = gather(xp, alive, parent) & (tokens != end) & _is_real(total)
        if not bool(xp.any(alive)):
            break
        state = tuple(gather(xp, part, parent) for part in state)
        if options.block_ngrams:
            histories = _extend(histories, to_numpy(parent), to_numpy(tokens))
    real = to_numpy(_is_real(total))
    return _follow_back([tuple(map(to_numpy, parts)) for parts in trace], real, end, options.length_penalty)


def topk(xp: Any, values: Array, k: int) -> tuple[Array, Array]:
    """The k largest of the last axis, largest first, and their places (the array API has none)."""
    if array_api_compat.is_torch_array(values):
        found = values.topk(k, dim=-1)
        return found.values, found.indices
    places = xp.argpartition(values, -k, axis=-1)[..., -k:]
    order = xp.argsort(-xp.take_along_axis(values, places, axis=-1), axis=-1)
    places = xp.take_along_axis(places, order, axis=-1)
    return xp.take_along_axis(values, places, axis=-1), places


def gather(xp: Any, values: Array, places: Array) -> Array:
    """values (B, K, ...) at places (B, J) of axis 1 -> (B, J, ...)."""
    rows = xp.arange(values.shape[0], device=array_api_compat.device(values))
    return values[rows[:, None], places]


def to_numpy(array: Array) -> np.ndarray:
    """A host copy of any array."""
    return array.detach().cpu().numpy() if array_api_compat.is_torch_array(array) else np.asarray(array)


def _is_real(total: Array) -> Array:
    """False for beams that no allowed word led to: they fill places while fewer than K sentences are possible."""
    return total > WORST / 2


def allow(xp: Any, logprobs: Array, forbidden: Iterable[int], end: int, last: bool) -> Array:
    """Forbidden words cost the world, what the model thinks impossible less; at the last place only the end is left."""
    logprobs = xp.where(logprobs < IMPOSSIBLE, IMPOSSIBLE, logprobs)
    ids = xp.arange(logprobs.shape[-1], device=array_api_compat.device(logprobs))
    banned = ids != end if last else ids < 0
    for token in forbidden:
        banned = banned | (ids == token)
    return xp.where(banned, WORST, logprobs)


def freeze(xp: Any, logprobs: Array, alive: Array, end: int) -> Array:
    """A finished beam has one child, itself, at no cost."""
    ids = xp.arange(logprobs.shape[-1], device=array_api_compat.device(logprobs))
    itself = xp.astype(xp.where(ids == end, 0.0, WORST), logprobs.dtype)
    return xp.where(alive[..., None], logprobs, itself)


def _block_repeats(xp: Any, logprobs: Array, histories: list[list[list[int]]], n: int) -> Array:
    """Forbid every token that would complete an n-gram its beam has written already."""
    banned = np.zeros(logprobs.shape, dtype=bool)
    for b, beams in enumerate(histories):
        for k, words in enumerate(beams):
            prefix = words[len(words) - n + 1 :] if n > 1 else []
            for i in range(len(words) - n + 1):
                if words[i : i + n - 1] == prefix:
                    banned[b, k, words[i + n - 1]] = True
    return xp.where(xp.asarray(banned, device=array_api_compat.device(logprobs)), WORST, logprobs)


def _extend(histories: list[list[list[int]]], parent: np.ndarray, tokens: np.ndarray) -> list[list[list[int]]]:
    return [
        [[*histories[b][parent[b, k]], int(tokens[b, k])] for k in range(parent.shape[1])]
        for b in range(parent.shape[0])
    ]


def _follow_back(
    trace: list[tuple[np.ndarray, ...]], real: np.ndarray, end: int, length_penalty: float
) -> list[list[Hypothesis]]:
    """Read each surviving beam from its last token to its first."""
    return [
        sorted(
            (_hypothesis(trace, b, int(k), end) for k in np.flatnonzero(beams)),
            key=lambda hypothesis: -hypothesis.score / len(hypothesis.logprobs) ** length_penalty,
        )
        for b, beams in enumerate(real)
    ]


def _hypothesis(trace: list[tuple[np.ndarray, ...]], b: int, k: int, end: int) -> Hypothesis:
    tokens: list[int] = []
    logprobs: list[float] = []
    maps: list[np.ndarray] = []
    for parent, token, gained, attention in reversed(trace):
        parent_beam, word = int(parent[b, k]), int(token[b, k])
        if word == end:
            # a finished beam repeats its end for nothing; the first one, met last, has the cost
            logprobs = [float(gained[b, k])]
        else:
            tokens.append(word)
            logprobs.append(float(gained[b, k]))
            maps.append(attention[b, parent_beam])
        k = parent_beam
    regions = trace[0][3].shape[-1]
    attention = np.stack(maps[::-1]).astype(np.float32) if maps else np.zeros((0, regions), np.float32)
    return Hypothesis(tuple(tokens[::-1]), tuple(logprobs[::-1]), attention, sum(logprobs[::-1]))
