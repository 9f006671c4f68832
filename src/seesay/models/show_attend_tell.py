"""Show, Attend and Tell (Xu et al. 2015, https://arxiv.org/abs/1502.03044)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seesay.models.embedding import WordEmbedding
from seesay.models.recurrent import RecurrentDecoder, RecurrentStep


class ShowAttendTell(RecurrentDecoder):
    """Attends with the previous state; the cell then reads the word and the gated context.

    With the previous word y, state h (numbers of the paper's equations in brackets; `values` are
    relu(W a_i)):

        h_0, c_0 = tanh f_h(mean values), tanh f_c(mean values)          [3.1.2]
        alpha    = softmax(score(values_i, h))                           [4, 5]
        z        = sigmoid(W_b h) * sum_i alpha_i values_i               [13, 4.2.1; the gate here is one per channel]
        h, c     = cell([E y; z], h, c)                                  [1, 2, 3]
        p(y')    = softmax(O tanh(L_y E y + L_h h + L_z z))              [7, with a tanh]

    With several layers, the first layer reads z, and attention and output use the last layer's
    hidden state.

    Args: those of `RecurrentDecoder`.
    """

    def __init__(self, embedding: WordEmbedding, region_size: int, grid: tuple[int, int], **options: Any) -> None:
        super().__init__(embedding, region_size, grid, **options)
        size, gates = self.size, self.kind.gates
        self.gate = nn.Linear(size, size)
        self.context_in = nn.Linear(size, gates * size, bias=False)
        between = [nn.Linear(size, gates * size) for _ in self.cells[1:]]
        self.word_out = nn.Linear(embedding.size, embedding.size, bias=False)
        self.deep_out = nn.Linear(2 * size, embedding.size)  # [h; z] -> M
        for layer in between:
            self.kind.initialise(layer, size)
        self.between = nn.ModuleList(between)

    def recurrence(self, words_in: Tensor, state: Any, memory: Any, sampled: Tensor | None = None) -> RecurrentStep:
        """Equations 4, 5, 13 and 1 to 3."""
        h = state.h[..., -self.size :]  # (B, K, H), of the last layer
        attended = self.attend(h, memory, sampled)
        context = torch.sigmoid(self.gate(h)) * attended.context  # z
        state = self._run_cells(words_in + self.context_in(context), state, self.between)
        features = torch.cat([state.h[..., -self.size :], context], dim=-1)  # (B, K, 2 H)
        return RecurrentStep(features, state, attended)

    def deep_output(self, words: Tensor, features: Tensor) -> Tensor:
        """Equation 7 before the projection to the vocabulary."""
        deep = self.deep_out(self.dropout(features)) + self.word_out(words)
        return self.dropout(torch.tanh(deep))
