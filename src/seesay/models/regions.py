"""The regions as a decoder attends to them: projected to its width, and refined by finer ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from seesay.models.attention import attend, split_heads
from seesay.models.kernels.dropout import Dropout

FINER = 2  # finer regions along each side of a region


def without_finer(depth: int, finer_depth: int) -> int:
    """The features of a region alone, of D with those of its finer regions, which have D' each."""
    return depth - FINER**2 * finer_depth


class Regions(nn.Module):
    """Regions of the encoder (B, P, D) -> values of the decoder (B, P, H).

        values = relu(W a + b), then `layers` of self-attention with the grid's positions added

    Args:
        region_size: D.
        size: H.
        grid: (rows, cols), rows * cols = P; self-attention encodes the positions of the regions.
        layers: number of self-attention layers (`encoder.self_attention`).
        dropout: on the values, and in the layers, but there at most 0.1.
    """

    positions: Tensor

    def __init__(self, region_size: int, size: int, grid: tuple[int, int], layers: int, dropout: float) -> None:
        super().__init__()
        self.grid = grid
        self.value = nn.Linear(region_size, size)
        heads = math.gcd(size, 8)  # the largest of 8, 4, 2, 1 that divides the size
        self.layers = nn.ModuleList(SelfAttention(size, heads, min(dropout, 0.1)) for _ in range(layers))
        self.dropout = Dropout(dropout)
        positions = grid_positions(grid, size) if layers else torch.zeros(0)
        self.register_buffer("positions", positions, persistent=False)

    def forward(self, regions: Tensor) -> Tensor:
        values = self.dropout(torch.relu(self.value(regions)))  # (B, P, H)
        if self.layers:
            values = values + self.positions
        for layer in self.layers:
            values = layer(values)
        return values


class FinerRegions(nn.Module):
    """Finer regions f, which refine the keys and values of the regions that contain them.

        key_i = key_r(i) + W_k norm(f_i),    value_i = value_r(i) + W_v norm(f_i)

    r(i) is the region that contains the finer region i. A stage of a network knows less than the
    next one about what things are, but more about where they are; attention needs both. W_k and W_v
    start at zero, so that at first all finer regions of a region are alike, and the scale of the
    layer norm at 5.

    Args:
        depth: D', channels of the finer feature map (`Encoder.finer_depth`).
        keys, values: width of the keys and of the values.
        grid: (rows, cols) of the regions, not of the finer ones.
    """

    def __init__(self, depth: int, keys: int, values: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.depth, self.coarse_grid = depth, grid
        self.norm = nn.LayerNorm(depth)
        self.keys, self.values = (nn.Linear(depth, size, bias=False) for size in (keys, values))
        # Adam moves each weight by about the learning rate, however it began: larger inputs let W_k
        # and W_v, which begin at zero, have an effect sooner
        nn.init.constant_(self.norm.weight, 5.0)
        nn.init.zeros_(self.keys.weight)
        nn.init.zeros_(self.values.weight)

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, cols) of the finer regions."""
        return FINER * self.coarse_grid[0], FINER * self.coarse_grid[1]

    def forward(self, finer: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the finer regions.

        Args:
            finer: (B, P, 4 D'), see `Features.regions`.
            keys, values: (B, P, keys) and (B, P, values) of the regions.

        Returns:
            (B, 4 P, keys) and (B, 4 P, values), row by row of the finer grid.
        """
        inside = finer.unflatten(2, (-1, FINER * FINER)).transpose(2, 3)  # (B, P, 4, D')
        refined = self.norm(inside)
        return (
            self._by_row(keys.unsqueeze(2) + self.keys(refined)),
            self._by_row(values.unsqueeze(2) + self.values(refined)),
        )

    def _by_row(self, inside: Tensor) -> Tensor:
        """(B, P, 4, N), the finer regions of each region -> (B, 4 P, N), row by row."""
        rows, cols = self.coarse_grid
        blocks = inside.unflatten(2, (FINER, FINER)).unflatten(1, (rows, cols))  # (B, rows, cols, 2, 2, N)
        return blocks.transpose(2, 3).flatten(1, 4)


class SelfAttention(nn.Module):
    """A pre-norm Transformer layer in which every region attends to all regions.

    See https://arxiv.org/abs/2002.04745.

    Args:
        size: H.
        heads: divide H.
        dropout: on the output of the attention and of the MLP.
    """

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(size), nn.LayerNorm(size)
        self.qkv = nn.Linear(size, 3 * size)
        self.out = nn.Linear(size, size)
        self.mlp = mlp(size)
        self.dropout = Dropout(dropout)

    def forward(self, values: Tensor) -> Tensor:
        """(B, P, H) -> (B, P, H)."""
        projected = self.qkv(self.norm_attention(values)).chunk(3, dim=-1)
        # (B, N, P, H / N)
        query, key, value = (split_heads(part, self.heads) for part in projected)
        context, _ = attend(query, key, value)
        values = values + self.dropout(self.out(context.transpose(-3, -2).flatten(-2)))
        return values + self.dropout(self.mlp(self.norm_mlp(values)))


def mlp(size: int) -> nn.Sequential:
    """The position-wise feed-forward block of a Transformer layer, four times as wide inside."""
    return nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(), nn.Linear(4 * size, size))


def sinusoidal_encoding(positions: Tensor, size: int) -> Tensor:
    """Sinusoidal encoding of positions, (T,) -> (T, size).

    See section 3.5 of https://arxiv.org/abs/1706.03762.
    """
    rates = 10000.0 ** (torch.arange(0, size, 2, device=positions.device) / -size)
    angles = positions.unsqueeze(1) * rates  # (T, ceil(size / 2))
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :size]  # the size may be odd


def grid_positions(grid: tuple[int, int], size: int) -> Tensor:
    """The encoding of each region's row, then of its column: (rows, cols) -> (P, size)."""
    rows, cols = grid
    of_row = sinusoidal_encoding(torch.arange(rows), size - size // 2)  # (rows, size / 2)
    of_col = sinusoidal_encoding(torch.arange(cols), size // 2)  # (cols, size / 2)
    by_region = [of_row.unsqueeze(1).expand(-1, cols, -1), of_col.expand(rows, -1, -1)]
    return torch.cat(by_region, dim=-1).flatten(0, 1)
