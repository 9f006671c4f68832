"""Parquet files that list photos or hold them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from seesay.data.sources.columns import ManifestColumns
from seesay.data.sources.lists import photo_of_row
from seesay.data.sources.photo import ListedPhoto, unreadable
from seesay.data.sources.remote import fetching, is_address, open_file
from seesay.errors import DataError, PhotoError, first_line, require, shown

NAMES_AT_ONCE = 1024  # rows read at once if they hold paths
PHOTOS_AT_ONCE = 16  # rows read at once if they hold photos
KEPT = 8  # batches that stay in memory, as threads ask for neighbouring rows in any order
BUFFER = 2**20  # bytes of a column that pyarrow reads at once, instead of a whole row group


def photos_in_table(file: str, label: str, wanted: ManifestColumns) -> Iterator[ListedPhoto]:
    """The photos that a Parquet file lists by path, or holds as bytes.

    Args:
        file: the table's path or address.
        label: the table's name, for ids where there is no id column.
        wanted: the columns that the user named.

    Raises:
        MissingExtraError: pyarrow is not installed.
        DataError: no column holds photos.
    """
    require("pyarrow.parquet", "parquet", f"{file}: reading Parquet")
    try:
        with _open(file) as table:
            columns = wanted.among(table.schema_arrow.names, file)
            if _holds_photos(table, columns):
                yield from _held(table, file, label, columns)
            else:
                yield from _named(table, file, columns)
    except DataError:
        raise
    except OSError as error:
        yield unreadable(label, file, f"cannot be read ({error.strerror or first_line(error)})")
    except Exception as error:  # pyarrow raises a dozen kinds on damage
        yield unreadable(label, file, f"damaged, or no Parquet ({first_line(error)})")


def rows_in_table(file: str) -> int | None:
    """The number of rows, or None if the file cannot be read."""
    try:
        with _open(file) as table:
            return table.metadata.num_rows
    except Exception:
        return None


@contextmanager
def _open(file: str, **options: Any) -> Iterator[Any]:
    """pyarrow's reader of a table at a path or an address."""
    parquet = require("pyarrow.parquet", "parquet", f"{file}: reading Parquet")
    if not is_address(file):
        with parquet.ParquetFile(file, **options) as table:
            yield table
        return
    with open_file(file) as opened, parquet.ParquetFile(opened, **options) as table:
        yield table


def _holds_photos(table: Any, columns: ManifestColumns) -> bool:
    kind = str(table.schema_arrow.field(columns.image).type)
    return kind.startswith(("struct", "binary", "large_binary"))


def _named(table: Any, file: str, columns: ManifestColumns) -> Iterator[ListedPhoto]:
    number = 0
    names = [name for name in (columns.image, columns.id) if name]
    for batch in table.iter_batches(NAMES_AT_ONCE, columns=names):
        for row in batch.to_pylist():
            number += 1
            yield photo_of_row(row, columns, file, f"{file}:{number}")


def _held(table: Any, file: str, label: str, columns: ManifestColumns) -> Iterator[ListedPhoto]:
    for group in range(table.metadata.num_row_groups):
        first = sum(table.metadata.row_group(earlier).num_rows for earlier in range(group))
        for row, id_ in enumerate(_ids(table, group, columns.id)):
            own = f"{label}/{first + row:08}" if id_ is None else str(id_)
            image = f"{file}/{own}" if columns.id else f"{file}/{first + row:08}"
            if columns.id and (id_ is None or id_ == ""):
                yield unreadable(f"{label}/{first + row:08}", image, f"{columns.id}: got {shown(id_)}, expected an id")
                continue
            cell = ParquetPhoto(image, file, str(columns.image), group, row)
            yield ListedPhoto(own, image, cell, own_id=columns.id is not None)


def _ids(table: Any, group: int, column: str | None) -> Iterator[Any]:
    if column is None:
        yield from [None] * table.metadata.row_group(group).num_rows
        return
    for batch in table.iter_batches(NAMES_AT_ONCE, row_groups=[group], columns=[column]):
        yield from batch.column(0).to_pylist()


@dataclass(frozen=True, slots=True)
class ParquetPhoto:
    """A photo whose bytes are in a Parquet file.

    Attributes:
        name: the photo's name in messages.
        table: the file's path or address.
        column: the column that holds bytes, or objects with a field `bytes`.
        group, row: the row group, and the row in it.
    """

    name: str
    table: str
    column: str
    group: int
    row: int

    def read(self, size: int = -1) -> bytes:
        """The photo's bytes. Raises PhotoError if the file cannot be read or has no photo there."""
        with fetching(self.name):
            value = _reader(self.table, self.column, self.group).value(self.row)
        value = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(value, bytes):
            raise PhotoError(f"{self.column}: got {shown(value)}, expected the bytes of a photo", self.name)
        return value


class _GroupReader:
    """Reads the photos of one row group from front to back, and keeps the last few batches.

    If rows are requested in roughly ascending order, the group is read once.
    """

    def __init__(self, table: str, column: str, group: int) -> None:
        self._where = table, column, group
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, list[Any]] = OrderedDict()
        self._batches: Iterator[Any] | None = None
        self._next = 0
        self._file = ExitStack()

    def value(self, row: int) -> Any:
        """The column's value in a row. Raises IndexError if the group has fewer rows."""
        wanted, place = divmod(row, PHOTOS_AT_ONCE)
        with self._lock:
            if wanted not in self._kept and wanted < self._next:
                self._batches = None  # read the group again from its start
            while wanted not in self._kept:
                batch = next(self._opened(), None)
                if batch is None:
                    raise IndexError("the table was changed")
                self._kept[self._next] = batch.column(0).to_pylist()
                self._next += 1
                if len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            return self._kept[wanted][place]

    def _opened(self) -> Iterator[Any]:
        if self._batches is None:
            table, column, group = self._where
            self._file.close()
            file = self._file.enter_context(_open(table, buffer_size=BUFFER, pre_buffer=False))
            self._batches = file.iter_batches(PHOTOS_AT_ONCE, row_groups=[group], columns=[column], use_threads=False)
            self._next = 0
        assert self._batches is not None
        return self._batches

    def close(self) -> None:
        """Close the file. The next `value` opens it again."""
        with self._lock:
            self._file.close()
            self._batches = None


_readers: OrderedDict[tuple[str, str, int], _GroupReader] = OrderedDict()
_opening = threading.Lock()


def _reader(table: str, column: str, group: int) -> _GroupReader:
    """The reader of a row group. Two are kept, as threads read at most two groups at a time."""
    with _opening:
        key = (table, column, group)
        if key not in _readers:
            _readers[key] = _GroupReader(table, column, group)
        _readers.move_to_end(key)
        while len(_readers) > 2:
            _readers.popitem(last=False)[1].close()
        return _readers[key]
