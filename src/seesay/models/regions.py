"""Regions as the decoder reads them: projected to its width, having looked at each other where a recipe says so."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from seesay.models.attention import attend, split_heads
from seesay.models.kernels.dropout import Dropout


class Regions(nn.Module):
    """(B, P, D) of the encoder -> (B, P, H) of the decoder.

        values = relu(W a + b), then `layers` of self-attention with the places of the grid added

    Args:
        region_size: D.
        size: H.
        grid: (rows, cols), rows * cols = P; layers of self-attention need to know where regions are.
        layers: of self-attention (`encoder.self_attention`).
        dropout: of the values; of the layers, 0.1 at most.
    """

    places: Tensor

    def __init__(self, region_size: int, size: int, grid: tuple[int, int], layers: int, dropout: float) -> None:
        super().__init__()
        self.grid = grid
        self.value = nn.Linear(region_size, size)
        heads = math.gcd(size, 8)  # the most of 8, 4, 2, 1 that have equal shares
        self.layers = nn.ModuleList(SelfAttention(size, heads, min(dropout, 0.1)) for _ in range(layers))
        self.dropout = Dropout(dropout)
        self.register_buffer("places", grid_places(grid, size) if layers else torch.zeros(0), persistent=False)

    def forward(self, regions: Tensor) -> Tensor:
        values = self.dropout(torch.relu(self.value(regions)))
        if self.layers:
            values = values + self.places
        for layer in self.layers:
            values = layer(values)
        return values


class SelfAttention(nn.Module):
    """A pre-norm Transformer layer: every region looks at all regions, then thinks (https://arxiv.org/abs/2002.04745).

    Args:
        size: H.
        heads: divide H.
        dropout: of each part's result.
    """

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm_think = nn.LayerNorm(size), nn.LayerNorm(size)
        self.project = nn.Linear(size, 3 * size)
        self.out = nn.Linear(size, size)
        self.think = feed_forward(size)
        self.dropout = Dropout(dropout)

    def forward(self, values: Tensor) -> Tensor:
        """(B, P, H) -> (B, P, H)."""
        projected = self.project(self.norm(values)).chunk(3, dim=-1)
        query, key, value = (split_heads(part, self.heads) for part in projected)
        context, _ = attend(query, key, value)
        values = values + self.dropout(self.out(context.transpose(-3, -2).flatten(-2)))
        return values + self.dropout(self.think(self.norm_think(values)))


def feed_forward(size: int) -> nn.Sequential:
    """The two layers that each place passes alone, four times as wide between them."""
    return nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size))


def sinusoids(places: Tensor, size: int) -> Tensor:
    """Places as waves (https://arxiv.org/abs/1706.03762, section 3.5): (T,) -> (T, size), `size` even or odd."""
    rates = 10000.0 ** (torch.arange(0, size, 2, device=places.device) / -size)
    angles = places.unsqueeze(1) * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :size]


def grid_places(grid: tuple[int, int], size: int) -> Tensor:
    """The waves of each region's row, then of its column: (rows, cols) -> (P, size)."""
    rows, cols = grid
    down, along = sinusoids(torch.arange(rows), size - size // 2), sinusoids(torch.arange(cols), size // 2)
    return torch.cat([down.unsqueeze(1).expand(-1, cols, -1), along.expand(rows, -1, -1)], dim=-1).flatten(0, 1)
