"""The plan of a conversion: a unique name for every photo, and which photos share a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from seesay.data.images import photo_bytes, photo_suffixes
from seesay.data.readers.folder import UNSPLIT
from seesay.data.records import CaptionRecord
from seesay.errors import DataError, PhotoError
from seesay.writing import SCRATCH


@dataclass(frozen=True)
class Photo:
    """A photo to be written.

    Attributes:
        record: the photo's captions, split and boxes.
        name: a unique file name with the suffix of its format.
        size: bytes.
    """

    record: CaptionRecord
    name: str
    size: int

    def read(self) -> bytes:
        """The bytes of its file. Raises DataError if it cannot be read."""
        try:
            return photo_bytes(self.record.image)
        except PhotoError as error:
            raise DataError(str(error)) from None


@dataclass(frozen=True)
class Job:
    """A data set to be written.

    Attributes:
        photos: all of them, in the order of the records.
        out: the folder.
        shard_bytes: the approximate bytes of photos that share a file.
    """

    photos: Sequence[Photo]
    out: Path
    shard_bytes: int

    def parts(self, dev: str) -> Iterator[tuple[str, list[Photo]]]:
        """(part, its photos) for each split with photos; `dev` is the format's name for dev."""
        for split, part in (("train", "train"), ("dev", dev), ("test", "test"), ("", UNSPLIT)):
            if photos := [photo for photo in self.photos if photo.record.split == split]:
                yield part, photos

    def shards(self, photos: Sequence[Photo]) -> list[list[Photo]]:
        """The photos in groups of at most `shard_bytes`, each with at least one photo."""
        shards: list[list[Photo]] = [[]]
        size = 0
        for photo in photos:
            if shards[-1] and size + photo.size > self.shard_bytes:
                shards.append([])
                size = 0
            shards[-1].append(photo)
            size += photo.size
        return shards


def plan_job(records: Sequence[CaptionRecord], out: Path, shard_bytes: int) -> Job:
    """A job for these records.

    Raises:
        DataError: a photo's file does not exist.
    """
    # some file systems ignore case
    uses = Counter(record.image.name.casefold() for record in records)
    taken: set[str] = set()
    photos = []
    for record in records:
        name = record.image.name if uses[record.image.name.casefold()] == 1 else f"{record.id}{record.image.suffix}"
        try:
            name, size = _file_name(name, record.image), record.image.stat().st_size
        except OSError as error:
            raise DataError(f"{record.image}: cannot be read ({error.strerror})") from None
        stem, dot, suffix = name.rpartition(".")
        number = 2
        while name.casefold() in taken:
            name, number = f"{stem}-{number}{dot}{suffix}", number + 1
        taken.add(name.casefold())
        photos.append(Photo(record, name, size))
    return Job(photos, out, shard_bytes)


def copy(photo: Photo, target: Path) -> None:
    """Copy a photo's file unless it exists already; the target is complete or missing.

    Raises:
        DataError: it cannot be read, or the target not written.
    """
    if target.is_file() and target.stat().st_size == photo.size:
        return
    scratch = target.with_name(f"{SCRATCH}{target.name}")
    data = photo.read()
    try:
        scratch.write_bytes(data)
        scratch.replace(target)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise DataError(f"{target}: cannot be written ({error.strerror})") from None


def _file_name(name: str, image: Path) -> str:
    """A file name without dots except the one before the suffix.

    WebDataset takes everything after the first dot for the suffix.
    """
    stem, dot, suffix = name.replace("/", "_").replace("\\", "_").rpartition(".")
    if not dot or f".{suffix}".lower() not in photo_suffixes():
        stem, suffix = name.replace("/", "_"), _format_of(image)
    return f"{stem.lstrip('.').replace('.', '_') or 'photo'}.{suffix}"


def _format_of(image: Path) -> str:
    """The usual suffix of a photo's format, without the dot."""
    try:
        with Image.open(image) as opened:
            known = (opened.format or "").lower()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        known = ""
    return {"jpeg": "jpg", "tiff": "tif"}.get(known, known) if f".{known}" in photo_suffixes() else "jpg"
