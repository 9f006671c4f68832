"""The Transformer decoder (https://arxiv.org/abs/1706.03762) with a cache for `step`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seesay.models.attention import RegionWeights, attend, split_heads
from seesay.models.decoder import Decoded, Decoder, Step
from seesay.models.embedding import WordEmbedding
from seesay.models.kernels.dropout import Dropout
from seesay.models.packing import PackedRow
from seesay.models.regions import FinerRegions, Regions, mlp, sinusoidal_encoding, without_finer

KeysAndValues = Sequence[Tensor]  # both (B, heads, P, H / heads)


class Cache(tuple[Tensor, ...]):
    """Keys and values of the T words read so far, (B, K, 2 heads, T, H / heads) for each layer.

    A layer's keys and values share a tensor, so that a step concatenates once for each layer.
    """

    def __new__(cls, *layers: Tensor) -> Cache:
        return super().__new__(cls, layers)


class LayeredMemory(NamedTuple):
    """Keys and values of the regions, in a tensor for each layer, so that a step need not slice.

    Attributes:
        values, keys: each layer's values and keys, (B, heads, P, H / heads); those of the last
            layer (B, heads, 4 P, H / heads) if the decoder has finer regions.
    """

    values: tuple[Tensor, ...]
    keys: tuple[Tensor, ...]


class Block(nn.Module):
    """A pre-norm layer: masked self-attention over words, cross-attention to regions, an MLP.

    Args:
        size: H.
        heads: divide H.
        dropout: on the outputs of the three parts.
    """

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_self, self.norm_cross, self.norm_mlp = (nn.LayerNorm(size) for _ in range(3))
        self.self_qkv = nn.Linear(size, 3 * size)
        self.self_out = nn.Linear(size, size)
        self.cross_query = nn.Linear(size, size)
        self.region_weights = RegionWeights(words=2)
        self.cross_out = nn.Linear(size, size)
        self.mlp = mlp(size)
        self.dropout = Dropout(dropout)

    def forward(
        self, words: Tensor, past: Tensor | None, mask: Tensor | None, regions: KeysAndValues
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run the layer on N more words of every photo.

        The words are either one packed row, whose words attend to each other (`past` is None), or
        the next word of each of N captions, which attends to itself and to its caption's past.

        Args:
            words: (B, N, H).
            past: (B, N, 2 heads, T, H / heads), keys, then values, of the T preceding words of each
                caption; or None.
            mask: (B, N, N), True where a word of the row must not attend; None masks nothing.
            regions: the layer's keys and values of the regions.

        Returns:
            words (B, N, H); the keys and values of the row (B, 2 heads, N, H / heads), or the past
            with the next words appended; and the attention weights over the regions (B, N, P),
            averaged over the heads.
        """
        heads, head_size = self.heads, words.shape[-1] // self.heads
        projected = self.self_qkv(self.norm_self(words))  # (B, N, 3 H)
        if past is None:
            # (B, heads, N, H / heads) and (B, 2 heads, N, H / heads)
            query, cache = split_heads(projected, 3 * heads).split([heads, 2 * heads], dim=1)
        else:
            # (B, N, heads, 1, H / heads) and, with the past, (B, N, 2 heads, T + 1, H / heads)
            query, latest = projected.unflatten(-1, (3 * heads, 1, head_size)).split([heads, 2 * heads], dim=2)
            cache = torch.cat([past, latest], dim=3)
        key, value = cache.chunk(2, dim=-3)
        context, _ = attend(query, key, value, mask)
        context = context.transpose(1, 2) if past is None else context  # (B, N, heads, ...)
        words = words + self.dropout(self.self_out(context.reshape(words.shape)))

        # (B, heads, N, H / heads)
        query = split_heads(self.cross_query(self.norm_cross(words)), heads)
        context, attention = attend(query, *regions, softmax=self.region_weights)
        words = words + self.dropout(self.cross_out(context.transpose(1, 2).reshape(words.shape)))

        words = words + self.dropout(self.mlp(self.norm_mlp(words)))
        return words, cache, attention


class TransformerDecoder(Decoder):
    """Pre-norm Transformer (https://arxiv.org/abs/2002.04745).

        x_0 = W E y + position,    x = x + attend(words),    x = x + attend(regions),    x = x + mlp(x)
        p(y') = softmax(O (W norm(x) + b))

    The attention that is shown is the last layer's cross-attention, averaged over its heads. Finer
    regions, if there are any, are those of the last layer.

    Args:
        embedding: the word vectors, of width M.
        region_size: D, features of a region.
        grid: (rows, cols) of the regions.
        size: H, the width of every layer (`decoder.size`).
        layers: N (`decoder.layers`).
        heads: number of heads of every attention (`attention.heads`).
        self_attention: layers of self-attention among the regions (`encoder.self_attention`).
        finer_depth: D', channels of the finer regions (`encoder.finer`); 0: there are none.
        dropout: on values, words, each part of a layer and the output.
    """

    Memory, State = LayeredMemory, Cache

    def __init__(
        self,
        embedding: WordEmbedding,
        region_size: int,
        grid: tuple[int, int],
        size: int = 512,
        layers: int = 2,
        heads: int = 8,
        self_attention: int = 0,
        finer_depth: int = 0,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.size, self.heads = size, heads
        self.embedding = embedding
        self.regions = Regions(without_finer(region_size, finer_depth), size, grid, self_attention, dropout)
        self.finer = FinerRegions(finer_depth, size, size, grid) if finer_depth else None
        self.norm_values = nn.LayerNorm(size)
        self.keys = nn.Linear(size, layers * size, bias=False)  # a bias would cancel in the softmax
        self.values = nn.Linear(size, layers * size)
        self.word_in = nn.Linear(embedding.size, size)
        blocks = [Block(size, heads, dropout) for _ in range(layers)]
        self.blocks = nn.ModuleList(blocks)
        self.region_weights = blocks[-1].region_weights
        self.norm_out = nn.LayerNorm(size)
        self.deep_out = nn.Linear(size, embedding.size)
        self.dropout = Dropout(dropout)

    def prepare(self, regions: Tensor) -> LayeredMemory:
        """Keys and values of the regions for all layers: (B, P, D) -> LayeredMemory."""
        coarse, finer = self.split_scales(regions)
        features = self.norm_values(self.regions(coarse))
        values, keys = self._by_layer(self.values(features)), self._by_layer(self.keys(features))
        if self.finer:
            keys[-1], values[-1] = self.finer(finer, keys[-1], values[-1])
        return LayeredMemory(*(tuple(split_heads(layer, self.heads) for layer in layers) for layers in (values, keys)))

    def start(self, memory: LayeredMemory, beams: int = 1) -> Cache:
        """The empty cache before the first word."""
        batch, heads, _, head_size = memory.values[0].shape
        return Cache(*(memory.values[0].new_zeros(batch, beams, 2 * heads, 0, head_size) for _ in self.blocks))

    def step(self, tokens: Tensor, state: Cache, memory: LayeredMemory) -> Step:
        """Read one token of each beam and predict the next; see `Decoder.step`."""
        position = torch.scalar_tensor(state[0].shape[3], device=tokens.device)  # T
        # (B, K, H)
        words = self._embed(tokens, sinusoidal_encoding(position.unsqueeze(0), self.size))
        words, caches, attention = self._run_blocks(words, state, None, memory)
        return Step(self.logits(self._deep_output(words)).log_softmax(dim=-1), Cache(*caches), attention)

    def forward(self, tokens: Tensor, lengths: Tensor, memory: LayeredMemory) -> Decoded:
        """Read whole captions at once (teacher forcing); equal to repeated `step`.

        The captions of a photo are packed into one row, because padding them would double the work:
        the captions of a photo differ much in length, but the photos of a batch have similar
        numbers of words in all.

        Args:
            tokens: (B, K, L) ids, start token first.
            lengths: (B, K) real tokens of each caption; results at padding are undefined.
            memory: the memory of the B photos.
        """
        row = PackedRow.of(tokens, lengths)
        # (L, H)
        encoding = sinusoidal_encoding(torch.arange(tokens.shape[2], device=tokens.device), self.size)
        words = self._embed(row.pack(tokens), encoding[row.position])  # (B, W, H)
        words, _, attention = self._run_blocks(words, [None] * len(self.blocks), row.mask, memory)
        return Decoded(row.unpack(self._deep_output(words)), row.unpack(attention))

    def _by_layer(self, projected: Tensor) -> list[Tensor]:
        """(B, P, N * H) -> N times (B, P, H)."""
        return list(projected.chunk(len(self.blocks), dim=2))

    def _embed(self, tokens: Tensor, encoding: Tensor) -> Tensor:
        """Tokens (B, N) and their positions' encoding, broadcast to (B, N, H) -> (B, N, H)."""
        return self.dropout(self.word_in(self.embedding(tokens) * self.embedding.size**0.5) + encoding)

    def _run_blocks(
        self, words: Tensor, pasts: Sequence[Tensor | None], mask: Tensor | None, memory: LayeredMemory
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """All layers; see `Block.forward`.

        Returns:
            words (B, N, H), the keys and values of each layer, and the attention weights of the
            last one.
        """
        attention, caches = words, []
        for block, past, *regions in zip(self.blocks, pasts, memory.keys, memory.values, strict=True):
            words, cache, attention = block(words, past, mask, regions)
            caches.append(cache)
        return words, caches, attention

    def _deep_output(self, words: Tensor) -> Tensor:
        """(..., H) -> hidden (..., M), see `Decoded`."""
        return self.dropout(self.deep_out(self.norm_out(words)))
