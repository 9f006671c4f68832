"""Time the two hand-written kernels and plain PyTorch: `python scripts/time_kernels.py`.

The kernels are additive scores without tanh and a loss that stores no logits. Prints the median of
25 turns of forward and backward, at the sizes of a training step of the LSTM on two threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from seesay.models.kernels.additive import additive_scores
from seesay.models.kernels.linear_cross_entropy import linear_cross_entropy

TURNS = 25


def leaf(*shape: int) -> Tensor:
    """A random tensor with a gradient."""
    return torch.randn(shape, requires_grad=True)


def seconds(make: Callable[[], Tensor], inputs: tuple[Tensor, ...], gradient: Tensor | None) -> float:
    """Forward and backward of one call."""
    start = time.perf_counter()
    torch.autograd.grad(make(), inputs, gradient)
    return time.perf_counter() - start


def main() -> None:
    """Measure the four in turns."""
    torch.set_num_threads(2)
    query, keys, weight = leaf(50, 5, 192), leaf(50, 64, 192), leaf(1, 192)
    hidden, matrix, bias = leaf(2900, 300), leaf(3000, 300), leaf(3000)
    targets = torch.randint(0, 3000, (2900,))
    ones = torch.randn(50, 5, 1, 64)
    regions, head = (query, keys, weight), (hidden, matrix, bias)

    def scores_with_tanh() -> Tensor:
        return linear((keys[:, None] + query[:, :, None]).tanh_(), weight).transpose(-1, -2)

    def plain_loss() -> Tensor:
        return cross_entropy(linear(hidden, matrix, bias), targets, label_smoothing=0.1)

    cases = {
        "scores with tanh": (scores_with_tanh, regions, ones),
        "scores": (lambda: additive_scores(query, keys, weight), regions, ones),
        "loss of torch": (plain_loss, head, None),
        "loss": (lambda: linear_cross_entropy(hidden, matrix, bias, targets, 0.1), head, None),
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(TURNS):
        for name, case in cases.items():
            times[name].append(seconds(*case))
    for name, taken in times.items():
        print(f"{name}: {1000 * sorted(taken)[TURNS // 2]:.1f} ms")


if __name__ == "__main__":
    main()
