"""Knowing When to Look: adaptive attention with a visual sentinel.

Lu et al. 2017, https://arxiv.org/abs/1612.01887.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seesay.models.embedding import WordEmbedding
from seesay.models.recurrent import MeanRegionDecoder, RecurrentStep


class Adaptive(MeanRegionDecoder):
    """Weighs the attended context against a sentinel that is made from the LSTM's cell state.

    The LSTM first reads the word; its new state is the query of the attention.

    With x = [E y; mean values] (numbers of the paper's equations in brackets):

        h, c  = LSTM(x, h', c')                                          [3]
        s     = sigmoid(W_x x + W_h h') * tanh(c)                        [9, 10: the sentinel]
        alpha = softmax(score(values_i, h)),    v = sum_i alpha_i values_i    [6, 7, 8]
        beta  = the sentinel's share in softmax([score(values_i, h); score(s, h)])   [12]
        p     = softmax(O tanh(W (beta s + (1 - beta) v + h)))           [11, 13, with a tanh]

    The attention that is shown is alpha, independent of the context's share 1 - beta.

    Args: those of `RecurrentDecoder`; an LSTM of one layer.
    """

    extra_inputs = 1  # the inputs of the sentinel's gate

    def __init__(self, embedding: WordEmbedding, region_size: int, grid: tuple[int, int], **options: Any) -> None:
        super().__init__(embedding, region_size, grid, **options)
        size = self.size
        self.sentinel_gate = nn.Linear(size, size, bias=False)
        self.sentinel_key = nn.Linear(size, self.attention.key.out_features, bias=False)

    def recurrence(self, words_in: Tensor, state: Any, memory: Any, sampled: Tensor | None = None) -> RecurrentStep:
        """Equations 3, 9, 10, 6 to 8, 12 and 11."""
        inputs, gate = (words_in + memory.whole).split([4 * self.size, self.size], dim=-1)
        after = self._run_cells(inputs, state, nn.ModuleList())
        sentinel = torch.sigmoid(gate + self.sentinel_gate(state.h)) * torch.tanh(after.c)
        attended = self.attend(after.h, memory, sampled)
        # (B, K, 1)
        sentinel_score = self.attention.score_one_key(after.h, self.sentinel_key(sentinel))
        # the sentinel's weight in a softmax over all scores equals this sigmoid
        beta = torch.sigmoid(sentinel_score - attended.scores.squeeze(2).logsumexp(dim=-1, keepdim=True))
        return RecurrentStep(beta * sentinel + (1 - beta) * attended.context + after.h, after, attended)
