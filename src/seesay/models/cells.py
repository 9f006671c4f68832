"""Recurrent cells: one layer, one word further. Inputs come projected, so that words are projected all at once."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn


class Hidden(NamedTuple):
    """The state of cells without a memory of their own, (B, K, layers * H): layer after layer."""

    h: Tensor


class HiddenAndMemory(NamedTuple):
    """The LSTM's state, both (B, K, layers * H): layer after layer."""

    h: Tensor
    c: Tensor


class Cell(nn.Module):
    """h' = cell(x, h).

    Args:
        size: H.

    Attributes:
        State: NamedTuple of the state's parts, h first.
        gates: numbers that x has for each of the H.
    """

    State: ClassVar[type[Hidden] | type[HiddenAndMemory]]
    gates: ClassVar[int]

    def __init__(self, size: int) -> None:
        super().__init__()
        self.recur = nn.Linear(size, self.gates * size, bias=False)

    @staticmethod
    def initialise(inputs: nn.Linear, size: int) -> None:
        """Set what a cell of this size wants of the biases of the layer that makes its inputs."""

    @abstractmethod
    def forward(self, inputs: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """One word further.

        Args:
            inputs: (B, K, gates * H), everything but the recurrence, biases included.
            state: parts (B, K, H).

        Returns:
            The parts after it.
        """


class RnnCell(Cell):
    """Elman's network: h' = tanh(x + W h)."""

    State = Hidden
    gates = 1

    def forward(self, inputs: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return (torch.tanh(inputs + self.recur(state[0])),)


class LstmCell(Cell):
    """Long short-term memory (Show, Attend and Tell, equations 1 to 3).

    i, f, g, o = x + W h,    c' = sigmoid(f) c + sigmoid(i) tanh(g),    h' = sigmoid(o) tanh(c')
    """

    State = HiddenAndMemory
    gates = 4

    @staticmethod
    def initialise(inputs: nn.Linear, size: int) -> None:
        """An open forget gate at the start (https://proceedings.mlr.press/v37/jozefowicz15.html)."""
        with torch.no_grad():
            inputs.bias[size : 2 * size].fill_(1.0)

    def forward(self, inputs: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        h, c = state
        i, f, g, o = (inputs + self.recur(h)).chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class GruCell(Cell):
    """Gated recurrent unit (https://arxiv.org/abs/1406.1078), the reset after the product, as cuDNN and torch have it.

    r, u, n = x,    r', u', n' = W h + b,    n = tanh(n + sigmoid(r + r') n'),    h' = n + sigmoid(u + u') (h - n)
    """

    State = Hidden
    gates = 3

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.recur = nn.Linear(size, self.gates * size)

    def forward(self, inputs: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        (h,) = state
        (reset, update, new), (reset_h, update_h, new_h) = inputs.chunk(3, dim=-1), self.recur(h).chunk(3, dim=-1)
        new = torch.tanh(new + torch.sigmoid(reset + reset_h) * new_h)
        return (new + torch.sigmoid(update + update_h) * (h - new),)


CELLS: dict[str, type[Cell]] = {"rnn": RnnCell, "lstm": LstmCell, "gru": GruCell}
