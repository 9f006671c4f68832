"""Photos for training: their features, kept once for all, or the files, read anew where features would not last."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console

from seesay.config import Recipe
from seesay.data.augment import Augmentation, may_be_mirrored
from seesay.data.check import find_unreadable, refuse_if_too_many_unreadable
from seesay.data.features import PhotoFeatures, digest_photos
from seesay.data.images import ImageTransform, open_photo
from seesay.data.records import CaptionRecord
from seesay.models.encoder import Encoder
from seesay.progress import counted, progress
from seesay.training.features import cached_features, feature_cache

AHEAD = 2  # batches that are decoded while one is learnt from


@dataclass(frozen=True)
class PhotoFiles:
    """The photos of a split, numbered as its records are.

    Attributes:
        records: all of them readable.
        transform: photo -> what the encoder reads.
        augment: what happens to a photo before that, None for nothing.
        seed: of the augmentation, which depends on (seed, epoch, photo) alone.
    """

    records: Sequence[CaptionRecord]
    transform: ImageTransform
    augment: Augmentation | None = None
    seed: int = 0

    @property
    def place(self) -> np.ndarray:
        """(photos,) of each its number; as in `PhotoFeatures`, where -1 means that it cannot be read."""
        return np.arange(len(self.records))

    def image(self, photo: int, epoch: int = 0) -> np.ndarray:
        """(3, size, size) float32, normalised. Raises PhotoError."""
        record = self.records[photo]
        if self.augment is None:
            return self.transform(record.image)
        random = np.random.default_rng([self.seed, epoch, photo])
        variant = self.augment(open_photo(record.image), random, may_be_mirrored(record.captions))
        return self.transform(variant)

    def read(self, groups: Iterable[np.ndarray], epoch: int = 0) -> Iterator[np.ndarray]:
        """Each group of photos as (B, 3, size, size), decoded in threads ahead of who takes them."""
        pool = ThreadPoolExecutor(os.cpu_count(), "seesay-photos")
        waiting: deque[list[Future[np.ndarray]]] = deque()
        try:
            for group in groups:
                waiting.append([pool.submit(self.image, int(photo), epoch) for photo in group])
                if len(waiting) > AHEAD:
                    yield _images(waiting.popleft())
            while waiting:
                yield _images(waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def _images(decoding: list[Future[np.ndarray]]) -> np.ndarray:
    return np.stack([future.result() for future in decoding])


@dataclass(frozen=True)
class Photos:
    """Records of a split whose photos were readable, with their features; or the photos, where those would not last."""

    records: list[CaptionRecord]
    features: PhotoFeatures | PhotoFiles


def see_photos(
    recipe: Recipe,
    encoder: Encoder,
    training: list[CaptionRecord],
    dev: list[CaptionRecord],
    device: torch.device,
    console: Console,
) -> tuple[Photos, Photos]:
    """Both splits as they will be read: features are kept where the encoder would see the same every time.

    Raises:
        DataError: more than a tenth of the photos cannot be read, or the disk has no room for the features.
    """
    encoder.to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if recipe.encoder.finetune != "none":
        readable, readable_dev = readable_photos([training, dev], console)
        files_dev = PhotoFiles(readable_dev, encoder.transform)
        return _files(recipe, encoder, readable), Photos(readable_dev, files_dev)
    if recipe.images.augment:
        (readable,) = readable_photos([training], console)
        (seen,) = encode_photos(encoder, [dev], device, console)
        return _files(recipe, encoder, readable), seen
    seen, seen_dev = encode_photos(encoder, [training, dev], device, console)
    return seen, seen_dev


def _files(recipe: Recipe, encoder: Encoder, records: list[CaptionRecord]) -> Photos:
    augment = Augmentation() if recipe.images.augment else None
    return Photos(records, PhotoFiles(records, encoder.transform, augment, recipe.seed))


def readable_photos(splits: Sequence[list[CaptionRecord]], console: Console) -> list[list[CaptionRecord]]:
    """The records whose photos can be decoded, each tried once; the others are named and left out, if they are few.

    Raises:
        DataError: more than a tenth of the photos cannot be read.
    """
    records = [record for split in splits for record in split]
    with counted("checking photos", console) as report:
        broken = find_unreadable(records, report)
    refuse_if_too_many_unreadable(broken, len(records))
    for problem in broken:
        console.print(str(problem), highlight=False, markup=False, soft_wrap=True)
    left_out = {problem.where for problem in broken}
    return [[record for record in split if str(record.image) not in left_out] for split in splits]


def encode_photos(
    encoder: Encoder, splits: Sequence[list[CaptionRecord]], device: torch.device, console: Console
) -> list[Photos]:
    """Features of every split; photos that cannot be read are left out, if they are few.

    Raises:
        DataError: more than a tenth of the photos cannot be read, or the disk has no room.
    """
    photos = [record.image for records in splits for record in records]
    cache = feature_cache(encoder)
    digests = digest_photos(photos)
    missing = len(cache.missing(digests))
    if missing:
        size = missing * cache.row_bytes / 1e9
        console.print(
            f"encoding {missing:,} photos once; their features take {size:.2f} GB in {cache.folder}", soft_wrap=True
        )
    with progress("encoding photos", missing, console) as advance:
        features = cached_features(encoder, photos, device, advance=advance, digests=digests)
    refuse_if_too_many_unreadable(features.problems, len(photos))
    for problem in features.problems:
        console.print(f"left out: {problem}", highlight=False, markup=False, soft_wrap=True)
    result, start = [], 0
    for records in splits:
        place = features.place[start : start + len(records)]
        kept = [record for record, row in zip(records, place, strict=True) if row >= 0]
        result.append(Photos(kept, PhotoFeatures(features.rows, place[place >= 0], features.grid, ())))
        start += len(records)
    return result
