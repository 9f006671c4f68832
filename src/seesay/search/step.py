"""What beam search and sampling share: the step that both see, and which words it may be followed by."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import array_api_compat
import numpy as np

Array = Any  # a numpy array or a torch tensor
Advance = Callable[[Array, Any, Any], tuple[Array, Any, Array]]

WORST = -1e30  # what a forbidden word costs; finite, so that sums of it stay numbers
IMPOSSIBLE = -1e4  # the least log-probability that a model can give: far from likely, and far from forbidden


def allow(logprobs: Array, forbidden: Iterable[int], end: int, last: bool) -> Array:
    """A copy in which forbidden words cost the world, what the model thinks impossible less; at the last place only
    the end is left."""
    # numpy's clip has a slow way in, which a beam of one photo would feel
    allowed = np.maximum(logprobs, IMPOSSIBLE) if isinstance(logprobs, np.ndarray) else logprobs.clip(IMPOSSIBLE)
    if last:
        allowed[..., :end] = WORST
        allowed[..., end + 1 :] = WORST
    for token in forbidden:
        allowed[..., token] = WORST
    return allowed


def freeze(xp: Any, allowed: Array, alive: Array, end: int) -> None:
    """Leave a finished sentence one child, itself, at no cost; changes what `allow` gave."""
    costs = allowed[..., end]
    costs = xp.where(alive, costs, xp.zeros_like(costs))
    allowed[~alive] = WORST
    allowed[..., end] = costs


def namespace(array: Array) -> Any:
    """Of the array's own functions, as the array API names them; numpy needs nothing for that since its version 2."""
    return np if isinstance(array, np.ndarray) else array_api_compat.array_namespace(array)


def to_numpy(array: Array) -> np.ndarray:
    """A host copy of any array."""
    return array if isinstance(array, np.ndarray) else array.detach().cpu().numpy()
