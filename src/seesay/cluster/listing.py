"""The photos of a job on a cluster, written to files by a thread while they are being listed."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from queue import Queue
from typing import Any, NamedTuple, Self

from seesay.data.sources import ListedPhoto, place_of, places
from seesay.data.sources.remote import is_address
from seesay.data.sources.tables import ParquetPhoto
from seesay.data.sources.tars import TarMember
from seesay.errors import PhotoError, SeesayError, require
from seesay.outputs.writer import valid_text
from seesay.writing import written_whole

FILE_ROWS = 20_000  # photos in each file
FILE_SECONDS = 10.0  # after which a file is finished with fewer, so that captioning need not wait


class Listed(NamedTuple):
    """Files of the listing, and the number of photos in them."""

    files: list[Path]
    photos: int


class Listing:
    """Parquet files with number, id, path and place of each photo.

    A context manager: within the block a thread lists photos and writes the files, which are
    deleted at its end.

    Args:
        photos: what to list.
        folder: a new one; see `seesay.outputs.parquet.RUNS`.
        first: the number of the first photo.

    Attributes:
        total: the number of photos, or None while they are being listed.
    """

    def __init__(self, photos: Iterable[ListedPhoto], folder: Path, first: int = 0) -> None:
        self.photos, self.folder, self.first = photos, folder, first
        self.total: int | None = None
        self._written: Queue[tuple[Path, int] | None] = Queue()  # None at the end
        self._taken: list[tuple[Path, int] | None] = []
        self._error: BaseException | None = None
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        threading.Thread(target=self._list, name="seesay-listing", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()  # the thread may be waiting for a pipe: it is not waited for
        shutil.rmtree(self.folder.parent, ignore_errors=True)

    def any(self) -> bool:
        """Wait until photos are listed; returns False if there are none.

        Raises:
            SeesayError: whatever ended the listing before there were any.
        """
        self._taken.append(self._written.get())
        if self._taken == [None] and self._error:
            raise self._error
        return self._taken != [None]

    def parts(self) -> Iterator[Listed]:
        """What was listed since the last time, again and again until everything is; waits where nothing was.

        Raises:
            SeesayError: whatever ended the listing, after all photos that were listed before it.
        """
        more = True
        while more:
            new = self._taken or [self._written.get()]
            self._taken = []
            while not self._written.empty():
                new.append(self._written.get())
            files = [file for file in new if file is not None]
            more = len(files) == len(new)
            if files:
                yield Listed([path for path, _ in files], sum(rows for _, rows in files))
        if self._error:
            raise self._error

    def _list(self) -> None:
        kinds, listed = places(), 0
        rows: list[dict[str, Any]] = []
        started = time.monotonic()
        try:
            for photo in self.photos:
                if self._ended.is_set():
                    return
                rows.append({"number": self.first + listed, **_row(photo, kinds)})
                listed += 1
                if len(rows) >= FILE_ROWS or time.monotonic() - started > FILE_SECONDS:
                    self._write(rows)
                    rows, started = [], time.monotonic()
        except BaseException as error:  # raised by `parts`
            self._error = error
        try:
            if rows:
                self._write(rows)
        except BaseException as error:
            self._error = self._error or error
        self.total = listed
        self._written.put(None)

    def _write(self, rows: list[dict[str, Any]]) -> None:
        arrow, parquet = (require(name, "cluster", "--cluster") for name in ("pyarrow", "pyarrow.parquet"))
        texts = [(name, arrow.string()) for name in ("id", "path", "place")]
        schema = arrow.schema([("number", arrow.int64()), *texts])
        file = self.folder / f"{rows[0]['number']:012}.parquet"
        with written_whole(file) as scratch:
            parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), scratch)
        self._written.put((file, len(rows)))


def _row(photo: ListedPhoto, kinds: Mapping[str, type]) -> dict[str, str]:
    """Raises SeesayError: the photo can be opened by this process only, such as one from a pipe."""
    try:
        place = place_of(replace(photo, source=_absolute(photo.source)), kinds)
        row = {"id": photo.id, "path": photo.image, "place": place}
    except PhotoError as error:
        raise SeesayError(f"--cluster: {error}") from None
    return {name: valid_text(value) for name, value in row.items()}


def _absolute(source: Any) -> Any:
    """A source whose path does not depend on the working folder, which actors do not share."""
    if isinstance(source, str):
        return source if is_address(source) else os.path.abspath(source)  # noqa: PTH100
    if isinstance(source, TarMember):
        return replace(source, tar=_absolute(source.tar))
    if isinstance(source, ParquetPhoto):
        return replace(source, table=_absolute(source.table))
    return source
