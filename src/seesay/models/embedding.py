"""Word embeddings and the output projection, which may share their weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WordEmbedding(nn.Module):
    """Token ids -> vectors, and hidden states -> a score for each token.

        E = T P         T: the table (V, m); P: a projection (m, M), where m differs from M
        o = O h + b     O = E where tied (https://arxiv.org/abs/1611.01462), else its own matrix

    All rows of T, E and O are initialised with an expected length of 1.

    Args:
        vocab_size: V.
        size: M, the width of the vectors that the decoder reads and predicts from.
        table_size: m, the width of the vectors in the table; None: M.
        tied: whether the output projection is the embedding matrix.
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
        self.output = None if tied else nn.Parameter(torch.randn(vocab_size, size) * size**-0.5)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, tokens: Tensor) -> Tensor:
        """(...) ids -> (..., M)."""
        vectors = nn.functional.embedding(tokens, self.weight)  # (..., m)
        return vectors if self.project is None else self.project(vectors)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of all tokens before the softmax: (..., M) -> (..., V)."""
        return nn.functional.linear(*self.output_projection(hidden), self.bias)

    def output_projection(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors and a matrix such that `vectors @ matrix.T + bias` are the logits o.

        Args:
            hidden: (..., M).

        Returns:
            Vectors (..., n) and a matrix (V, n), where n is M or, for a tied table with a
            projection, m.
        """
        if self.output is not None:
            return hidden, self.output
        if self.project is not None:
            # (T P) h = T (P h), so that E (V, M) is not computed
            hidden = hidden @ self.project.weight
        return hidden, self.weight
