"""Packing captions of different lengths, so that little time is spent on padding.

Half of a batch (B, K, L) is padding, since its longest caption is about twice as long as the mean.
Both packed forms hold the real words and little padding; `unpack` puts results back into (B, K, L).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# The batch shrinks once at most this share of its photos still has words to read. It shrinks in few
# large steps because each costs a copy in the backward pass.
SHRINK_AT = 0.75


class PackedRow(NamedTuple):
    """The real words of each photo's captions in one row of W words, for the Transformer.

    Attributes:
        slot: (B, W) index of each word in the flattened (K, L); rows with fewer words end in
            padding.
        position: (B, W) index of each word in its caption.
        mask: (B, W, W) True where a word must not attend: later words, and other captions.
        captions: K.
        length: L.
    """

    slot: Tensor
    position: Tensor
    mask: Tensor
    captions: int
    length: int

    @classmethod
    def of(cls, tokens: Tensor, lengths: Tensor) -> PackedRow:
        """Pack (B, K, L) tokens, of which the first `lengths` (B, K) of each caption are real."""
        captions, length = tokens.shape[1:]
        # (B, K * L)
        padding = (torch.arange(length, device=tokens.device) >= lengths.unsqueeze(-1)).flatten(1)
        longest = int((~padding).sum(dim=1).max())  # W
        # a stable sort moves the padding to the end and keeps the order of the words
        slot = padding.to(torch.uint8).argsort(dim=1, stable=True)[:, :longest]
        caption, position = slot // length, slot % length
        other_caption = caption.unsqueeze(2) != caption.unsqueeze(1)  # (B, W, W)
        later = position.unsqueeze(2) < position.unsqueeze(1)
        return cls(slot, position, other_caption | later, captions, length)

    def pack(self, tokens: Tensor) -> Tensor:
        """(B, K, L) -> (B, W)."""
        return tokens.flatten(1).gather(1, self.slot)

    def unpack(self, vectors: Tensor) -> Tensor:
        """(B, W, H) -> (B, K, L, H), 0 where there is no word."""
        empty = vectors.new_zeros(len(vectors), self.captions * self.length, vectors.shape[2])
        index = self.slot.unsqueeze(2).expand_as(vectors)
        return empty.scatter(1, index, vectors).unflatten(1, (self.captions, self.length))


class PackedSteps(NamedTuple):
    """The words that a recurrent decoder reads at each step.

    They form a rectangle: the first photos, and of each the first captions, such that all captions
    that have not ended are inside.

    Attributes:
        sizes: (photos, captions) of each step's rectangle.
        slot: (N,) index of each word of all rectangles in the flattened (B, K, L).
        shape: (B, K, L).
    """

    sizes: list[tuple[int, int]]
    slot: Tensor
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, tokens: Tensor, lengths: Tensor) -> PackedSteps:
        """Pack (B, K, L) tokens, of which the first `lengths` (B, K) of each caption are real.

        The rectangles are smallest if the longest photos and captions come first.
        """
        batch, captions, length = tokens.shape
        ends = lengths.cpu().numpy()
        slots_of = np.arange(batch * captions * length).reshape(tokens.shape)
        sizes, slots = [], []
        for step in range(int(ends.max())):
            running = ends > step  # (B, K)
            last = int(np.flatnonzero(running.any(axis=1))[-1]) + 1
            batch = last if last <= SHRINK_AT * batch else batch
            widest = int(np.flatnonzero(running[:batch].any(axis=0))[-1]) + 1
            sizes.append((batch, widest))
            slots.append(slots_of[:batch, :widest, step].ravel())
        slot = torch.from_numpy(np.concatenate(slots)).to(tokens.device)
        return cls(sizes, slot, (len(ends), captions, length))

    def pack(self, tokens: Tensor) -> Tensor:
        """(B, K, L) -> (N,)."""
        return tokens.flatten()[self.slot]

    def split(self, vectors: Tensor) -> list[Tensor]:
        """(N, ...) -> for each step its (photos, captions, ...)."""
        parts = vectors.split([photos * captions for photos, captions in self.sizes])
        return [part.unflatten(0, size) for part, size in zip(parts, self.sizes, strict=True)]

    def unpack(self, vectors: Tensor, fill: float = 0.0) -> Tensor:
        """(N, ...) -> (B, K, L, ...), `fill` where there is no word."""
        batch, captions, length = self.shape
        empty = vectors.new_full((batch * captions * length, *vectors.shape[1:]), fill)
        return empty.index_copy(0, self.slot, vectors).unflatten(0, self.shape)
