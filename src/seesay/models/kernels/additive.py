"""Bahdanau's additive score for training on a CPU: no tanh, and its largest tensor never leaves the CPU's cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

CHUNK = 1 << 19  # elements computed at once: 2 MiB
LIMIT = 22.0  # exp(2 * 22) squared is still a float32, whose tanh is 1 to its last bit from 10 on


def is_faster(query: Tensor) -> bool:
    """Whether `additive_scores` beats autograd for this query: in training on a CPU."""
    return query.requires_grad and query.device.type == "cpu" and query.dtype in (torch.float32, torch.float64)


def additive_scores(query: Tensor, keys: Tensor, weight: Tensor) -> Tensor:
    """Scores v . tanh(key + query) of every region for every query; differentiable once (no second derivative).

        tanh(k + q) = 1 - 2 r,    r = 1 / (1 + exp(2 k) exp(2 q)),    tanh'(k + q) = 4 (r - r^2)

    so that each of the B K P A elements costs one product and one division, and exponentials are needed only for the
    B K A elements of the query and the B P A of the keys. Those are clamped to +-LIMIT; this changes a score only where
    one of the two exceeds it and the other, of opposite sign, comes within 10 of it.

    Both passes work on some photos at a time, and the backward pass computes r again: storing (B, K, P, A) elements
    for every word and reading them back would take longer. Scores are exact to 1e-6 in float32.

    Args:
        query: (B, K, A).
        keys: (B, P, A).
        weight: (N, A / N), each head's v.

    Returns:
        (B, K, N, P).
    """
    return _AdditiveScores.apply(query, keys, weight)


class _AdditiveScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, keys: Tensor, weight: Tensor) -> Tensor:
        exponentials = [part.clamp(-LIMIT, LIMIT).mul_(2).exp_() for part in (query, keys)]
        ctx.save_for_backward(*exponentials, weight)
        by_head = torch.block_diag(*weight).t().contiguous()  # (A, N)
        scores = query.new_empty(*query.shape[:2], keys.shape[1], len(weight))
        for photos, r in _chunks(*exponentials):
            torch.mm(r.flatten(0, 2), by_head, out=scores[photos].flatten(0, 2))
        return scores.mul_(-2).add_(weight.sum(dim=1)).transpose(-1, -2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        query, keys, weight = ctx.saved_tensors  # exponentials of query and keys
        grad = grad_outputs[0].transpose(-1, -2).contiguous()  # (B, K, P, N)
        grad_query, grad_keys = torch.empty_like(query), torch.empty_like(keys)
        by_head = query.new_zeros(len(weight), query.shape[-1])
        for photos, r in _chunks(query, keys):
            torch.addmm(by_head, grad[photos].flatten(0, 2).t(), r.flatten(0, 2), out=by_head)
            torch.addcmul(r, r, r, value=-1, out=r)  # r - r^2
            r.unflatten(-1, weight.shape).mul_(grad[photos].unsqueeze(-1))
            torch.sum(r, dim=2, out=grad_query[photos])
            torch.sum(r, dim=1, out=grad_keys[photos])
        # of (N, A), each head's gradient to its own A / N columns
        grad_weight = torch.stack([row.unflatten(0, weight.shape)[head] for head, row in enumerate(by_head)])
        slope = 4 * weight.flatten()
        grad_weight = grad.sum(dim=(0, 1, 2)).unsqueeze(1) - 2 * grad_weight
        return grad_query.mul_(slope), grad_keys.mul_(slope), grad_weight


def _chunks(query: Tensor, keys: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Slices of photos and their r (photos, K, P, A), from the exponentials; all slices share one buffer."""
    (batch, queries, size), regions = query.shape, keys.shape[1]
    one = query.new_ones(())
    number = max(1, min(batch, CHUNK // max(1, queries * regions * size)))
    buffer = query.new_empty(number, queries, regions, size)
    for first in range(0, batch, number):
        photos = slice(first, min(batch, first + number))
        r = buffer[: photos.stop - first]
        torch.addcmul(one, keys[photos].unsqueeze(1), query[photos].unsqueeze(2), out=r)
        yield photos, r.reciprocal_()
