"""Batches of photos with their captions, in an order that depends on nothing but (seed, epoch)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from seesay.data.feature_cache import PhotoFeatures
from seesay.data.tokens import BOS, EOS, PAD, UNK
from seesay.geometry import Box
from seesay.training.inputs.consensus import caption_weights
from seesay.training.inputs.photos import PhotoFiles

Batch = TypeVar("Batch")
POOL = 16  # batches' worth of shuffled photos that are sorted by length together


class CaptionBatch(NamedTuple):
    """B photos, each once, with K captions each, the longest first of both (photos with fewer have empty ones).

    Attributes:
        regions: (B, P, D) float32; what the encoder's frozen part saw, where the rest of the encoder is trained.
        inputs: (B, K, L) ids, start token first.
        targets: (B, K, L) ids, end token last, PAD where there is nothing.
        lengths: (B, K) real targets.
        photos: (B,) the photos' numbers in the split.
        weights: (B, K) float32, what each caption counts in the loss; empty: all the same.
        crops: (B, 4) float64, the part of each photo that is seen: left, top, right, bottom in fractions, left > right
            where it is mirrored; empty: unknown, or all of it.
    """

    regions: Tensor
    inputs: Tensor
    targets: Tensor
    lengths: Tensor
    photos: Tensor = torch.empty(0, dtype=torch.int64)
    weights: Tensor = torch.empty(0)
    crops: Tensor = torch.empty(0, 4, dtype=torch.float64)

    @property
    def asked(self) -> Tensor:
        """(B, K, L) bool: the real targets but for unknown words, which are read and never asked for."""
        return (self.targets != PAD) & (self.targets != UNK)

    def to(self, device: torch.device) -> CaptionBatch:
        """The same on another device; on its way to a GPU it keeps nobody waiting."""
        return CaptionBatch(*(_moved(tensor, device) for tensor in self))


class PhotoBatch(NamedTuple):
    """The same with the photos themselves, for an encoder to read.

    Attributes:
        images: (B, 3, size, size) float32, normalised.
        inputs, targets, lengths, photos, weights, crops: as in `CaptionBatch`.
    """

    images: Tensor
    inputs: Tensor
    targets: Tensor
    lengths: Tensor
    photos: Tensor
    weights: Tensor
    crops: Tensor

    def to(self, device: torch.device) -> PhotoBatch:
        """The same on another device; on its way to a GPU it keeps nobody waiting."""
        return PhotoBatch(*(_moved(tensor, device) for tensor in self))

    def encoded(self, regions: Tensor) -> CaptionBatch:
        """With what an encoder made of the images, (B, P, D)."""
        return CaptionBatch(regions, *self[1:])


class CaptionBatches:
    """All captions of the readable photos of a split.

    Args:
        features: of the photos; or the photos, which are then read anew in every epoch.
        captions: for each photo its captions' token ids, without start and end.
        batch_size: photos a batch.
        max_words: captions are cut there; a cut one has no end to learn.
        seed: of the shuffling.
        consensus: see `caption_weights`.
        crop: (photo's number, epoch) -> the part of it that is seen, as `Photos.crop`; None leaves `crops` empty.
    """

    def __init__(
        self,
        features: PhotoFeatures | PhotoFiles,
        captions: Sequence[Sequence[Sequence[int]]],
        batch_size: int,
        max_words: int,
        seed: int,
        consensus: float = 0.0,
        crop: Callable[[int, int], Box] | None = None,
    ) -> None:
        self.features = features
        self.captions = [sorted((_cut(ids, max_words) for ids in photo), key=len, reverse=True) for photo in captions]
        self.weights = caption_weights(self.captions, consensus) if consensus else None
        self.batch_size = batch_size
        self.seed = seed
        self.crop = crop
        self.photos = np.flatnonzero(features.readable)
        self._work = np.array([sum(map(len, photo)) for photo in self.captions])
        self._longest = np.array([max(map(len, photo), default=0) for photo in self.captions])

    def __len__(self) -> int:
        """Batches an epoch."""
        return -(-len(self.photos) // self.batch_size)

    def epoch(self, epoch: int, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[CaptionBatch | PhotoBatch]:
        """The batches of an epoch from number `start` on; of each the share of device `rank` among `world`."""
        groups = self.order(epoch)[start:]
        # a small last batch may not reach all devices
        groups = [photos[rank::world] if len(photos) > rank else photos for photos in groups]
        if isinstance(self.features, PhotoFeatures):
            yield from (self.batch(photos, epoch) for photos in groups)
        else:
            for photos, images in zip(groups, self.features.read(groups, epoch), strict=True):
                yield PhotoBatch(torch.from_numpy(images), *self.words(photos, epoch))

    def order(self, epoch: int) -> list[np.ndarray]:
        """Which photos meet in which batch: shuffled, then bucketed by length within pools, then shuffled."""
        random = np.random.default_rng([self.seed, epoch])
        photos = random.permutation(self.photos)
        size = self.batch_size * POOL
        pools = [photos[i : i + size] for i in range(0, len(photos), size)]
        photos = np.concatenate([pool[np.argsort(self._work[pool], kind="stable")] for pool in pools])
        batches = [self._longest_first(photos[i : i + self.batch_size]) for i in range(0, len(photos), self.batch_size)]
        return [batches[i] for i in random.permutation(len(batches))]

    def _longest_first(self, photos: np.ndarray) -> np.ndarray:
        """As captions are in a photo, so that a recurrent decoder is done with the last ones early."""
        return photos[np.argsort(-self._longest[photos], kind="stable")]

    def batch(self, photos: np.ndarray, epoch: int = 0) -> CaptionBatch:
        """The batch of the photos with these numbers, whose features are there."""
        assert isinstance(self.features, PhotoFeatures)
        regions = np.asarray(self.features.take(photos, epoch), dtype=np.float32)
        return CaptionBatch(torch.from_numpy(regions), *self.words(photos, epoch))

    def words(self, photos: np.ndarray, epoch: int = 0) -> tuple[Tensor, ...]:
        """(inputs, targets, lengths, photos, weights, crops) of the photos' captions, as a `CaptionBatch` has them."""
        captions = [self.captions[photo] for photo in photos]
        lengths = np.zeros((len(photos), max(map(len, captions))), dtype=np.int64)
        targets = np.full((*lengths.shape, max(len(c) for photo in captions for c in photo)), PAD, dtype=np.int64)
        for b, photo in enumerate(captions):
            for k, caption in enumerate(photo):
                lengths[b, k] = len(caption)
                targets[b, k, : len(caption)] = caption
        inputs = np.concatenate([np.full_like(targets[..., :1], BOS), targets[..., :-1]], axis=-1)
        weights = np.empty(0, np.float32)
        if self.weights is not None:
            weights = np.zeros(lengths.shape, np.float32)
            for b, photo in enumerate(photos):
                weights[b, : len(self.weights[photo])] = self.weights[photo]
        crops = [] if self.crop is None else [self.crop(int(photo), epoch) for photo in photos]
        crops = np.array(crops, dtype=np.float64).reshape(-1, 4)
        return tuple(map(torch.from_numpy, (inputs, targets, lengths, photos, weights, crops)))


def ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, each made in a thread while the one before is learnt from."""
    with ThreadPoolExecutor(1, "seesay-batches") as pool:
        waiting = pool.submit(next, batches, None)
        while (batch := waiting.result()) is not None:
            waiting = pool.submit(next, batches, None)
            yield batch


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Page-locked memory is what a GPU can read by itself, while the processor goes on."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _cut(ids: Sequence[int], max_words: int) -> list[int]:
    """What is to be written of a caption: it and its end, or its first words where it is too long."""
    return [*ids, EOS] if len(ids) <= max_words else [*ids[:max_words]]
