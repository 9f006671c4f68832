"""Sampling: sentences drawn at random from the model's own probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from seesay.search.constraints import Rules, check_limits
from seesay.search.decode import Beams, Strategy, decode
from seesay.search.hypothesis import Hypothesis
from seesay.search.step import FORBIDDEN, Array, StepModel

# (photos (B,), shape) -> numbers (B, *shape) uniform in [0, 1), of the search's kind of array: noise for these photos.
Random = Callable[[np.ndarray, tuple[int, int]], Array]

COLDEST = 1e-6  # at this temperature the likeliest token is as good as certain; FORBIDDEN / T has to stay a number


@dataclass(frozen=True)
class SampleOptions(Rules):
    """How to draw sentences.

    Attributes:
        n: K, sentences of each photo, drawn independently; some may be equal.
        temperature: T > 0; tokens are drawn from softmax(log p / T). Below 1 likely tokens become likelier still.
        top_p: only the likeliest tokens are drawn, as many as together have this probability (nucleus sampling,
            https://arxiv.org/abs/1904.09751), after the temperature; 1 leaves all.
        seed: of the noise; whoever calls `sample` makes the noise from it.
    """

    n: int = 5
    temperature: float = 0.8
    top_p: float = 0.9
    seed: int = 0

    def __post_init__(self) -> None:
        check_limits(n=self.n, seed=self.seed)
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature={self.temperature}: expected more than 0")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p}: expected more than 0 and at most 1")
        super().__post_init__()


def sample(model: StepModel, options: SampleOptions, random: Random) -> list[list[Hypothesis]]:
    """Draw K sentences for each photo, token by token.

    Log-probabilities of the sentences are the model's own: at temperature 1, over all tokens.

    Args:
        model: the decoder, and where it begins.
        options: how many, from what, and rules.
        random: the noise, one number for each token that may be drawn.

    Returns:
        For each photo K sentences in the order in which they were drawn.

    Raises:
        NotNumbersError: the step gave log-probabilities that are not numbers.
    """
    return decode(model, Sampler(options, random), options)


class Sampler(Strategy):
    """Draws by the Gumbel-max trick, argmax(log p / T - log(-log u)): the same noise gives the same token."""

    def __init__(self, options: SampleOptions, random: Random) -> None:
        self.options, self.random = options, random

    def choose(self, beams: Beams, allowed: Array) -> tuple[Array | None, Array]:
        xp, drawn = beams.xp, self.options.n
        _, sentences, vocab = allowed.shape
        temperature = max(self.options.temperature, COLDEST)
        scores = within_top_p(xp, allowed / temperature, self.options.top_p)
        uniform = xp.clip(self.random(beams.photos, (drawn, vocab)), 1e-20, None)  # a 0 would become infinite
        token = xp.argmax(scores - xp.log(-xp.log(uniform)), axis=-1)
        if sentences == drawn:
            return None, token
        return xp.zeros_like(token), token  # before the first token all sentences of a photo are one


def within_top_p(xp: Any, scores: Array, top_p: float) -> Array:
    """(..., V) scores, FORBIDDEN but for the likeliest tokens, as many as together have the probability `top_p`.

    Tokens as likely as the last of them stay too. The likeliest token always does.
    """
    if top_p == 1:
        return scores
    odds = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    odds = odds / xp.sum(odds, axis=-1, keepdims=True)
    sorted_ = -xp.sort(-odds, axis=-1)
    enough = sorted_.cumsum(-1) - sorted_ < top_p  # those before a token do not suffice, so it belongs to them
    least = xp.min(xp.where(enough, sorted_, xp.ones_like(sorted_)), axis=-1, keepdims=True)
    return xp.where(odds >= least, scores, xp.full_like(scores, FORBIDDEN))
