"""Captions of different lengths, put together so that their padding costs nothing.

Half of a batch (B, K, L) is padding: its longest caption is twice as long as the mean. Both forms hold the real words
and few others, and `put` lays what was made of them back into (B, K, L).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

STAY = 0.75  # finished photos leave once no more than this share still runs: each leaving costs a copy in the gradient


class Row(NamedTuple):
    """The real words of each photo's captions, one caption after the other, W words at most.

    Attributes:
        slot: (B, W) where each word stands among the K * L; photos with fewer words are filled up with padding.
        place: (B, W) where in its caption.
        hidden: (B, W, W) True where a word must not look: what comes later, and other captions.
        captions: K.
        length: L.
    """

    slot: Tensor
    place: Tensor
    hidden: Tensor
    captions: int
    length: int

    @classmethod
    def of(cls, tokens: Tensor, lengths: Tensor) -> Row:
        """The row of (B, K, L) tokens of which the first (B, K) `lengths` are real."""
        captions, length = tokens.shape[1:]
        padding = (torch.arange(length, device=tokens.device) >= lengths.unsqueeze(-1)).flatten(1)
        longest = int((~padding).sum(dim=1).max())
        slot = padding.to(torch.uint8).argsort(dim=1, stable=True)[:, :longest]
        caption, place = slot // length, slot % length
        hidden = (caption.unsqueeze(2) != caption.unsqueeze(1)) | (place.unsqueeze(2) < place.unsqueeze(1))
        return cls(slot, place, hidden, captions, length)

    def take(self, tokens: Tensor) -> Tensor:
        """(B, K, L) -> (B, W)."""
        return tokens.flatten(1).gather(1, self.slot)

    def put(self, vectors: Tensor) -> Tensor:
        """(B, W, H) -> (B, K, L, H), 0 elsewhere."""
        empty = vectors.new_zeros(len(vectors), self.captions * self.length, vectors.shape[2])
        index = self.slot.unsqueeze(2).expand_as(vectors)
        return empty.scatter(1, index, vectors).unflatten(1, (self.captions, self.length))


class Running(NamedTuple):
    """The words that are read at each step, step by step: a rectangle of the photos and captions that still run.

    Attributes:
        sizes: (photos, captions) of each step's rectangle, which holds the first of both.
        slot: (N,) where each word of all rectangles stands among the B * K * L.
        shape: (B, K, L).
    """

    sizes: list[tuple[int, int]]
    slot: Tensor
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, tokens: Tensor, lengths: Tensor) -> Running:
        """Of (B, K, L) tokens of which the first (B, K) `lengths` are real; least where the longest come first."""
        batch, captions, length = tokens.shape
        runs = lengths.cpu().numpy()
        places = np.arange(batch * captions * length).reshape(tokens.shape)
        sizes, slots = [], []
        for step in range(int(runs.max())):
            still = runs > step
            last = int(np.flatnonzero(still.any(axis=1))[-1]) + 1
            batch = last if last <= STAY * batch else batch
            k = int(np.flatnonzero(still[:batch].any(axis=0))[-1]) + 1
            sizes.append((batch, k))
            slots.append(places[:batch, :k, step].ravel())
        slot = torch.from_numpy(np.concatenate(slots)).to(tokens.device)
        return cls(sizes, slot, (len(runs), captions, length))

    def take(self, tokens: Tensor) -> Tensor:
        """(B, K, L) -> (N,)."""
        return tokens.flatten()[self.slot]

    def steps(self, vectors: Tensor) -> list[Tensor]:
        """(N, ...) -> for each step (photos, captions, ...)."""
        parts = vectors.split([photos * captions for photos, captions in self.sizes])
        return [part.unflatten(0, size) for part, size in zip(parts, self.sizes, strict=True)]

    def put(self, vectors: Tensor, fill: float = 0.0) -> Tensor:
        """(N, ...) -> (B, K, L, ...), `fill` elsewhere."""
        batch, captions, length = self.shape
        empty = vectors.new_full((batch * captions * length, *vectors.shape[1:]), fill)
        return empty.index_copy(0, self.slot, vectors).unflatten(0, self.shape)
