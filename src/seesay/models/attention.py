"""Attention over the regions of the grid: scores of regions for queries, and what their weights bring.

Every score meets regions and state after projections to A numbers; N heads have A / N of them each.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from seesay.models.kernels.additive import additive_scores, is_faster


class Attention(nn.Module):
    """What the scores share: a key for each region, a query from the decoder's state.

    Args:
        region_size: features of a region.
        query_size: features of the decoder's state.
        size: A, the space where regions and state meet (`attention.size`).
        heads: N, looks at once (https://arxiv.org/abs/1706.03762); divides A.
    """

    def __init__(self, region_size: int, query_size: int, size: int, heads: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.key = nn.Linear(region_size, size, bias=False)
        self.query = nn.Linear(query_size, size)

    def project(self, regions: Tensor) -> Tensor:
        """The half that does not change from word to word: (B, P, D) -> keys (B, P, A)."""
        return self.key(regions)

    @abstractmethod
    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Scores of every region for every query, before the softmax.

        Args:
            query: (B, K, H), one state per beam or caption.
            keys: (B, P, A) from `project`; shared by the K queries of a photo.

        Returns:
            (B, K, N, P), any real numbers.
        """

    @abstractmethod
    def match(self, query: Tensor, key: Tensor) -> Tensor:
        """Scores of one key of each query's own: (B, K, H), (B, K, A) -> (B, K, N)."""


class AdditiveAttention(Attention):
    """Bahdanau's score (https://arxiv.org/abs/1409.0473), as in Show, Attend and Tell (https://arxiv.org/abs/1502.03044).

    e_i = v . tanh(W_a a_i + W_h h + b)          (SAT, equation 4)
    """

    def __init__(self, region_size: int, query_size: int, size: int, heads: int = 1) -> None:
        super().__init__(region_size, query_size, size, heads)
        self.score = nn.Linear(size // heads, heads, bias=False)  # one v for each head

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        query = self.query(query)
        if self.training and is_faster(query):  # not where a graph is made of it
            return additive_scores(query, keys, self.score.weight)
        met = (keys.unsqueeze(1) + query.unsqueeze(2)).tanh_()  # (B, K, P, A), the largest of all: in place
        return self._weigh(met).transpose(-1, -2)

    def match(self, query: Tensor, key: Tensor) -> Tensor:
        return self._weigh(torch.tanh(key + self.query(query)))

    def _weigh(self, met: Tensor) -> Tensor:
        """(..., A) -> (..., N)."""
        if self.heads == 1:
            return self.score(met)
        return (met.unflatten(-1, (self.heads, -1)) * self.score.weight).sum(dim=-1)


class DotAttention(Attention):
    """Luong's product, between projections (https://arxiv.org/abs/1508.04025, section 3.1).

    e_i = (W_h h + b) . (W_a a_i)
    """

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        query, keys = (split_heads(part, self.heads) for part in (self._ask(query), keys))
        return (query @ keys.transpose(-1, -2)).transpose(1, 2)

    def match(self, query: Tensor, key: Tensor) -> Tensor:
        return (self._ask(query) * key).unflatten(-1, (self.heads, -1)).sum(dim=-1)

    def _ask(self, query: Tensor) -> Tensor:
        return self.query(query)


class ScaledDotAttention(DotAttention):
    """The Transformer's score (https://arxiv.org/abs/1706.03762, equation 1): scores of unit variance whatever A is.

    e_i = (W_h h + b) . (W_a a_i) / sqrt(A / N)
    """

    def _ask(self, query: Tensor) -> Tensor:
        return self.query(query) * (self.query.out_features // self.heads) ** -0.5


SCORES: dict[str, type[Attention]] = {
    "additive": AdditiveAttention,
    "dot": DotAttention,
    "scaled_dot": ScaledDotAttention,
}


def split_heads(vectors: Tensor, heads: int) -> Tensor:
    """(..., T, H) -> (..., N, T, H / N)."""
    return vectors.unflatten(-1, (heads, -1)).transpose(-3, -2)


def bring(weights: Tensor, values: Tensor) -> Tensor:
    """The context: each head's mean of its share of the values, one head after the other.

    Args:
        weights: (B, K, N, P), rows summing to 1.
        values: (B, P, H), N divides H.

    Returns:
        (B, K, H).
    """
    if weights.shape[2] == 1:
        return weights.squeeze(2) @ values
    return (weights.transpose(1, 2) @ split_heads(values, weights.shape[2])).transpose(1, 2).flatten(2)


class RegionWeights(nn.Softmax):
    """Scores -> the weights of the regions: a softmax, and the one place where weights can be read or replaced.

    A forward hook on it sees the weights of every head and may return others, from which the context is then made.
    """

    def __init__(self) -> None:
        super().__init__(dim=-1)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    hidden: Tensor | None = None,
    weigh: RegionWeights | None = None,
) -> tuple[Tensor, Tensor]:
    """Multi-head attention: softmax(q . k / sqrt(H / N)) v (https://arxiv.org/abs/1706.03762, equation 1).

    Args:
        query: (..., N, T, H / N), see `split_heads`.
        key, value: (..., N, S, H / N).
        hidden: (..., T, S) True where not to look; None hides nothing.
        weigh: the softmax, where it is to be read or replaced.

    Returns:
        context (..., N, T, H / N) and weights (..., T, S), the mean over the heads, rows summing to 1.
    """
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if hidden is not None:
        scores = scores.masked_fill(hidden.unsqueeze(-3), float("-inf"))
    weights = scores.softmax(dim=-1) if weigh is None else weigh(scores)
    return weights @ value, weights.mean(dim=-3)
