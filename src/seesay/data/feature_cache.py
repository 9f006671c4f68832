"""The feature cache: features of photos from a frozen encoder, computed once.

Each combination of encoder, weights and preprocessing has a folder with three append-only files:
`rows.f16` (the features, photo after photo), `rows.index` (16 bytes a row: the digest of the photo
file's content) and `rows.crc` (4 bytes a row: the checksum of both). So a photo is found whatever
its data set, path or split is; damaged rows are encoded anew; a killed run leaves a valid prefix;
and files can be read (as memory maps) while a single writer, which holds a lock, appends to them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from filelock import FileLock

from seesay.data.cache_folder import cache_folder
from seesay.data.images import photo_bytes
from seesay.data.packed import PhotoInTar
from seesay.data.records import Problem
from seesay.errors import DataError, PhotoError

DIGEST_BYTES = 16
SUM = np.dtype("<u4")
T = TypeVar("T")  # names a photo
Encode = Callable[[np.ndarray], np.ndarray]
Begin = Callable[[int], Callable[[int], None]]


def photo_digest(photo: Path) -> bytes:
    """16 bytes that identify the content of a photo's file, or its path if it cannot be read."""
    try:
        if isinstance(photo, PhotoInTar):
            return _digest_of_file(photo, photo.member.size, photo.member.start)
        about = photo.stat()
        return _digest_of_file(photo, about.st_size, about.st_mtime_ns)
    except (OSError, PhotoError):
        return hashlib.blake2b(os.fsencode(photo), digest_size=DIGEST_BYTES, person=b"unreadable").digest()


@lru_cache(maxsize=2**18)  # a run needs it several times: for data, features and teachers
def _digest_of_file(photo: Path, size: int, modified: int) -> bytes:
    return hashlib.blake2b(photo_bytes(photo), digest_size=DIGEST_BYTES).digest()


@dataclass(frozen=True)
class PhotoFeatures:
    """Features of a list of photos, on disk.

    Attributes:
        rows: (N, P, D) float16 memory map of the whole cache.
        row_numbers: (photos,) the row of each photo, -1 if it could not be read; (photos, views) if
            several variants of each photo are cached.
        grid: (rows, cols) of the regions, P = rows * cols.
        problems: one for each photo that could not be read.
        repaired: how many damaged rows were encoded anew.
    """

    rows: np.ndarray
    row_numbers: np.ndarray
    grid: tuple[int, int]
    problems: tuple[Problem, ...]
    repaired: int = 0

    @property
    def readable(self) -> np.ndarray:
        """(photos,) bool."""
        return np.asarray((self._views >= 0).all(axis=1))

    @property
    def _views(self) -> np.ndarray:
        return self.row_numbers if self.row_numbers.ndim == 2 else self.row_numbers[:, None]

    def take(self, photos: np.ndarray, epoch: int = 0) -> np.ndarray:
        """(B, P, D) float16 features of the photos with these indices, all of them readable.

        If there are several variants, they are used in turn, epoch by epoch, and photos begin with
        different ones.
        """
        return self.rows[self._views[photos, self.view(photos, epoch)]]

    def view(self, photos: Any, epoch: int) -> Any:
        """The variant that `take` returns for each photo (an index, or an array of indices)."""
        return (photos + epoch) % self._views.shape[1]


@dataclass
class FeatureCache:
    """Features of one encoder with its weights and preprocessing.

    Attributes:
        identity: everything besides the photo that the features depend on; hashed into the folder's
            name.
        grid: (rows, cols) of the encoder's regions.
        depth: D, features per region.
        root: the folder of all caches; default `cache_folder() / "features"`.
    """

    identity: dict[str, Any]
    grid: tuple[int, int]
    depth: int
    root: Path | None = None
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        text = json.dumps({**self.identity, "grid": self.grid, "depth": self.depth}, sort_keys=True)
        root = self.root or cache_folder() / "features"
        self.folder = root / hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def row_bytes(self) -> int:
        """Bytes on disk of one photo's features."""
        return self.grid[0] * self.grid[1] * self.depth * 2

    def missing(self, digests: Sequence[bytes]) -> list[int]:
        """The first index of each digest that has no row yet."""
        known = set(self._index())
        first = {digest: i for i, digest in reversed(list(enumerate(digests))) if digest not in known}
        return sorted(first.values())

    def get(
        self,
        photos: Sequence[T],
        load: Callable[[T], np.ndarray],
        encode: Encode,
        batch_size: int = 32,
        begin: Begin | None = None,
        digests: Sequence[bytes] | None = None,
    ) -> PhotoFeatures:
        """The features of photos; missing and damaged ones are encoded and added.

        Args:
            photos: files; or, with `digests`, anything that `load` takes and whose text names the
                file.
            load: photo -> one item of the input of `encode`; raises PhotoError.
            encode: (B, ...) -> (B, P, D).
            batch_size: photos per call of `encode`.
            begin: called with the number of photos to encode, unless there are none; returns a
                function that is called with the number of photos in each batch after it is done.
            digests: the photos' digests, if they are known already.

        Raises:
            DataError: the disk is full or not writable, or the encoder gives numbers that are not
                finite.
        """
        digests = list(digests) if digests is not None else digest_photos(photos)
        with _writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            # a second process waits here, then finds the rows written
            lock = FileLock(self.folder / "lock").acquire()
        failures: dict[bytes, str] = {}
        with lock:
            self._drop_torn_tail()
            self._add_missing_sums()
            damaged = self._damaged(set(digests))
            self._forget(damaged)
            todo = self.missing(digests)
            self._refuse_if_full(len(todo))
            advance = begin(len(todo)) if begin and todo else None
            for batch in _batches(todo, batch_size):
                some, known = [photos[i] for i in batch], [digests[i] for i in batch]
                failures |= self._append(some, known, load, encode)
                if advance is not None:
                    advance(len(batch))
        index = self._index()
        row_of = {digest: row for row, digest in enumerate(index)}
        row_numbers = np.array([row_of.get(digest, -1) for digest in digests], dtype=np.int64)
        problems = tuple(
            Problem("error", str(photo), failures[digest])
            for photo, digest, row in zip(photos, digests, row_numbers, strict=True)
            if row < 0
        )
        return PhotoFeatures(self._rows(len(index)), row_numbers, self.grid, problems, len(damaged))

    def _append(
        self, photos: list[T], digests: list[bytes], load: Callable[[T], np.ndarray], encode: Encode
    ) -> dict[bytes, str]:
        """Encode a batch and append its rows, the index last: an interruption is harmless."""
        loaded: list[tuple[bytes, np.ndarray]] = []
        failures: dict[bytes, str] = {}
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for digest, item in zip(digests, pool.map(_attempt(load), photos), strict=True):
                if isinstance(item, PhotoError):
                    failures[digest] = item.reason
                else:
                    loaded.append((digest, item))
        if loaded:
            with np.errstate(over="ignore"):
                rows = encode(np.stack([item for _, item in loaded])).astype(np.float16)
            expected = (len(loaded), self.grid[0] * self.grid[1], self.depth)
            assert rows.shape == expected, f"encode gave {rows.shape}, expected {expected}"
            if not np.isfinite(rows).all():
                raise DataError(
                    f"feature cache {self.folder}: the encoder gives numbers that are not finite in half precision "
                    f"(of {photos[0]} or another photo near it); give other encoder.weights, or another encoder.layer"
                )
            _write_through(self._rows_file, rows.tobytes())
            sums = [_checksum(digest, row) for (digest, _), row in zip(loaded, rows, strict=True)]
            _write_through(self._sums_file, np.array(sums, SUM).tobytes())
            _write_through(self._index_file, b"".join(digest for digest, _ in loaded))
        return failures

    @property
    def _rows_file(self) -> Path:
        return self.folder / "rows.f16"

    @property
    def _index_file(self) -> Path:
        return self.folder / "rows.index"

    @property
    def _sums_file(self) -> Path:
        return self.folder / "rows.crc"

    def _index(self) -> list[bytes]:
        if not self._index_file.exists():
            return []
        data = self._index_file.read_bytes()
        return [data[i : i + DIGEST_BYTES] for i in range(0, len(data) - DIGEST_BYTES + 1, DIGEST_BYTES)]

    def _drop_torn_tail(self) -> None:
        """After a kill in the middle of a write, keep the rows that are complete in both files."""
        if not (self._index_file.exists() and self._rows_file.exists()):
            self._index_file.unlink(missing_ok=True)
            self._rows_file.unlink(missing_ok=True)
            self._sums_file.unlink(missing_ok=True)
            return
        whole = min(len(self._index()), self._rows_file.stat().st_size // self.row_bytes)
        os.truncate(self._index_file, whole * DIGEST_BYTES)
        os.truncate(self._rows_file, whole * self.row_bytes)
        if self._sums_file.exists() and self._sums_file.stat().st_size > whole * SUM.itemsize:
            os.truncate(self._sums_file, whole * SUM.itemsize)

    def _add_missing_sums(self) -> None:
        """Add checksums to rows that lack one, as in older caches, which are trusted."""
        index = self._index()
        count = self._sums_file.stat().st_size // SUM.itemsize if self._sums_file.exists() else 0
        if count < len(index):
            rows = self._rows(len(index))
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                sums = list(pool.map(_checksum, index[count:], rows[count:]))
            if count:
                os.truncate(self._sums_file, count * SUM.itemsize)  # drop an incomplete one
            _write_through(self._sums_file, np.array(sums, SUM).tobytes())

    def _damaged(self, wanted: set[bytes]) -> list[int]:
        """Numbers of the rows of these digests whose checksum is wrong."""
        index = self._index()
        numbers = [number for number, digest in enumerate(index) if digest in wanted]
        if not numbers:
            return []
        rows, sums = self._rows(len(index)), np.fromfile(self._sums_file, SUM)

        def damaged(number: int) -> bool:
            return _checksum(index[number], rows[number]) != sums[number]

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return [number for number, wrong in zip(numbers, pool.map(damaged, numbers), strict=True) if wrong]

    def _forget(self, rows: Sequence[int]) -> None:
        """Drop rows by overwriting their digests with zeros, which no photo has."""
        if rows:
            with _writing(self._index_file), self._index_file.open("r+b") as file:
                for row in rows:
                    file.seek(row * DIGEST_BYTES)
                    file.write(bytes(DIGEST_BYTES))

    def _rows(self, count: int) -> np.ndarray:
        """(count, P, D) float16, on disk."""
        shape = (count, self.grid[0] * self.grid[1], self.depth)
        return np.memmap(self._rows_file, np.float16, "r", shape=shape) if count else np.zeros(shape, np.float16)

    def _refuse_if_full(self, photos: int) -> None:
        needed, free = photos * self.row_bytes, shutil.disk_usage(self.folder).free
        if needed > free:
            raise DataError(
                f"feature cache {self.folder}: {photos:,} photos need {needed / 1e9:.1f} GB and the disk has "
                f"{free / 1e9:.1f} GB free; set SEESAY_CACHE to a folder on a larger disk"
            )


def digest_photos(photos: Sequence[object]) -> list[bytes]:
    """Digest of each photo's content, read in threads; a photo's text names its file."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        paths = (photo if isinstance(photo, Path) else Path(str(photo)) for photo in photos)
        return list(pool.map(photo_digest, paths))


def _checksum(digest: bytes, row: np.ndarray) -> int:
    return zlib.crc32(row.tobytes(), zlib.crc32(digest))


def _attempt(load: Callable[[T], np.ndarray]) -> Callable[[T], np.ndarray | PhotoError]:
    def attempt(photo: T) -> np.ndarray | PhotoError:
        try:
            return load(photo)
        except PhotoError as error:
            return error

    return attempt


def _batches(items: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"feature cache {path}: cannot be written ({error.strerror}); set SEESAY_CACHE to a folder that can be"
        ) from None


def _write_through(path: Path, data: bytes) -> None:
    with _writing(path), path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
