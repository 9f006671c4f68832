"""Recurrent cells: one step of one layer.

The caller projects their inputs, so that all words of a caption can be projected at once.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn


class HiddenState(NamedTuple):
    """The state of RNN and GRU cells: the hidden states of all layers, (B, K, layers * H)."""

    h: Tensor


class LstmState(NamedTuple):
    """The state of LSTM cells: hidden and cell states of all layers, (B, K, layers * H) each."""

    h: Tensor
    c: Tensor


class Cell(nn.Module):
    """A recurrent cell: h' = cell(x, h).

    Args:
        size: H.

    Attributes:
        State: NamedTuple of the state's parts, h first.
        gates: how many gates (and candidates) the cell has: its input x is gates * H wide.
    """

    State: ClassVar[type[HiddenState] | type[LstmState]]
    gates: ClassVar[int]

    def __init__(self, size: int) -> None:
        super().__init__()
        self.recur = nn.Linear(size, self.gates * size, bias=False)

    @staticmethod
    def initialise(inputs: nn.Linear, size: int) -> None:
        """Initialise the biases of the layer that makes the inputs of a cell of this size."""

    @abstractmethod
    def forward(self, inputs: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """One step.

        Args:
            inputs: (B, K, gates * H), projected, biases included; the cell adds W h.
            state: the parts of the state, each (B, K, H).

        Returns:
            The parts of the next state.
        """


class RnnCell(Cell):
    """Elman's network: h' = tanh(x + W h)."""

    State = HiddenState
    gates = 1

    def forward(self, inputs: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        return (torch.tanh(inputs + self.recur(state[0])),)


class LstmCell(Cell):
    """Long short-term memory (Show, Attend and Tell, equations 1 to 3).

    i, f, g, o = x + W h,    c' = sigmoid(f) c + sigmoid(i) tanh(g),    h' = sigmoid(o) tanh(c')
    """

    State = LstmState
    gates = 4

    @staticmethod
    def initialise(inputs: nn.Linear, size: int) -> None:
        """Biases of 1 for the forget gate (https://proceedings.mlr.press/v37/jozefowicz15.html)."""
        with torch.no_grad():
            inputs.bias[size : 2 * size].fill_(1.0)

    def forward(self, inputs: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        h, c = state
        i, f, g, o = (inputs + self.recur(h)).chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class GruCell(Cell):
    """Gated recurrent unit (https://arxiv.org/abs/1406.1078).

    As in cuDNN, the reset gate acts after the product:

    r, u, n = x,    r', u', n' = W h + b n = tanh(n + sigmoid(r + r') n'),    h' = n + sigmoid(u +
    u') (h - n)
    """

    State = HiddenState
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
