"""Attention scores, and the weighted sum of the values.

Regions and decoder state are both projected to A dimensions, where they are compared; each of N
heads compares its own A / N of them.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from seesay.models.kernels.additive import additive_scores, is_faster


class Attention(nn.Module):
    """Base class of attention scores, which compare a key for each region with a query.

    Args:
        region_size: features of a region.
        query_size: features of the decoder's state.
        size: A, the dimensions in which keys and queries are compared (`attention.size`).
        heads: N, the attention heads (https://arxiv.org/abs/1706.03762); divides A.
    """

    def __init__(self, region_size: int, query_size: int, size: int, heads: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.key = nn.Linear(region_size, size, bias=False)
        self.query = nn.Linear(query_size, size)

    def project(self, regions: Tensor) -> Tensor:
        """The keys, which are the same at every step: (B, P, D) -> (B, P, A)."""
        return self.key(regions)

    @abstractmethod
    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Scores of every region for every query, before the softmax.

        Args:
            query: (B, K, H), the decoder's state for each beam or caption.
            keys: (B, P, A) from `project`; all K queries of a photo share them.

        Returns:
            (B, K, N, P), any real numbers.
        """

    @abstractmethod
    def score_one_key(self, query: Tensor, key: Tensor) -> Tensor:
        """Score each query against a single key, as the adaptive decoder does with its sentinel.

        Args:
            query: (B, K, H).
            key: (B, K, A), the key of each query. If a score's `project` is more than a linear map,
                the caller must apply the same steps to this key.

        Returns:
            (B, K, N).
        """


class AdditiveAttention(Attention):
    """Bahdanau's score (https://arxiv.org/abs/1409.0473), used by Show, Attend and Tell.

    e_i = v . tanh(W_a a_i + W_h h + b)          (https://arxiv.org/abs/1502.03044, equation 4)
    """

    def __init__(self, region_size: int, query_size: int, size: int, heads: int = 1) -> None:
        super().__init__(region_size, query_size, size, heads)
        self.score = nn.Linear(size // heads, heads, bias=False)  # rows: v of each head

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        query = self.query(query)  # (B, K, A)
        if self.training and is_faster(query):  # in eval mode torch.export traces this method
            return additive_scores(query, keys, self.score.weight)
        # (B, K, P, A) is the largest tensor of a step, hence the in-place tanh
        activations = (keys.unsqueeze(1) + query.unsqueeze(2)).tanh_()
        return self._score(activations).transpose(-1, -2)

    def score_one_key(self, query: Tensor, key: Tensor) -> Tensor:
        return self._score(torch.tanh(key + self.query(query)))

    def _score(self, activations: Tensor) -> Tensor:
        """Each head's dot product with its v: (..., A) -> (..., N)."""
        if self.heads == 1:
            return self.score(activations)
        by_head = activations.unflatten(-1, (self.heads, -1))  # (..., N, A / N)
        return (by_head * self.score.weight).sum(dim=-1)


class DotAttention(Attention):
    """Luong's dot product of projections (https://arxiv.org/abs/1508.04025, section 3.1).

    e_i = (W_h h + b) . (W_a a_i)
    """

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        queries = split_heads(self._project_query(query), self.heads)  # (B, N, K, A / N)
        keys = split_heads(keys, self.heads)  # (B, N, P, A / N)
        return (queries @ keys.transpose(-1, -2)).transpose(1, 2)

    def score_one_key(self, query: Tensor, key: Tensor) -> Tensor:
        return (self._project_query(query) * key).unflatten(-1, (self.heads, -1)).sum(dim=-1)

    def _project_query(self, query: Tensor) -> Tensor:
        """(B, K, H) -> (B, K, A)."""
        return self.query(query)


class ScaledDotAttention(DotAttention):
    """The Transformer's score: the dot product, scaled so that its variance does not grow with A.

    e_i = (W_h h + b) . (W_a a_i) / sqrt(A / N)  (https://arxiv.org/abs/1706.03762, equation 1)
    """

    def _project_query(self, query: Tensor) -> Tensor:
        return self.query(query) * (self.query.out_features // self.heads) ** -0.5


SCORES: dict[str, type[Attention]] = {
    "additive": AdditiveAttention,
    "dot": DotAttention,
    "scaled_dot": ScaledDotAttention,
}


def split_heads(vectors: Tensor, heads: int) -> Tensor:
    """(..., T, H) -> (..., N, T, H / N)."""
    return vectors.unflatten(-1, (heads, -1)).transpose(-3, -2)


def weighted_sum(weights: Tensor, values: Tensor) -> Tensor:
    """The context vector: each head sums its share of the values; the heads are concatenated.

    Args:
        weights: (B, K, N, P), rows summing to 1.
        values: (B, P, H), N divides H.

    Returns:
        (B, K, H).
    """
    if weights.shape[2] == 1:
        return weights.squeeze(2) @ values
    by_head = weights.transpose(1, 2) @ split_heads(values, weights.shape[2])  # (B, N, K, H / N)
    return by_head.transpose(1, 2).flatten(2)


class RegionWeights(nn.Softmax):
    """The softmax that turns scores into attention weights.

    A forward hook on this module sees the weights of every head. If it returns others, the context
    is computed from those.

    Args:
        words: the dimension of the K words: 1 if weights are (B, K, N, P), 2 if they are
            (B, N, K, P), where N counts the heads.
    """

    def __init__(self, words: int = 1) -> None:
        super().__init__(dim=-1)
        self.words = words


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    softmax: RegionWeights | None = None,
) -> tuple[Tensor, Tensor]:
    """Multi-head attention: softmax(q . k / sqrt(H / N)) v.

    This is equation 1 of https://arxiv.org/abs/1706.03762.

    Args:
        query: (..., N, T, H / N), see `split_heads`.
        key, value: (..., N, S, H / N).
        mask: (..., T, S), True where a query must not attend; None masks nothing.
        softmax: computes the weights, so that hooks on it can read or replace them; None for
            torch's.

    Returns:
        context (..., N, T, H / N), and weights (..., T, S) averaged over the heads, rows summing to
        1.
    """
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5  # (..., N, T, S)
    if mask is not None:
        scores = scores.masked_fill(mask.unsqueeze(-3), float("-inf"))
    weights = scores.softmax(dim=-1) if softmax is None else softmax(scores)
    return weights @ value, weights.mean(dim=-3)
