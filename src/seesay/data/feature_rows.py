"""The files of a feature cache: rows that several processes append and that any process maps.

`rows.f16` has the features, row after row, `rows.index` 16 bytes a row that name its photo, and
`rows.crc` 4 bytes a row, the checksum of both. They are written in the order rows, checksums, index,
each time by the only process that holds the lock: a kill leaves an incomplete tail at most, which
the next one that writes drops.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock

from seesay.errors import DataError

DIGEST_BYTES = 16
SUM = np.dtype("<u4")


class FeatureRows:
    """Rows of features, each with the digest of its photo.

    Args:
        folder: need not exist.
        shape: (P, D) of a row.

    Attributes:
        digests: those of all rows in order, as of the last `refresh`.
        known: the same as a set.
    """

    def __init__(self, folder: Path, shape: tuple[int, int]) -> None:
        self.folder, self.shape = folder, shape
        self.digests: list[bytes] = []
        self.known: set[bytes] = set()

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.shape[0] * self.shape[1] * 2

    def index(self) -> list[bytes]:
        """The digest of each row."""
        return _digests(self._index_file.read_bytes() if self._index_file.exists() else b"")

    def mend(self) -> None:
        """Make the folder, or drop what a killed process left incomplete, and add checksums to rows without one.

        Raises:
            DataError: the folder cannot be written to.
        """
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._add_missing_sums()

    def rows(self, count: int) -> np.ndarray:
        """(count, P, D) float16, on disk."""
        shape = (count, *self.shape)
        return np.memmap(self._rows_file, np.float16, "r", shape=shape) if count else np.zeros(shape, np.float16)

    def refresh(self, anew: bool = False) -> None:
        """Read the digests of rows that were appended, by whatever process.

        Args:
            anew: read those of all rows, as some may have been forgotten.
        """
        if anew or _size(self._index_file) < len(self.digests) * DIGEST_BYTES:
            self.digests, self.known = [], set()
        if self._index_file.exists():
            with self._index_file.open("rb") as file:
                file.seek(len(self.digests) * DIGEST_BYTES)
                new = _digests(file.read())
            self.digests += new
            self.known.update(new)

    def append(self, digests: Sequence[bytes], rows: np.ndarray) -> None:
        """Append rows, except those of photos that have one already.

        Args:
            digests: of the photos.
            rows: (photos, P, D) float16.

        Raises:
            DataError: the files cannot be written.
        """
        with self._locked():
            self.refresh()
            new = [number for number, digest in enumerate(digests) if digest not in self.known]
            if not new:
                return
            sums = [_checksum(digests[number], rows[number]) for number in new]
            _write_through(self._rows_file, rows[new].tobytes())
            _write_through(self._sums_file, np.array(sums, SUM).tobytes())
            _write_through(self._index_file, b"".join(digests[number] for number in new))

    def damaged(self, wanted: set[bytes]) -> list[int]:
        """Numbers of the rows of these digests whose checksum is wrong."""
        index = self.index()
        numbers = [number for number, digest in enumerate(index) if digest in wanted]
        if not numbers:
            return []
        rows, sums = self.rows(len(index)), np.fromfile(self._sums_file, SUM)

        def damaged(number: int) -> bool:
            return _checksum(index[number], rows[number]) != sums[number]

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return [number for number, wrong in zip(numbers, pool.map(damaged, numbers), strict=True) if wrong]

    def forget(self, rows: Sequence[int]) -> None:
        """Drop rows by overwriting their digests with zeros, which no photo has."""
        if rows:
            with self._locked(), writing(self._index_file), self._index_file.open("r+b") as file:
                for row in rows:
                    file.seek(row * DIGEST_BYTES)
                    file.write(bytes(DIGEST_BYTES))

    @property
    def _rows_file(self) -> Path:
        return self.folder / "rows.f16"

    @property
    def _index_file(self) -> Path:
        return self.folder / "rows.index"

    @property
    def _sums_file(self) -> Path:
        return self.folder / "rows.crc"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with writing(self.folder):
            lock = FileLock(self.folder / "lock").acquire()
        with lock:
            self._drop_torn_tail()
            yield

    def _drop_torn_tail(self) -> None:
        """After a kill in the middle of a write, keep the rows that are complete in all files."""
        files = {self._index_file: DIGEST_BYTES, self._rows_file: self.row_bytes, self._sums_file: SUM.itemsize}
        if not (self._index_file.exists() and self._rows_file.exists()):
            for file in files:
                file.unlink(missing_ok=True)
            return
        whole = min(_size(file) // files[file] for file in (self._index_file, self._rows_file))
        for file, width in files.items():
            if _size(file) > whole * width:
                os.truncate(file, whole * width)

    def _add_missing_sums(self) -> None:
        """Add checksums to rows that lack one, as in older caches, which are trusted."""
        index = self.index()
        count = _size(self._sums_file) // SUM.itemsize
        if count < len(index):
            rows = self.rows(len(index))
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                sums = list(pool.map(_checksum, index[count:], rows[count:]))
            if count:
                os.truncate(self._sums_file, count * SUM.itemsize)  # drop an incomplete one
            _write_through(self._sums_file, np.array(sums, SUM).tobytes())


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error of the system into one that names the cache.

    Raises:
        DataError: instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise DataError(
            f"feature cache {path}: cannot be written ({error.strerror}); set SEESAY_CACHE to a folder that can be"
        ) from None


def _digests(index: bytes) -> list[bytes]:
    return [index[i : i + DIGEST_BYTES] for i in range(0, len(index) - DIGEST_BYTES + 1, DIGEST_BYTES)]


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _checksum(digest: bytes, row: np.ndarray) -> int:
    return zlib.crc32(row.tobytes(), zlib.crc32(digest))


def _write_through(path: Path, data: bytes) -> None:
    with writing(path), path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
