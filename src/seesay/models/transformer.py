"""The Transformer decoder (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762), stepping with a cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seesay.models.attention import RegionWeights, attend, split_heads
from seesay.models.decoder import Decoded, Decoder, Step
from seesay.models.embedding import WordEmbedding
from seesay.models.kernels.dropout import Dropout
from seesay.models.packing import Row
from seesay.models.regions import Regions, feed_forward, sinusoids

Pair = Sequence[Tensor]  # keys, values


class Cache(tuple[Tensor, ...]):
    """What stays of the words read so far, of each layer (B, K, 2 heads, T, H / heads): keys, then values.

    T is 0 before the first word. Layers are apart, keys and values are not, so that a step copies little.
    """

    def __new__(cls, *layers: Tensor) -> Cache:
        return super().__new__(cls, layers)


class LayeredMemory(NamedTuple):
    """Regions as each of N layers reads them: apart, so that a step copies nothing to part them.

    Attributes:
        values, keys: of each layer (B, heads, P, H / heads).
    """

    values: tuple[Tensor, ...]
    keys: tuple[Tensor, ...]


class Block(nn.Module):
    """One layer: look at the words so far, look at the regions, think; each with a residual and a norm before it.

    Args:
        size: H.
        heads: divide H.
        dropout: on each part's result.
    """

    def __init__(self, size: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_words, self.norm_regions, self.norm_think = (nn.LayerNorm(size) for _ in range(3))
        self.words_in = nn.Linear(size, 3 * size)
        self.words_out = nn.Linear(size, size)
        self.query = nn.Linear(size, size)
        self.region_weights = RegionWeights()
        self.regions_out = nn.Linear(size, size)
        self.think = feed_forward(size)
        self.dropout = Dropout(dropout)

    def forward(
        self, words: Tensor, past: Tensor | None, hidden: Tensor | None, regions: Pair
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One layer over N more words of every photo: a row of them, which see each other, or one of each caption.

        Args:
            words: (B, N, H).
            past: what the N captions have, (B, N, 2 heads, T, H / heads), the keys, then the values of T words; None:
                the words stand in one row.
            hidden: (B, N, N) True where a word of the row must not look; None hides nothing.
            regions: keys and values (B, heads, P, H / heads) of the photos for this layer.

        Returns:
            words (B, N, H); the keys and values of the row, (B, 2 heads, N, H / heads), or the past with the latest
            word; and where the words looked, (B, N, P), the mean over the heads.
        """
        heads, each = self.heads, words.shape[-1] // self.heads
        latest = self.words_in(self.norm_words(words))
        if past is None:
            query, latest = split_heads(latest, 3 * heads).split([heads, 2 * heads], dim=1)
        else:
            query, latest = latest.unflatten(-1, (3 * heads, 1, each)).split([heads, 2 * heads], dim=2)
            latest = torch.cat([past, latest], dim=3)
        key, value = latest.chunk(2, dim=-3)
        context, _ = attend(query, key, value, hidden)
        context = context.transpose(1, 2) if past is None else context
        words = words + self.dropout(self.words_out(context.reshape(words.shape)))
        query = split_heads(self.query(self.norm_regions(words)), heads)
        context, looked = attend(query, *regions, weigh=self.region_weights)
        words = words + self.dropout(self.regions_out(context.transpose(1, 2).reshape(words.shape)))
        words = words + self.dropout(self.think(self.norm_think(words)))
        return words, latest, looked


class TransformerDecoder(Decoder):
    """Pre-norm Transformer (https://arxiv.org/abs/2002.04745): each layer looks at the words so far, then at regions.

        x_0 = W E y + place,    x = x + attend(words),    x = x + attend(regions),    x = x + think(x)
        p(y') = softmax(O (W norm(x) + b))

    The attention that is shown is the last layer's look at the regions, the mean over its heads.

    Args:
        embedding: of the words, width M.
        region_size: D, features of a region.
        grid: (rows, cols) of the regions.
        size: H, the width of every layer (`decoder.size`).
        layers: N (`decoder.layers`).
        heads: of every attention (`attention.heads`).
        self_attention: layers in which regions look at each other (`encoder.self_attention`).
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
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.size, self.heads = size, heads
        self.embedding = embedding
        self.regions = Regions(region_size, size, grid, self_attention, dropout)
        self.norm_values = nn.LayerNorm(size)
        self.keys = nn.Linear(size, layers * size, bias=False)  # the softmax would not see a bias
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
        values = self.norm_values(self.regions(regions))
        return LayeredMemory(self._by_layer(self.values(values)), self._by_layer(self.keys(values)))

    def start(self, memory: LayeredMemory, beams: int = 1) -> Cache:
        """An empty cache."""
        batch, heads, _, each = memory.values[0].shape
        return Cache(*(memory.values[0].new_zeros(batch, beams, 2 * heads, 0, each) for _ in self.blocks))

    def step(self, tokens: Tensor, state: Cache, memory: LayeredMemory) -> Step:
        """One word further: (B, K) tokens, a cache of T words -> a cache of T + 1."""
        place = torch.scalar_tensor(state[0].shape[3], device=tokens.device)
        words = self._read(tokens, sinusoids(place.unsqueeze(0), self.size))
        words, past, looked = self._run(words, state, None, memory)
        return Step(self.logits(self._out(words)).log_softmax(dim=-1), Cache(*past), looked)

    def forward(self, tokens: Tensor, lengths: Tensor, memory: LayeredMemory) -> Decoded:
        """Read whole captions at once (teacher forcing); equal to repeated `step`.

        The captions of a photo stand in one row, one after the other without their padding, which would be half of the
        work: photos of a batch have about as many words, captions of a photo have not.

        Args:
            tokens: (B, K, L) ids, start token first.
            lengths: (B, K) real tokens of each caption; what is returned where padding stands means nothing.
            memory: of the B photos.
        """
        row = Row.of(tokens, lengths)
        waves = sinusoids(torch.arange(tokens.shape[2], device=tokens.device), self.size)
        words = self._read(row.take(tokens), waves[row.place])
        words, _, looked = self._run(words, [None] * len(self.blocks), row.hidden, memory)
        return Decoded(row.put(self._out(words)), row.put(looked))

    def _by_layer(self, projected: Tensor) -> tuple[Tensor, ...]:
        """(B, P, N * H) -> N times (B, heads, P, H / heads)."""
        return tuple(split_heads(part, self.heads) for part in projected.chunk(len(self.blocks), dim=2))

    def _read(self, tokens: Tensor, waves: Tensor) -> Tensor:
        """Words (B, N) and the waves of their places, broadcast to (B, N, H) -> (B, N, H)."""
        return self.dropout(self.word_in(self.embedding(tokens) * self.embedding.size**0.5) + waves)

    def _run(
        self, words: Tensor, past: Sequence[Tensor | None], hidden: Tensor | None, memory: LayeredMemory
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """All layers -> words, the past of each with them, and where the last one looked."""
        looked, grown = words, []
        for block, before, *regions in zip(self.blocks, past, memory.keys, memory.values, strict=True):
            words, after, looked = block(words, before, hidden, regions)
            grown.append(after)
        return words, grown, looked

    def _out(self, words: Tensor) -> Tensor:
        return self.dropout(self.deep_out(self.norm_out(words)))
