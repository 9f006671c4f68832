"""What every search is made of: a decoder's step, and helpers that numpy and torch share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import array_api_compat
import numpy as np

Array = Any  # a numpy array or a torch tensor
Step = Callable[[Array, Any, Any], tuple[Array, Any, Array]]

FORBIDDEN = -1e30  # log-probability of a token that must not be written; finite, so that sums of it stay numbers
UNLIKELIEST = -1e4  # log-probabilities below are raised to it, so that an allowed token never looks forbidden


class NotNumbersError(ValueError):
    """A decoder's step gave log-probabilities that are not numbers."""


class StepModel(NamedTuple):
    """A decoder as a search sees it: one step, and where a sentence begins.

    Attributes:
        step: (tokens (B, K), state, memory) -> (logprobs (B, K, V), state, attention (B, K, P)), for any B and K.
        state: a tuple of arrays (B, 1, ...): before the first word all sentences of a photo are one.
        memory: a tuple of arrays (B, ...), or of such tuples: what the step needs of each photo.
        start: (B, 1) start tokens; their kind of array (numpy or torch, device) is the search's.
        end: id of the end token.
        never: ids that no search writes (padding, start, unknown).
    """

    step: Step
    state: Any
    memory: Any
    start: Array
    end: int
    never: Sequence[int] = ()


def clipped(logprobs: Array) -> Array:
    """A copy without values below UNLIKELIEST."""
    # numpy's clip is slow to start, which a beam of one photo would feel
    return np.maximum(logprobs, UNLIKELIEST) if isinstance(logprobs, np.ndarray) else logprobs.clip(UNLIKELIEST)


def namespace(array: Array) -> Any:
    """The array API's functions for this kind of array; numpy itself has them since its version 2."""
    return np if isinstance(array, np.ndarray) else array_api_compat.array_namespace(array)


def to_numpy(array: Array) -> np.ndarray:
    """A host copy of any array; numpy's own is not copied."""
    return array if isinstance(array, np.ndarray) else array.detach().cpu().numpy()
