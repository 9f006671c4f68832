"""Bahdanau's score for training on a processor: no tanh, and its largest tensor never leaves the cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

CHUNK = 1 << 19  # numbers worked on at once: 2 MiB
LIMIT = 22.0  # exp(2 * 22) squared is still a float32, whose tanh is 1 to its last bit from 10 on


def is_faster(query: Tensor) -> bool:
    """Whether `additive_scores` is the faster way to the scores of this query and their gradient."""
    return query.requires_grad and query.device.type == "cpu" and query.dtype in (torch.float32, torch.float64)


def additive_scores(query: Tensor, keys: Tensor, weight: Tensor) -> Tensor:
    """Scores v . tanh(key + query) of every region for every query; differentiable once.

        tanh(k + q) = 1 - 2 r,    r = 1 / (1 + exp(2 k) exp(2 q)),    tanh'(k + q) = 4 (r - r^2)

    so that what is done for each of B K P A numbers is a product and a division, and the exponentials are taken of the
    B K A and B P A numbers that it is made from. These are bounded by LIMIT, which changes a score only where one of
    them is beyond it and the other, of the other sign, comes within 10 of it.

    The gradient makes r anew, some photos at a time as the scores do: (B, K, P, A) numbers at every word, kept and
    read from memory, would take longer. A score is exact to 1e-6 in float32.

    Args:
        query: (B, K, A).
        keys: (B, P, A).
        weight: (N, A / N), v of each head.

    Returns:
        (B, K, N, P).
    """
    return _AdditiveScores.apply(query, keys, weight)


class _AdditiveScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, keys: Tensor, weight: Tensor) -> Tensor:
        odds = [part.clamp(-LIMIT, LIMIT).mul_(2).exp_() for part in (query, keys)]
        ctx.save_for_backward(*odds, weight)
        by_head = torch.block_diag(*weight).t().contiguous()  # (A, N)
        scores = query.new_empty(*query.shape[:2], keys.shape[1], len(weight))
        for photos, r in _chunks(*odds):
            torch.mm(r.flatten(0, 2), by_head, out=scores[photos].flatten(0, 2))
        return scores.mul_(-2).add_(weight.sum(dim=1)).transpose(-1, -2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        query, keys, weight = ctx.saved_tensors  # their exponentials
        grad = grad_outputs[0].transpose(-1, -2).contiguous()  # (B, K, P, N)
        of_query, of_keys = torch.empty_like(query), torch.empty_like(keys)
        by_head = query.new_zeros(len(weight), query.shape[-1])
        for photos, r in _chunks(query, keys):
            torch.addmm(by_head, grad[photos].flatten(0, 2).t(), r.flatten(0, 2), out=by_head)
            torch.addcmul(r, r, r, value=-1, out=r)
            r.unflatten(-1, weight.shape).mul_(grad[photos].unsqueeze(-1))
            torch.sum(r, dim=2, out=of_query[photos])
            torch.sum(r, dim=1, out=of_keys[photos])
        own = torch.stack([row.unflatten(0, weight.shape)[head] for head, row in enumerate(by_head)])
        slope = 4 * weight.flatten()
        return of_query.mul_(slope), of_keys.mul_(slope), grad.sum(dim=(0, 1, 2)).unsqueeze(1) - 2 * own


def _chunks(query: Tensor, keys: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """From the exponentials: some photos, and their r (photos, K, P, A), in memory that the next ones use again."""
    (batch, queries, size), regions = query.shape, keys.shape[1]
    one = query.new_ones(())
    number = max(1, min(batch, CHUNK // max(1, queries * regions * size)))
    room = query.new_empty(number, queries, regions, size)
    for first in range(0, batch, number):
        photos = slice(first, min(batch, first + number))
        r = room[: photos.stop - first]
        torch.addcmul(one, keys[photos].unsqueeze(1), query[photos].unsqueeze(2), out=r)
        yield photos, r.reciprocal_()
