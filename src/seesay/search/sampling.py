"""Sampling: sentences drawn at random from the model's distribution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from seesay.search.constraints import Rules, check_limits
from seesay.search.decode import Beams, Strategy, decode
from seesay.search.hypothesis import Hypothesis
from seesay.search.step import FORBIDDEN, Array, StepModel

# (photos (B,), shape) -> noise for these photos: (B, *shape) uniform numbers in [0, 1), as an array
# of the model's kind.
Random = Callable[[np.ndarray, tuple[int, int]], Array]

MIN_TEMPERATURE = 1e-6  # close to greedy; with a smaller one FORBIDDEN / T would overflow


@dataclass(frozen=True)
class SampleOptions(Rules):
    """Options of sampling.

    Attributes:
        n: K, sentences for each photo, drawn independently; some may be equal.
        temperature: T > 0; tokens are drawn from softmax(log p / T). Below 1 it sharpens the
            distribution.
        top_p: after the temperature, only the likeliest tokens that together have this probability
            are drawn (nucleus sampling, https://arxiv.org/abs/1904.09751); 1 allows all.
        seed: the seed of the noise, which the caller of `sample` makes.
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

    The log-probabilities of the sentences are the model's own: at temperature 1 and over all
    tokens.

    Args:
        model: the decoder.
        options: how many, temperature, top_p, and rules.
        random: the noise, one number for each token of the vocabulary.

    Returns:
        K sentences for each photo, in the order in which they were drawn.

    Raises:
        NotNumbersError: the step gave log-probabilities that are NaN or +infinite.
    """
    return decode(model, Sampler(options, random), options)


class Sampler(Strategy):
    """Draws by the Gumbel-max trick, argmax(log p / T - log(-log u)).

    The same noise gives the same token.
    """

    def __init__(self, options: SampleOptions, random: Random) -> None:
        self.options, self.random = options, random

    def choose(self, beams: Beams, allowed: Array) -> tuple[Array | None, Array]:
        xp, number = beams.xp, self.options.n
        _, sentences, vocab = allowed.shape
        temperature = max(self.options.temperature, MIN_TEMPERATURE)
        scores = within_top_p(xp, allowed / temperature, self.options.top_p)
        # log 0 is infinite
        uniform = xp.clip(self.random(beams.photos, (number, vocab)), 1e-20, None)
        token = xp.argmax(scores - xp.log(-xp.log(uniform)), axis=-1)
        if sentences == number:
            return None, token
        return xp.zeros_like(token), token  # first token: all continue the single empty sentence


def within_top_p(xp: Any, scores: Array, top_p: float) -> Array:
    """Nucleus sampling: scores (..., V) in which unlikely tokens are FORBIDDEN.

    The likeliest tokens are kept, as few as have the probability `top_p` together, and others that
    are exactly as likely as the last of them.
    """
    if top_p == 1:
        return scores
    probabilities = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    probabilities = probabilities / xp.sum(probabilities, axis=-1, keepdims=True)
    falling = -xp.sort(-probabilities, axis=-1)
    # the sum over the likelier tokens is still below top_p
    kept = falling.cumsum(-1) - falling < top_p
    least = xp.min(xp.where(kept, falling, xp.ones_like(falling)), axis=-1, keepdims=True)
    return xp.where(probabilities >= least, scores, xp.full_like(scores, FORBIDDEN))
