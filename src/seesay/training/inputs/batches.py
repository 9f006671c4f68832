"""Batches of photos with their captions; the order depends on the seed and the epoch alone."""

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
POOL_BATCHES = 16  # shuffled photos are sorted by length within pools of this many batches


class CaptionBatch(NamedTuple):
    """B photos with K captions each; a photo with fewer captions is filled up with empty ones.

    Both photos and each photo's captions are sorted by length, the longest first.

    Attributes:
        regions: (B, P, D) float32, the output of the encoder or, where its last stages are trained,
            of its frozen part.
        inputs: (B, K, L) ids, start token first.
        targets: (B, K, L) ids, end token last, then PAD.
        lengths: (B, K) number of real targets.
        photos: (B,) the photos' numbers in the split.
        weights: (B, K) float32, each caption's weight in the loss; empty if all weigh the same.
        crops: (B, 4) float64, the visible part of each photo: left, top, right, bottom as
            fractions, with left > right if it is mirrored; empty if all of it is visible, or if
            unknown.
        counts: a scalar: 1, or 0 if the photos belong to another process and this batch only lets
            all processes act alike.
    """

    regions: Tensor
    inputs: Tensor
    targets: Tensor
    lengths: Tensor
    photos: Tensor = torch.empty(0, dtype=torch.int64)
    weights: Tensor = torch.empty(0)
    crops: Tensor = torch.empty(0, 4, dtype=torch.float64)
    counts: Tensor = torch.tensor(1)

    @property
    def loss_mask(self) -> Tensor:
        """(B, K, L) bool, True for targets that count: neither padding nor unknown words."""
        return (self.targets != PAD) & (self.targets != UNK)

    def to(self, device: torch.device) -> CaptionBatch:
        """Copy to a device; the copy to a GPU is asynchronous."""
        return CaptionBatch(*(_to_device(tensor, device) for tensor in self))


class PhotoBatch(NamedTuple):
    """Like `CaptionBatch`, with photos in place of regions.

    Attributes:
        images: (B, 3, size, size) float32, normalised.
        inputs, targets, lengths, photos, weights, crops, counts: as in `CaptionBatch`.
    """

    images: Tensor
    inputs: Tensor
    targets: Tensor
    lengths: Tensor
    photos: Tensor
    weights: Tensor
    crops: Tensor
    counts: Tensor = torch.tensor(1)

    def to(self, device: torch.device) -> PhotoBatch:
        """Copy to a device; the copy to a GPU is asynchronous."""
        return PhotoBatch(*(_to_device(tensor, device) for tensor in self))

    def with_regions(self, regions: Tensor) -> CaptionBatch:
        """The batch with the encoder's output for the images, (B, P, D)."""
        return CaptionBatch(regions, *self[1:])


class CaptionBatches:
    """The readable photos of a split with all of their captions, in batches.

    Args:
        features: cached features of the photos, or the photos, which are then decoded again in
            every epoch.
        captions: for each photo the token ids of its captions, without start and end.
        batch_size: photos per batch.
        max_words: longer captions are cut, and then have no end token to learn.
        seed: for shuffling.
        consensus: the share in `caption_weights`; 0: all captions weigh the same.
        crop: (photo's number, epoch) -> the visible part of it, such as `Photos.crop`; None leaves
            `crops` empty.
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
        self._tokens = np.array([sum(map(len, photo)) for photo in self.captions])  # per photo
        self._longest = np.array([max(map(len, photo), default=0) for photo in self.captions])

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-len(self.photos) // self.batch_size)

    def epoch(self, epoch: int, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[CaptionBatch | PhotoBatch]:
        """This device's share of the batches of an epoch, beginning with batch `start`.

        Args:
            epoch: the epoch's number, from 0.
            start: number of the first batch.
            rank, world: this device's number, and the number of devices.
        """
        whole = self.order(epoch)[start:]
        # The last batch may have fewer photos than there are devices; a device without a share then
        # takes all of them, and its batch does not count.
        groups = [photos[rank::world] if len(photos) > rank else photos for photos in whole]
        counts = [torch.tensor(int(len(photos) > rank)) for photos in whole]
        if isinstance(self.features, PhotoFeatures):
            for photos, count in zip(groups, counts, strict=True):
                yield self.batch(photos, epoch)._replace(counts=count)
        else:
            for photos, images, count in zip(groups, self.features.read(groups, epoch), counts, strict=True):
                yield PhotoBatch(torch.from_numpy(images), *self.words(photos, epoch), counts=count)

    def order(self, epoch: int) -> list[np.ndarray]:
        """The photos of each batch of an epoch.

        Photos are shuffled and sorted by length within pools; then the batches are shuffled.
        """
        random = np.random.default_rng([self.seed, epoch])
        photos = random.permutation(self.photos)
        size = self.batch_size * POOL_BATCHES
        pools = [photos[i : i + size] for i in range(0, len(photos), size)]
        photos = np.concatenate([pool[np.argsort(self._tokens[pool], kind="stable")] for pool in pools])
        batches = [self._longest_first(photos[i : i + self.batch_size]) for i in range(0, len(photos), self.batch_size)]
        return [batches[i] for i in random.permutation(len(batches))]

    def _longest_first(self, photos: np.ndarray) -> np.ndarray:
        """Sort photos by their longest caption, descending.

        A recurrent decoder can then drop the photos whose captions have ended.
        """
        return photos[np.argsort(-self._longest[photos], kind="stable")]

    def batch(self, photos: np.ndarray, epoch: int = 0) -> CaptionBatch:
        """The batch of these photos (by number), from cached features."""
        assert isinstance(self.features, PhotoFeatures)
        regions = np.asarray(self.features.take(photos, epoch), dtype=np.float32)
        return CaptionBatch(torch.from_numpy(regions), *self.words(photos, epoch))

    def words(self, photos: np.ndarray, epoch: int = 0) -> tuple[Tensor, ...]:
        """The fields `inputs` to `crops` of `CaptionBatch`, for these photos (by number)."""
        captions = [self.captions[photo] for photo in photos]
        lengths = np.zeros((len(photos), max(map(len, captions))), dtype=np.int64)  # (B, K)
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


def prefetch(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, each prepared in a thread while the one before is in use."""
    with ThreadPoolExecutor(1, "seesay-batches") as pool:
        upcoming = pool.submit(next, batches, None)
        while (batch := upcoming.result()) is not None:
            upcoming = pool.submit(next, batches, None)
            yield batch


def _to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor; to a GPU without waiting, which needs page-locked memory."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _cut(ids: Sequence[int], max_words: int) -> list[int]:
    """A caption's targets: the caption and an end token, or its first `max_words` tokens."""
    return [*ids, EOS] if len(ids) <= max_words else [*ids[:max_words]]
