"""The few regressions that a confidence head is made of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

STEPS = 30  # of Newton's method, which converges in about ten


class LowRank(NamedTuple):
    """A linear map of low rank: inputs @ project @ outputs + base."""

    project: np.ndarray
    outputs: np.ndarray
    base: np.ndarray

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """(N, F) -> (N, G)."""
        return inputs @ self.project @ self.outputs + self.base


def low_rank_ridge(inputs: np.ndarray, targets: np.ndarray, weights: np.ndarray, ridge: float, rank: int) -> LowRank:
    """Ridge regression, reduced to the rank that keeps most of the weighted predictions.

    Args:
        inputs: (N, F) standardised.
        targets: (N, G).
        weights: (G,) how much each target counts.
        ridge: the penalty on the squared coefficients.
        rank: R, at most F and G.
    """
    base = targets.mean(axis=0)
    gram = inputs.T @ inputs + ridge * np.eye(inputs.shape[1], dtype=inputs.dtype)
    full = np.linalg.solve(gram, inputs.T @ ((targets - base) * weights))  # (F, G)
    _, directions = np.linalg.eigh(full.T @ (gram @ full))  # of the predictions' covariance, the largest last
    directions = directions[:, ::-1][:, : min(rank, *full.shape)]
    return LowRank(full @ directions, directions.T / weights, base)


def ridge_regression(inputs: np.ndarray, targets: np.ndarray, weights: np.ndarray, ridge: float) -> LowRank:
    """Ridge regression on (N, C) targets; `weights` (N,) are those of the examples. `project` is (F, C)."""
    total = weights.sum()
    base, centre = weights @ targets / total, weights @ inputs / total
    centred = (inputs - centre) * weights[:, None]
    gram = centred.T @ (inputs - centre) + ridge * np.eye(inputs.shape[1], dtype=inputs.dtype)
    project = np.linalg.solve(gram, centred.T @ (targets - base))
    return LowRank(project, np.eye(targets.shape[1]), base - centre @ project)


def logistic_regression(
    signals: np.ndarray, happened: np.ndarray, weights: np.ndarray | None = None, ridge: float = 10.0
) -> np.ndarray:
    """Weights of the signals and a constant, (S + 1,): the probability is 1 / (1 + exp(-(signals @ w + c))).

    The penalty is on the weights of standardised signals, so that their units do not matter.

    Args:
        signals: (N, S).
        happened: (N,) 0 or 1.
        weights: (N,) of the examples; None: all 1.
        ridge: the penalty.
    """
    mean, scale = signals.mean(axis=0), signals.std(axis=0) + 1e-9
    inputs = np.column_stack([(signals - mean) / scale, np.ones(len(signals))])
    weights = np.ones(len(signals)) if weights is None else weights
    penalty = np.full(inputs.shape[1], ridge)
    penalty[-1] = 1e-6
    found = np.zeros(inputs.shape[1])
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-np.clip(inputs @ found, -30, 30)))
        slope = inputs.T @ (weights * (p - happened)) + penalty * found
        bend = (inputs * (weights * p * (1 - p))[:, None]).T @ inputs + np.diag(penalty)
        found = found - np.linalg.solve(bend, slope)
    return np.append(found[:-1] / scale, found[-1] - found[:-1] @ (mean / scale))
