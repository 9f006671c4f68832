"""The feature cache: features of photos from a frozen encoder, computed once.

Each combination of encoder, weights and preprocessing has a folder. A row is found by the content
of its photo's file, whatever the data set, path or split is; damaged rows are encoded anew. Several
processes fill a cache together, and others read from it (as memory maps) meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from filelock import FileLock, Timeout

from seesay.data.cache_folder import cache_folder
from seesay.data.feature_rows import DIGEST_BYTES, FeatureRows, writing
from seesay.data.images import photo_bytes
from seesay.data.packed import PhotoInTar
from seesay.data.records import Problem
from seesay.errors import DataError, PhotoError

PART = 8  # batches that a process takes at once
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
        return self._rows.row_bytes

    def missing(self, digests: Sequence[bytes]) -> list[int]:
        """The first index of each digest that has no row yet."""
        self._rows.refresh(anew=True)
        return [first for digest, first in _firsts(digests).items() if digest not in self._rows.known]

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
        self._rows.mend()
        damaged = self._rows.damaged(set(digests))
        self._rows.forget(damaged)
        failures: dict[bytes, str] = {}
        while True:
            self._fill(photos, digests, load, encode, batch_size, begin, failures)
            self._rows.refresh(anew=True)
            row_of = {digest: row for row, digest in enumerate(self._rows.digests)}
            if all(digest in row_of or digest in failures for digest in digests):
                break  # else another process found a row damaged that was there
        row_numbers = np.array([row_of.get(digest, -1) for digest in digests], dtype=np.int64)
        problems = tuple(
            Problem("error", str(photo), failures[digest])
            for photo, digest, row in zip(photos, digests, row_numbers, strict=True)
            if row < 0
        )
        return PhotoFeatures(self._rows.rows(len(self._rows.digests)), row_numbers, self.grid, problems, len(damaged))

    def _fill(
        self,
        photos: Sequence[T],
        digests: Sequence[bytes],
        load: Callable[[T], np.ndarray],
        encode: Encode,
        batch_size: int,
        begin: Begin | None,
        failures: dict[bytes, str],
    ) -> None:
        """Encode what has no row, together with all processes that do the same; notes failures by digest.

        Photos are divided into parts, in the same way by all, and a process takes those that no
        other one works on. Parts of a process that is killed are taken by the others in the end.
        """
        firsts = _firsts(digests)
        self._rows.refresh(anew=True)
        pending = {digest for digest in firsts if digest not in self._rows.known and digest not in failures}
        self._refuse_if_full(len(pending))
        if not pending:
            return
        advance = begin(len(pending)) if begin else lambda done: None
        seen = 0  # rows

        def advance_by(done: Iterable[bytes] = ()) -> None:
            nonlocal seen
            self._rows.refresh()
            before, found = len(pending), self._rows.digests[min(seen, len(self._rows.digests)) :]
            pending.difference_update(found, done)
            seen = len(self._rows.digests)
            if len(pending) < before:
                advance(before - len(pending))

        size = PART * batch_size * 2 ** int(math.log2(len(firsts) / len(pending)))  # a part has some batches
        parts = [*_batches(list(firsts), size)]
        for wait in (False, True):
            for part in parts:
                if pending.isdisjoint(part):
                    continue
                with self._claim(part[0].hex(), wait) as ours:
                    advance_by()
                    todo = [digest for digest in part if digest in pending] if ours else []
                    for batch in _batches(todo, batch_size):
                        failures |= self._append([photos[firsts[digest]] for digest in batch], batch, load, encode)
                        advance_by(batch)

    @contextmanager
    def _claim(self, name: str, wait: bool) -> Iterator[bool]:
        """Whether the part is this process' within the block; with `wait`, after others have ended theirs."""
        file = self.folder / f"{name}.part"
        with writing(file):
            try:
                held = FileLock(file).acquire(timeout=-1 if wait else 0)
            except Timeout:
                yield False
                return
        with held:
            try:
                yield True
            finally:
                with suppress(OSError):  # Windows removes no open file
                    file.unlink()

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
                    f"(of {photos[0]} or another photo near it); give other encoder.weights or another "
                    "encoder.layer, or leave encoder.finer out"
                )
            self._rows.append([digest for digest, _ in loaded], rows)
        return failures

    @cached_property
    def _rows(self) -> FeatureRows:
        return FeatureRows(self.folder, (self.grid[0] * self.grid[1], self.depth))

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


def _firsts(digests: Sequence[bytes]) -> dict[bytes, int]:
    """The first index of each digest."""
    firsts: dict[bytes, int] = {}
    for number, digest in enumerate(digests):
        firsts.setdefault(digest, number)
    return firsts


def _attempt(load: Callable[[T], np.ndarray]) -> Callable[[T], np.ndarray | PhotoError]:
    def attempt(photo: T) -> np.ndarray | PhotoError:
        try:
            return load(photo)
        except PhotoError as error:
            return error

    return attempt


def _batches(items: list[bytes], size: int) -> Iterator[list[bytes]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
