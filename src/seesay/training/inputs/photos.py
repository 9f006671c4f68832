"""Photos for training: their features, kept once for all, or the files, read anew where features would not last."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
from seesay.data.records import CaptionRecord
from seesay.errors import printable
from seesay.geometry import WHOLE, Box
from seesay.models.encoder import Encoder
from seesay.models.frozen import FrozenPart
from seesay.progress import counted, progress
from seesay.training.inputs.features import cached_features, feature_cache

AHEAD = 2  # batches that are decoded while one is learnt from


@dataclass(frozen=True)
class PhotoFiles:
    """The photos of a split, numbered as its records are.

    Attributes:
        records: all of them readable.
        transform: photo -> what the encoder reads.
        augment: what happens to a photo before that, None for nothing.
        seed: of the augmentation, which depends on it, the epoch and the name of the photo's file alone: so a photo's
            variants are the same whatever other photos there are.
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
        """Of each photo its file."""
        return [record.image for record in self.records]

    def image(self, photo: int, epoch: int = 0) -> np.ndarray:
        """(3, size, size) float32, normalised. Raises PhotoError."""
        record = self.records[photo]
        if self.augment is None:
            return self.transform(record.image)
        random, mirror = self._chance(photo, epoch)
        return self.transform(self.augment(open_photo(record.image), random, mirror))

    def crop(self, photo: int, epoch: int = 0) -> Box:
        """The part of the photo that `image` shows, in fractions, left > right if mirrored. Raises PhotoError."""
        if self.augment is None:
            return WHOLE
        size = _upright_size(self.records[photo].image)
        return self.augment.draw(size, *self._chance(photo, epoch)).crop

    def _chance(self, photo: int, epoch: int) -> tuple[np.random.Generator, bool]:
        """Where a variant's chance comes from, and whether it may be mirrored."""
        record = self.records[photo]
        name = zlib.crc32(os.fsencode(record.image.name))
        return np.random.default_rng([self.seed, epoch, name]), may_be_mirrored(record.captions)

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


def _upright_size(photo: Path) -> tuple[int, int]:
    """(width, height) in pixels of a readable photo as its EXIF orientation shows it, from the file's header."""
    with Image.open(photo) as image:
        turned = image.getexif().get(0x0112, 1) >= 5  # tag Orientation: 5 to 8 exchange rows and columns
        return (image.height, image.width) if turned else image.size


def _images(decoding: list[Future[np.ndarray]]) -> np.ndarray:
    return np.stack([future.result() for future in decoding])


@dataclass(frozen=True)
class Photos:
    """Records of a split whose photos were readable, with their features; or the photos, where those would not last.

    Attributes:
        records: in the order of the features.
        features: of the photos, or the files.
        variants: the files where features are of augmented variants: which part of a photo each shows.
    """

    records: list[CaptionRecord]
    features: PhotoFeatures | PhotoFiles
    variants: PhotoFiles | None = None

    def crop(self, photo: int, epoch: int) -> Box:
        """The part of a photo that is seen in an epoch, in fractions, with left > right where it is mirrored."""
        if isinstance(self.features, PhotoFiles):
            return self.features.crop(photo, epoch)
        if self.variants is None:
            return WHOLE
        return self.variants.crop(photo, int(self.features.view(photo, epoch)))


class View(NamedTuple):
    """One of the variants of a photo that are kept."""

    photo: int
    number: int
    record: CaptionRecord

    def __str__(self) -> str:
        return str(self.record.image)


def see_photos(
    recipe: Recipe,
    encoder: Encoder,
    frozen: FrozenPart | None,
    training: list[CaptionRecord],
    dev: list[CaptionRecord],
    device: torch.device,
    console: Console,
) -> tuple[Photos, Photos]:
    """Both splits as they will be read: features are kept where the frozen part would see the same every time.

    Args:
        frozen: of the encoder; None where all of it is trained.

    Raises:
        DataError: more than a tenth of the photos cannot be read, or the disk has no room for the features.
    """
    encoder.to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def files(records: list[CaptionRecord]) -> PhotoFiles:
        augment = Augmentation() if recipe.images.augment else None
        return PhotoFiles(records, encoder.transform, augment, recipe.seed)

    if frozen is None:
        readable, readable_dev = readable_photos([training, dev], console)
        return Photos(readable, files(readable)), Photos(readable_dev, PhotoFiles(readable_dev, encoder.transform))
    if recipe.images.augment:
        (seen_dev,) = encode_photos(frozen, [dev], device, console)
        if recipe.images.views is not None:
            return encode_views(frozen, training, recipe, device, console), seen_dev
        (readable,) = readable_photos([training], console)
        return Photos(readable, files(readable)), seen_dev
    seen, seen_dev = encode_photos(frozen, [training, dev], device, console)
    return seen, seen_dev


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
    frozen: FrozenPart, splits: Sequence[list[CaptionRecord]], device: torch.device, console: Console
) -> list[Photos]:
    """Features of every split; photos that cannot be read are left out, if they are few.

    Raises:
        DataError: more than a tenth of the photos cannot be read, or the disk has no room.
    """
    photos = [record.image for records in splits for record in records]
    features = _encode(frozen, photos, digest_photos(photos), None, device, console)
    result, start = [], 0
    for records in splits:
        place = features.place[start : start + len(records)]
        kept = [record for record, row in zip(records, place, strict=True) if row >= 0]
        result.append(Photos(kept, PhotoFeatures(features.rows, place[place >= 0], features.grid, ())))
        start += len(records)
    return result


def encode_views(
    frozen: FrozenPart, records: list[CaptionRecord], recipe: Recipe, device: torch.device, console: Console
) -> Photos:
    """Features of `images.views` variants of every photo, those that epochs 0, 1, ... would see without the cache.

    Raises:
        DataError: as of `encode_photos`.
    """
    number = recipe.images.views or 1
    files = PhotoFiles(records, frozen.encoder.transform, Augmentation(), recipe.seed)
    views = [View(i, view, record) for view in range(number) for i, record in enumerate(records)]
    digests = [
        _digest_of(view, digest, files) for view, digest in zip(views, digest_photos(files.paths) * number, strict=True)
    ]
    features = _encode(frozen, views, digests, lambda view: files.image(view.photo, view.number), device, console)
    place = features.place.reshape(number, len(records)).T
    kept = np.flatnonzero((place >= 0).all(axis=1))
    readable = [records[i] for i in kept]
    seen = PhotoFeatures(features.rows, place[kept], features.grid, ())
    return Photos(readable, seen, replace(files, records=readable))


def _digest_of(view: View, photo: bytes, files: PhotoFiles) -> bytes:
    """What a variant depends on: the photo, how it is changed, by what chance, and whether it may be mirrored."""
    mirror = may_be_mirrored(view.record.captions)
    what = repr((photo, files.augment, files.seed, view.number, view.record.image.name, mirror))
    return hashlib.blake2b(what.encode(), digest_size=len(photo)).digest()


def _encode(
    frozen: FrozenPart,
    photos: Sequence[T],
    digests: Sequence[bytes],
    load: Callable[[T], np.ndarray] | None,
    device: torch.device,
    console: Console,
) -> PhotoFeatures:
    """Features of photos or of variants of them, with what is to be known said beforehand."""
    cache = feature_cache(frozen)
    missing = len(cache.missing(digests))
    if missing:
        size = missing * cache.row_bytes / 1e9
        where = printable(cache.folder)
        said = f"encoding {missing:,} photos once; their features take {size:.2f} GB in {where}"
        console.print(said, markup=False, soft_wrap=True)
    with progress("encoding photos", missing, console) as advance:
        features = cached_features(frozen, photos, device, advance=advance, digests=digests, load=load)
    if features.repaired:
        console.print(
            f"the feature cache {cache.folder} had {features.repaired:,} damaged rows: they were encoded anew",
            soft_wrap=True,
            highlight=False,
        )
    refuse_if_too_many_unreadable(features.problems, len(photos))
    for problem in dict.fromkeys(features.problems):
        console.print(f"left out: {problem}", highlight=False, markup=False, soft_wrap=True)
    return features
