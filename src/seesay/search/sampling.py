"""Sentences drawn at random from a step's own probabilities, for torch and numpy alike; see `step.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from seesay.search.step import Advance, Array, allow, freeze, namespace


class Samples(NamedTuple):
    """K sentences of each of B photos, drawn independently.

    Attributes:
        tokens: (B, K, L) ids without the start; after its end token a sentence is filled up with end tokens.
        logprobs: (B, K, L) natural log-probability of each token in the distribution that it was drawn from; 0 where
            there was no choice: an end at the last place, and all that follows an end.
        lengths: (B, K) tokens of each sentence, its end token counted: 1 to L.
    """

    tokens: Array
    logprobs: Array
    lengths: Array


def sample(
    step: Advance,
    state: Any,
    memory: Any,
    start: Array,
    end: int,
    random: Callable[[tuple[int, ...]], Array],
    forbidden: Sequence[int] = (),
    max_words: int = 40,
    temperature: float = 1.0,
) -> Samples:
    """Draw K sentences for each photo, word by word.

    A word is drawn by the Gumbel-max trick, argmax(log p - log(-log u)), from softmax(log p / temperature) over the
    words that may be written: forbidden ones have no share in it, and at the last place only the end is left.

    Args:
        step: (tokens (B, K), state, memory) -> (logprobs (B, K, V), state, attention (B, K, P)).
        state: a tuple of arrays (B, K, ...), equal for all samples of a photo.
        memory: a tuple of arrays (B, ...), what the step needs of each photo.
        start: (B, K) start tokens; their kind of array (numpy or torch, device) is the search's.
        end: id of the end token.
        random: shape -> numbers u, uniform in [0, 1), of the search's kind (`numpy.random.Generator.random`, say).
        forbidden: ids never written (padding, start, unknown).
        max_words: tokens at most, the end token not counted.
        temperature: above 0; below 1 the likely words become likelier still.
    """
    if not temperature > 0 or max_words < 1:
        raise ValueError(f"temperature={temperature}, max_words={max_words}: expected more than 0 and at least 1")
    xp = namespace(start)
    alive = xp.ones(start.shape, dtype=xp.bool, device=start.device)
    lengths = xp.zeros_like(start)
    rows, columns = (xp.arange(n, device=start.device) for n in start.shape)
    rows = rows[:, None]
    tokens, written, gains = start, [], []
    for place in range(max_words + 1):
        logprobs, state, _ = step(tokens, state, memory)
        allowed = allow(logprobs / temperature, forbidden, end, place == max_words)
        freeze(xp, allowed, alive, end)
        allowed = _log_softmax(xp, allowed)
        tokens = xp.argmax(allowed + _gumbel(xp, random(allowed.shape)), axis=-1)
        gains.append(allowed[rows, columns, tokens])
        written.append(tokens)
        lengths = lengths + xp.astype(alive, lengths.dtype)
        alive = alive & (tokens != end)
        if not bool(xp.any(alive)):
            break
    return Samples(xp.stack(written, axis=-1), xp.stack(gains, axis=-1), lengths)


def _gumbel(xp: Any, uniform: Array) -> Array:
    """Standard Gumbel noise; the clip keeps a 0 from becoming infinite."""
    return -xp.log(-xp.log(xp.clip(uniform, 1e-20, None)))


def _log_softmax(xp: Any, values: Array) -> Array:
    values = values - xp.max(values, axis=-1, keepdims=True)
    return values - xp.log(xp.sum(xp.exp(values), axis=-1, keepdims=True))
