"""Word vectors, read and written."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WordEmbedding(nn.Module):
    """Token ids -> vectors, and vectors -> a score for each token.

        E = T P         T: the table (V, m); P: a projection (m, M), where m is another width than M
        o = O h + b     O = E where tied (https://arxiv.org/abs/1611.01462), else a matrix of its own

    Every row of T, E and O starts with a length of about 1.

    Args:
        vocab_size: V.
        size: M, the width of what the decoder reads and writes.
        table_size: m, the width of the vectors in the table; None: M.
        tied: words are written with the vectors that they are read with.
        train: whether the table is trained.
    """

    def __init__(
        self, vocab_size: int, size: int, table_size: int | None = None, tied: bool = True, train: bool = True
    ) -> None:
        super().__init__()
        table_size = table_size or size
        self.size = size
        self.weight = nn.Parameter(torch.randn(vocab_size, table_size) * table_size**-0.5, requires_grad=train)
        self.project = nn.Linear(table_size, size, bias=False) if table_size != size else None
        if self.project is not None:
            nn.init.normal_(self.project.weight, std=size**-0.5)
        self.write = None if tied else nn.Parameter(torch.randn(vocab_size, size) * size**-0.5)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, tokens: Tensor) -> Tensor:
        """(...) ids -> (..., M)."""
        vectors = nn.functional.embedding(tokens, self.weight)
        return vectors if self.project is None else self.project(vectors)

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., M) -> (..., V), before the softmax."""
        return nn.functional.linear(*self.written_from(hidden), self.bias)

    def written_from(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """(..., M) -> the vectors and the matrix that words are written from: their product, with the bias, is o."""
        if self.write is not None:
            return hidden, self.write
        if self.project is not None:
            hidden = hidden @ self.project.weight  # (T P) h = T (P h): E, V x M, is never made
        return hidden, self.weight
