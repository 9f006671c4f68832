"""Bahdanau's additive score, made fast for training on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

CHUNK = 1 << 19  # elements computed at once: 2 MiB
LIMIT = 22.0  # exp(2 * LIMIT) squared fits into a float32; tanh(10) is 1 in float32


def is_faster(query: Tensor) -> bool:
    """Whether `additive_scores` beats autograd for this query: in training on a CPU."""
    return query.requires_grad and query.device.type == "cpu" and query.dtype in (torch.float32, torch.float64)


def additive_scores(query: Tensor, keys: Tensor, weight: Tensor) -> Tensor:
    """Scores v . tanh(key + query) of every region for every query.

        tanh(k + q) = 1 - 2 r,    r = 1 / (1 + exp(2 k) exp(2 q)),    tanh'(k + q) = 4 (r - r^2)

    so that each of the B K P A elements costs one product and one division, and exponentials are
    needed only for the B K A elements of the query and the B P A elements of the keys. These
    elements are clamped to +-LIMIT. That changes a score only if one of the two exceeds LIMIT and
    the other, of opposite sign, comes within 10 of it.

    Both passes process a few photos at a time, so that r stays in the CPU's cache. The backward
    pass computes r again, which is faster than storing and reading (B, K, P, A) elements. Scores
    are exact to 1e-6 in float32. There is no second derivative.

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
        # from (N, A), select the A / N columns of each head
        grad_weight = torch.stack([row.unflatten(0, weight.shape)[head] for head, row in enumerate(by_head)])
        slope = 4 * weight.flatten()
        grad_weight = grad.sum(dim=(0, 1, 2)).unsqueeze(1) - 2 * grad_weight
        return grad_query.mul_(slope), grad_keys.mul_(slope), grad_weight


def _chunks(query: Tensor, keys: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Slices of photos and their r (photos, K, P, A), which share one buffer."""
    (batch, queries, size), regions = query.shape, keys.shape[1]
    one = query.new_ones(())
    number = max(1, min(batch, CHUNK // max(1, queries * regions * size)))
    buffer = query.new_empty(number, queries, regions, size)
    for first in range(0, batch, number):
        photos = slice(first, min(batch, first + number))
        r = buffer[: photos.stop - first]
        torch.addcmul(one, keys[photos].unsqueeze(1), query[photos].unsqueeze(2), out=r)
        yield photos, r.reciprocal_()
