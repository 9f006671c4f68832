"""Show, Attend and Tell (Xu et al. 2015, https://arxiv.org/abs/1502.03044)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seesay.models.embedding import WordEmbedding
from seesay.models.recurrent import Advanced, RecurrentDecoder


class ShowAttendTell(RecurrentDecoder):
    """Look with the state before the word, then read word and context together; gated context and deep output.

    With the previous word y, state h (numbers of the paper's equations in brackets; `values` are relu(W a_i)):

        h_0, c_0 = tanh f_h(mean values), tanh f_c(mean values)          [3.1.2]
        alpha    = softmax(score(values_i, h))                           [4, 5]
        z        = sigmoid(W_b h) * sum_i alpha_i values_i               [13, 4.2.1; the gate here is one per channel]
        h, c     = cell([E y; z], h, c)                                  [1, 2, 3]
        p(y')    = softmax(O tanh(L_y E y + L_h h + L_z z))              [7, with a tanh]

    With several layers z goes into the first one and the last one's h looks and writes.

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

    def advance(self, words_in: Tensor, state: Any, memory: Any, sample: Tensor | None = None) -> Advanced:
        """See the class."""
        h = state.h[..., -self.size :]
        look = self.look(h, memory, sample)
        context = torch.sigmoid(self.gate(h)) * look.context
        state = self._cells(words_in + self.context_in(context), state, self.between)
        return Advanced(torch.cat([state.h[..., -self.size :], context], dim=-1), state, look)

    def write(self, words: Tensor, features: Tensor) -> Tensor:
        """See the class."""
        deep = self.deep_out(self.dropout(features)) + self.word_out(words)
        return self.dropout(torch.tanh(deep))
