"""Output projection and cross-entropy in one operation, which does not store the logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

CHUNK = 3 << 19  # logits computed at once: 6 MiB


def linear_cross_entropy(
    hidden: Tensor,
    matrix: Tensor,
    bias: Tensor,
    targets: Tensor,
    label_smoothing: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """The mean cross-entropy of the logits `hidden @ matrix.T + bias`, equal to torch's.

    On a CPU the logits of a few words at a time are computed, turned in place into their gradient,
    (softmax - target) / N, and multiplied into the gradients of hidden, matrix and bias while they
    are in the CPU's cache. torch would write and read all N V logits half a dozen times; torch's
    own function of this name works as here only without label smoothing. There is no second
    derivative. On other devices, in half precision, and if no gradient is needed, torch's two
    operations are used, at least in float32.

    Args:
        hidden: (N, M) hidden states.
        matrix: (V, M) output projection.
        bias: (V,).
        targets: (N,) ids.
        label_smoothing: share of the probability spread over all words.
        weights: (N,) factors of the words' losses; the mean still divides by N. None: all 1.

    Returns:
        A scalar; NaN, without a gradient, where N is 0.
    """
    mixed = torch.is_autocast_enabled(hidden.device.type) or hidden.dtype not in (torch.float32, torch.float64)
    if hidden.device.type != "cpu" or mixed or not (torch.is_grad_enabled() and hidden.requires_grad):
        logits = nn.functional.linear(hidden, matrix, bias)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        if weights is None:
            return nn.functional.cross_entropy(logits, targets, label_smoothing=label_smoothing)
        losses = nn.functional.cross_entropy(logits, targets, label_smoothing=label_smoothing, reduction="none")
        return (weights * losses).mean()
    weights = torch.ones_like(targets, dtype=hidden.dtype) if weights is None else weights.to(hidden.dtype)
    return _LinearCrossEntropy.apply(hidden, matrix, bias, targets, label_smoothing, weights)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, matrix: Tensor, bias: Tensor, targets: Tensor, smoothing: float, weights: Tensor
    ) -> Tensor:
        (words, vocab), loss = (len(hidden), len(matrix)), hidden.new_zeros(())
        grad_hidden, grad_bias = torch.empty_like(hidden), torch.zeros_like(bias)
        grad_matrix = torch.zeros_like(matrix) if ctx.needs_input_grad[1] else None
        number = max(1, min(words, CHUNK // vocab))
        buffer = hidden.new_empty(number, vocab)
        for first in range(0, words, number):
            part = slice(first, first + number)
            states, target, weight = hidden[part], targets[part].unsqueeze(1), weights[part].unsqueeze(1)
            logits = torch.addmm(bias, states, matrix.t(), out=buffer[: len(states)])  # (n, V)
            logits.sub_(logits.amax(dim=1, keepdim=True))
            loss -= (1 - smoothing) * (weight * logits.gather(1, target)).sum()
            if smoothing:
                loss -= smoothing / vocab * (weight * logits.sum(dim=1, keepdim=True)).sum()
            grad = logits.exp_()  # in place from here on: softmax - target
            norm = grad.sum(dim=1, keepdim=True)
            loss += (weight * norm.log()).sum()
            grad.mul_(weight / norm).sub_(weight * (smoothing / vocab))
            grad.scatter_add_(1, target, weight * (smoothing - 1))
            torch.mm(grad, matrix, out=grad_hidden[part])
            if grad_matrix is not None:
                torch.addmm(grad_matrix, grad.t(), states, out=grad_matrix)
            grad_bias += grad.sum(dim=0)
        ctx.save_for_backward(grad_hidden, grad_matrix, grad_bias)
        return loss / words

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        gradients = ctx.saved_tensors
        scale = grad_outputs[0] / max(1, len(gradients[0]))
        return (*(None if gradient is None else gradient * scale for gradient in gradients), None, None, None)
