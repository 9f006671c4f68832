"""The loss of words from what they are written from, for training on a processor: scores are never kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

CHUNK = 3 << 19  # scores worked on at once: 6 MiB


def linear_cross_entropy(
    hidden: Tensor,
    matrix: Tensor,
    bias: Tensor,
    targets: Tensor,
    label_smoothing: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """The mean cross-entropy of `hidden @ matrix.T + bias` with the targets, as torch's `cross_entropy` has it.

    On a CPU the scores of some words at a time become their gradient, (softmax - target) / N, where they are, and at
    once the gradients of what they were made from, while they are in the processor's cache; all of them, N V numbers,
    would be written and read half a dozen times. (torch's own function of this name does it without smoothing only.)
    Differentiable once. On other devices, in half precision and without gradient it is torch's two steps, in float32
    at least.

    Args:
        hidden: (N, M).
        matrix: (V, M).
        bias: (V,).
        targets: (N,) ids.
        label_smoothing: share of the probability spread over all words.
        weights: (N,) what each of the N counts; the mean is still over N. None: all the same.

    Returns:
        A scalar; not a number where N is 0, and then without a gradient.
    """
    mixed = torch.is_autocast_enabled(hidden.device.type) or hidden.dtype not in (torch.float32, torch.float64)
    if hidden.device.type != "cpu" or mixed or not (torch.is_grad_enabled() and hidden.requires_grad):
        logits = nn.functional.linear(hidden, matrix, bias)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        if weights is None:
            return nn.functional.cross_entropy(logits, targets, label_smoothing=label_smoothing)
        each = nn.functional.cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction="none")
        return (weights * each).mean()
    weights = torch.ones_like(targets, dtype=hidden.dtype) if weights is None else weights.to(hidden.dtype)
    return _LinearCrossEntropy.apply(hidden, matrix, bias, targets, label_smoothing, weights)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, matrix: Tensor, bias: Tensor, targets: Tensor, smoothing: float, weights: Tensor
    ) -> Tensor:
        (words, vocab), loss = (len(hidden), len(matrix)), hidden.new_zeros(())
        of_hidden, of_bias = torch.empty_like(hidden), torch.zeros_like(bias)
        of_matrix = torch.zeros_like(matrix) if ctx.needs_input_grad[1] else None
        number = max(1, min(words, CHUNK // vocab))
        room = hidden.new_empty(number, vocab)
        for first in range(0, words, number):
            part = slice(first, first + number)
            read, asked, weight = hidden[part], targets[part].unsqueeze(1), weights[part].unsqueeze(1)
            scores = torch.addmm(bias, read, matrix.t(), out=room[: len(read)])
            scores.sub_(scores.amax(dim=1, keepdim=True))
            loss -= (1 - smoothing) * (weight * scores.gather(1, asked)).sum()
            if smoothing:
                loss -= smoothing / vocab * (weight * scores.sum(dim=1, keepdim=True)).sum()
            slope = scores.exp_()
            norm = slope.sum(dim=1, keepdim=True)
            loss += (weight * norm.log()).sum()
            slope.mul_(weight / norm).sub_(weight * (smoothing / vocab))
            slope.scatter_add_(1, asked, weight * (smoothing - 1))
            torch.mm(slope, matrix, out=of_hidden[part])
            if of_matrix is not None:
                torch.addmm(of_matrix, slope.t(), read, out=of_matrix)
            of_bias += slope.sum(dim=0)
        ctx.save_for_backward(of_hidden, of_matrix, of_bias)
        return loss / words

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        parts = ctx.saved_tensors
        each = grad_outputs[0] / max(1, len(parts[0]))
        return (*(None if part is None else part * each for part in parts), None, None, None)
