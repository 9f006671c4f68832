"""The learning-rate schedule."""

from __future__ import annotations

import math

from seesay.config import Recipe


def learning_rate(recipe: Recipe, step: int, steps: int, encoder: bool = False) -> float:
    """The learning rate at a step: linear warm-up, then half a cosine to zero.

    The warm-up takes the share `train.warmup` of the steps.

    Args:
        recipe: its `train.lr`, and `encoder.lr` for the encoder, are the peak rates.
        step: the step's number, from 0.
        steps: the number of steps of the whole run.
        encoder: whether the encoder's rate is wanted.
    """
    peak = recipe.encoder.lr if encoder else recipe.train.lr
    warm = max(1, round(recipe.train.warmup * steps))
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
