"""The decoder as a search sees it, and helpers that work on numpy and torch arrays alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import array_api_compat
import numpy as np

Array = Any  # a numpy array or a torch tensor
Step = Callable[[Array, Any, Any], tuple[Array, Any, Array]]

FORBIDDEN = -1e30  # log-probability of a forbidden token; finite, so that sums of it are not NaN
# lower bound of all other log-probabilities, so that none is confused with FORBIDDEN
UNLIKELIEST = -1e4


class NotNumbersError(ValueError):
    """A decoder's step gave log-probabilities that are NaN or +infinite."""

    def __init__(self) -> None:
        super().__init__("the model's log-probabilities are not numbers (NaN or infinite)")


class StepModel(NamedTuple):
    """A decoder as a search sees it: a step, and the state before the first word.

    Attributes:
        step: (tokens (B, K), state, memory) -> (logprobs (B, K, V), state, attention (B, K, P)),
            for any B and K. The search overwrites the log-probabilities.
        state: before the first word, a tuple of arrays (B, 1, ...), since all sentences of a photo
            begin alike.
        memory: a tuple of arrays (B, ...), or of such tuples: what the step needs of each photo.
        start: (B, 1) start tokens; the search computes on their kind of array (numpy, or torch on
            their device).
        end: id of the end token.
        never: ids that no search writes (padding, start, unknown).
    """

    step: Step
    state: Any
    memory: Any
    start: Array
    end: int
    never: Sequence[int] = ()


def clip(logprobs: Array) -> None:
    """Clip from below at UNLIKELIEST, in place.

    Raises:
        NotNumbersError: some are NaN or +infinite.
    """
    lowest, highest = float(logprobs.min()), float(logprobs.max())
    if not highest < np.inf or np.isnan(lowest):
        raise NotNumbersError
    if lowest < UNLIKELIEST:  # rarely, and looking costs less than clipping
        logprobs[logprobs < UNLIKELIEST] = UNLIKELIEST


def namespace(array: Array) -> Any:
    """The array API namespace of an array; numpy itself is one since version 2."""
    return np if isinstance(array, np.ndarray) else array_api_compat.array_namespace(array)


def to_numpy(array: Array) -> np.ndarray:
    """Any array as a numpy array; numpy arrays are not copied."""
    return array if isinstance(array, np.ndarray) else array.detach().cpu().numpy()
