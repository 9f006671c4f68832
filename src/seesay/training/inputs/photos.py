"""Photos for training, as cached features or as files.

Features are cached where the encoder's frozen part sees the same images in every epoch.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from rich.console import Console

from seesay.config import Recipe
from seesay.data.augment import Augmentation, may_be_mirrored
from seesay.data.check import find_unreadable, refuse_if_too_many_unreadable
from seesay.data.feature_cache import PhotoFeatures, T, digest_photos
from seesay.data.images import ImageTransform, open_photo
from seesay.data.images.sources import opened
from seesay.data.records import CaptionRecord
from seesay.errors import printable
from seesay.geometry import WHOLE, Box
from seesay.models.encoder import Encoder
from seesay.models.frozen import FrozenPart
from seesay.progress import counted, print_plain, progress
from seesay.training.inputs.features import cached_features, feature_cache

PREFETCHED = 2  # batches that are decoded ahead of the one in use


@dataclass(frozen=True)
class PhotoFiles:
    """The photos of a split, numbered as its records are.

    Attributes:
        records: all of them readable.
        transform: photo -> the encoder's input.
        augment: applied before the transform, or None.
        seed: for the augmentation, which depends on the seed, the epoch and the photo's file name
            alone, not on the other photos.
    """

    records: Sequence[CaptionRecord]
    transform: ImageTransform
    augment: Augmentation | None = None
    seed: int = 0

    @property
    def readable(self) -> np.ndarray:
        """(photos,) bool, as in `PhotoFeatures`."""
        return np.ones(len(self.records), dtype=bool)

    @property
    def paths(self) -> list[Path]:
        """The photos' files."""
        return [record.image for record in self.records]

    def image(self, photo: int, epoch: int = 0) -> np.ndarray:
        """(3, size, size) float32, normalised. Raises PhotoError."""
        record = self.records[photo]
        if self.augment is None:
            return self.transform(record.image)
        random, mirror = self._random(photo, epoch)
        return self.transform(self.augment(open_photo(record.image), random, mirror))

    def crop(self, photo: int, epoch: int = 0) -> Box:
        """The part of the photo that `image` shows, in fractions; left > right if mirrored.

        Raises:
            PhotoError: the file cannot be read.
        """
        if self.augment is None:
            return WHOLE
        size = _upright_size(self.records[photo].image)
        return self.augment.draw(size, *self._random(photo, epoch)).crop

    def _random(self, photo: int, epoch: int) -> tuple[np.random.Generator, bool]:
        """The random generator for a photo's variant, and whether the photo may be mirrored."""
        record = self.records[photo]
        name = zlib.crc32(os.fsencode(record.image.name))
        return np.random.default_rng([self.seed, epoch, name]), may_be_mirrored(record.captions)

    def read(self, groups: Iterable[np.ndarray], epoch: int = 0) -> Iterator[np.ndarray]:
        """Each group of photos as (B, 3, size, size), decoded in threads ahead of its use."""
        pool = ThreadPoolExecutor(os.cpu_count(), "seesay-photos")
        upcoming: deque[list[Future[np.ndarray]]] = deque()
        try:
            for group in groups:
                upcoming.append([pool.submit(self.image, int(photo), epoch) for photo in group])
                if len(upcoming) > PREFETCHED:
                    yield _images(upcoming.popleft())
            while upcoming:
                yield _images(upcoming.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def _upright_size(photo: Path) -> tuple[int, int]:
    """(width, height) in pixels after EXIF orientation, from the file's header."""
    with opened(photo) as file, Image.open(file) as image:
        # tag Orientation: 5 to 8 exchange rows and columns
        turned = image.getexif().get(0x0112, 1) >= 5
        return (image.height, image.width) if turned else image.size


def _images(decoding: list[Future[np.ndarray]]) -> np.ndarray:
    return np.stack([future.result() for future in decoding])


@dataclass(frozen=True)
class Photos:
    """The readable photos of a split, with cached features or as files.

    Attributes:
        records: the photos, in the order of the features.
        features: cached features, or the files.
        variants: for features of augmented variants, the files, which give the crop of each
            variant.
    """

    records: list[CaptionRecord]
    features: PhotoFeatures | PhotoFiles
    variants: PhotoFiles | None = None

    def crop(self, photo: int, epoch: int) -> Box:
        """The part of a photo visible in an epoch, as fractions; left > right if mirrored."""
        if isinstance(self.features, PhotoFiles):
            return self.features.crop(photo, epoch)
        if self.variants is None:
            return WHOLE
        return self.variants.crop(photo, int(self.features.view(photo, epoch)))


class View(NamedTuple):
    """One of the cached augmented variants of a photo (`images.views`)."""

    photo: int
    number: int
    record: CaptionRecord

    def __str__(self) -> str:
        return str(self.record.image)


def load_features(
    recipe: Recipe,
    encoder: Encoder,
    frozen: FrozenPart | None,
    training: list[CaptionRecord],
    dev: list[CaptionRecord],
    device: torch.device,
    console: Console,
) -> tuple[Photos, Photos]:
    """The training and dev photos, with cached features where possible, else as files.

    Args:
        recipe: augmentation, variants and seed.
        encoder: is moved to `device`.
        frozen: the encoder's frozen part; None if all of it is trained or it cannot be split.
        training, dev: the photos of each split.
        device: the device that encodes.
        console: for progress and the photos that are left out.

    Raises:
        DataError: more than a tenth of the photos cannot be read, or the disk has no room for the
            features.
    """
    encoder.to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def files(records: list[CaptionRecord]) -> PhotoFiles:
        augment = Augmentation() if recipe.images.augment else None
        return PhotoFiles(records, encoder.transform, augment, recipe.seed)

    if frozen is None:
        training, dev = readable_photos([training, dev], console)
        return Photos(training, files(training)), Photos(dev, PhotoFiles(dev, encoder.transform))
    if recipe.images.augment:
        (dev_photos,) = encode_photos(frozen, [dev], device, console)
        if recipe.images.views is not None:
            return encode_views(frozen, training, recipe, device, console), dev_photos
        (training,) = readable_photos([training], console)
        return Photos(training, files(training)), dev_photos
    training_photos, dev_photos = encode_photos(frozen, [training, dev], device, console)
    return training_photos, dev_photos


def readable_photos(splits: Sequence[list[CaptionRecord]], console: Console) -> list[list[CaptionRecord]]:
    """The records whose photos can be decoded. The others are named and left out.

    Raises:
        DataError: more than a tenth of the photos cannot be read.
    """
    records = [record for split in splits for record in split]
    with counted("checking photos", console) as report:
        broken = find_unreadable(records, report)
    refuse_if_too_many_unreadable(broken, len(records))
    for problem in broken:
        print_plain(console, problem)
    left_out = {problem.where for problem in broken}
    return [[record for record in split if str(record.image) not in left_out] for split in splits]


def encode_photos(
    frozen: FrozenPart, splits: Sequence[list[CaptionRecord]], device: torch.device, console: Console
) -> list[Photos]:
    """Features of each split; photos that cannot be read are named and left out.

    Raises:
        DataError: more than a tenth of the photos cannot be read, or the disk has no room.
    """
    photos = [record.image for records in splits for record in records]
    features = _encode(frozen, photos, digest_photos(photos), None, device, console)
    result, start = [], 0
    for records in splits:
        row_numbers = features.row_numbers[start : start + len(records)]
        readable = [record for record, row in zip(records, row_numbers, strict=True) if row >= 0]
        result.append(Photos(readable, PhotoFeatures(features.rows, row_numbers[row_numbers >= 0], features.grid, ())))
        start += len(records)
    return result


def encode_views(
    frozen: FrozenPart, records: list[CaptionRecord], recipe: Recipe, device: torch.device, console: Console
) -> Photos:
    """Features of `images.views` augmented variants of every photo.

    The variants are those that epochs 0, 1, ... would see without the cache.

    Raises:
        DataError: as for `encode_photos`.
    """
    number = recipe.images.views or 1
    files = PhotoFiles(records, frozen.encoder.transform, Augmentation(), recipe.seed)
    views = [View(i, view, record) for view in range(number) for i, record in enumerate(records)]
    digests = [
        _digest_of(view, digest, files) for view, digest in zip(views, digest_photos(files.paths) * number, strict=True)
    ]
    features = _encode(frozen, views, digests, lambda view: files.image(view.photo, view.number), device, console)
    row_numbers = features.row_numbers.reshape(number, len(records)).T
    numbers = np.flatnonzero((row_numbers >= 0).all(axis=1))  # photos whose variants could all be read
    readable = [records[i] for i in numbers]
    features = PhotoFeatures(features.rows, row_numbers[numbers], features.grid, ())
    return Photos(readable, features, replace(files, records=readable))


def _digest_of(view: View, photo: bytes, files: PhotoFiles) -> bytes:
    """A digest of everything that a variant depends on."""
    mirror = may_be_mirrored(view.record.captions)
    parts = repr((photo, files.augment, files.seed, view.number, view.record.image.name, mirror))
    return hashlib.blake2b(parts.encode(), digest_size=len(photo)).digest()


def _encode(
    frozen: FrozenPart,
    photos: Sequence[T],
    digests: Sequence[bytes],
    load: Callable[[T], np.ndarray] | None,
    device: torch.device,
    console: Console,
) -> PhotoFeatures:
    """Features of photos or of their variants.

    Prints the number and size of those to compute beforehand, and the photos that are left out.
    """
    cache = feature_cache(frozen)
    with ExitStack() as stack:

        def begin(missing: int) -> Callable[[int], None]:
            size, folder = missing * cache.row_bytes / 1e9, printable(cache.folder)
            line = f"encoding {missing:,} photos once; their features take {size:.2f} GB in {folder}"
            print_plain(console, line)
            return stack.enter_context(progress("encoding photos", missing, console))

        features = cached_features(frozen, photos, device, begin=begin, digests=digests, load=load)
    if features.repaired:
        print_plain(
            console,
            f"the feature cache {cache.folder} had {features.repaired:,} damaged rows: they were encoded anew",
        )
    refuse_if_too_many_unreadable(features.problems, len(photos))
    for problem in dict.fromkeys(features.problems):
        print_plain(console, f"left out: {problem}")
    return features
