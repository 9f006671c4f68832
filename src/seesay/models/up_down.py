"""Bottom-up and top-down attention on a grid.

Anderson et al. 2018, https://arxiv.org/abs/1707.07998, section 3.2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seesay.models.embedding import WordEmbedding
from seesay.models.recurrent import MeanRegionDecoder, RecurrentStep


class UpDown(MeanRegionDecoder):
    """Two cells: the first one's state is the attention's query, the second predicts the word.

        h1    = cell1([h2'; mean values; E y], h1')                      [2]
        alpha = softmax(score(values_i, h1)),    v = sum_i alpha_i values_i    [3, 4, 5]
        h2    = cell2([v; h1], h2')                                      [6]
        p     = softmax(O tanh(W h2))                                    [7, with a tanh]

    Args: those of `RecurrentDecoder`; `layers` is ignored, since there are always two cells.
    """

    def __init__(self, embedding: WordEmbedding, region_size: int, grid: tuple[int, int], **options: Any) -> None:
        super().__init__(embedding, region_size, grid, **{**options, "layers": 2})
        size, gates = self.size, self.kind.gates
        self.feedback_in = nn.Linear(size, gates * size, bias=False)  # h2' -> the first cell
        self.language_in = nn.Linear(2 * size, gates * size)  # [v; h1] -> the second cell
        self.kind.initialise(self.language_in, size)

    def recurrence(self, words_in: Tensor, state: Any, memory: Any, sampled: Tensor | None = None) -> RecurrentStep:
        """Equations 2 to 6."""
        # the states of the two cells
        first, second = zip(*(part.chunk(2, dim=-1) for part in state), strict=True)
        first = self.cells[0](words_in + memory.whole + self.feedback_in(second[0]), *first)
        attended = self.attend(first[0], memory, sampled)
        second = self.cells[1](self.language_in(torch.cat([attended.context, first[0]], dim=-1)), *second)
        state = self.State(*(torch.cat(parts, dim=-1) for parts in zip(first, second, strict=True)))
        return RecurrentStep(second[0], state, attended)
