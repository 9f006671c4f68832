"""Attention over the regions of the grid: scores, and the weights they make."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AdditiveAttention(nn.Module):
    """Bahdanau's score (https://arxiv.org/abs/1409.0473), as in Show, Attend and Tell (https://arxiv.org/abs/1502.03044).

        e_i = v . tanh(W_a a_i + W_h h + b),    alpha = softmax(e)          (SAT, equations 4 and 5)

    Args:
        region_size: features of a region.
        query_size: features of the decoder's state.
        size: A, the space where regions and state meet (`attention.size`).
    """

    def __init__(self, region_size: int, query_size: int, size: int) -> None:
        super().__init__()
        self.key = nn.Linear(region_size, size, bias=False)
        self.query = nn.Linear(query_size, size)
        self.score = nn.Linear(size, 1, bias=False)

    def project(self, regions: Tensor) -> Tensor:
        """W_a a, the half that does not change from word to word: (B, P, D) -> keys (B, P, A)."""
        return self.key(regions)

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Weights of every region for every query.

        Args:
            query: (B, K, H), one state per beam or caption.
            keys: (B, P, A) from `project`; shared by the K queries of a photo.

        Returns:
            (B, K, P), >= 0, rows summing to 1.
        """
        met = torch.tanh(keys.unsqueeze(1) + self.query(query).unsqueeze(2))  # (B, K, P, A)
        return self.score(met).squeeze(-1).softmax(dim=-1)
