"""Lists of photos: text files with one path per line, and JSON-lines manifests."""

from __future__ import annotations

import json
import os
import posixpath
import sys
from collections.abc import Iterator
from typing import IO, Any

from seesay.data.sources.columns import ManifestColumns
from seesay.data.sources.photo import ListedPhoto, unreadable
from seesay.data.sources.remote import RemotePhoto, is_address, open_file
from seesay.errors import DataError, SeesayError, shown

LONGEST_LINE = 2**20  # bytes; a photo given by mistake may have no line end at all
STANDARD_INPUT = "@-"


def photos_listed(name: str) -> Iterator[ListedPhoto]:
    """The photos of a list, one path or address per line; paths are relative to the working folder.

    Args:
        name: "@" followed by a file or an address, or "@-" for standard input.

    Raises:
        DataError: the file cannot be read.
    """
    for number, line in _lines(name):
        if line is None:
            reason = f"longer than {LONGEST_LINE:,} bytes; expected a path in each line"
            yield unreadable(f"{name}:{number}", f"{name}:{number}", reason)
        elif path := os.fsdecode(line.rstrip(b"\r\n")):
            yield photo_named(path, path)


def photos_in_json_lines(file: str, wanted: ManifestColumns) -> Iterator[ListedPhoto]:
    """The photos of a manifest, one JSON object per line; paths are relative to the manifest.

    Args:
        file: the manifest's path or address.
        wanted: the columns that the user named.

    Raises:
        DataError: the manifest cannot be read, or its first object names no photo.
    """
    columns: ManifestColumns | None = None
    for number, line in _lines(file):
        where = f"{file}:{number}"
        if line is not None and not line.strip():
            continue
        row = _object(line)
        if row is None:
            yield unreadable(where, where, "expected a JSON object in each line")
            continue
        columns = columns or wanted.among(list(row), where)
        yield photo_of_row(row, columns, file, where)


def photo_of_row(row: dict[str, Any], columns: ManifestColumns, file: str, where: str) -> ListedPhoto:
    """The photo that a row of a manifest names."""
    path = row.get(str(columns.image))
    id_ = row.get(columns.id) if columns.id else path
    if not isinstance(path, str) or not path:
        return unreadable(where, where, f"{columns.image}: got {shown(path)}, expected a path")
    if not isinstance(id_, str | int) or isinstance(id_, bool) or id_ == "":
        return unreadable(where, where, f"{columns.id}: got {shown(id_)}, expected an id")
    return photo_named(str(id_), _beside(file, path), own_id=True)


def photo_named(id_: str, name: str, own_id: bool = False) -> ListedPhoto:
    """The photo at a path or an address from a user's list."""
    if is_address(name):
        return ListedPhoto(id_, name, RemotePhoto(name), own_id)
    return ListedPhoto(id_, name, name, own_id)


def _beside(file: str, path: str) -> str:
    """Resolve a manifest's path or address, which may be relative to the manifest's folder."""
    if is_address(path) or os.path.isabs(path):  # noqa: PTH117
        return path
    if is_address(file):
        return posixpath.join(posixpath.dirname(file), path)
    return os.path.join(os.path.dirname(file), path)  # noqa: PTH118, PTH120


def _object(line: bytes | None) -> dict[str, Any] | None:
    if line is None:
        return None
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _lines(name: str) -> Iterator[tuple[int, bytes | None]]:
    """(number, line) of each line, with None for lines that are too long."""
    if name == STANDARD_INPUT:
        if sys.stdin is None or sys.stdin.isatty():
            raise SeesayError("@-: standard input has no list: send one, as in `find . | seesay caption @-`")
        yield from _numbered(sys.stdin.buffer)
        return
    path = name.removeprefix("@")
    try:
        with open_file(path) as file:
            yield from _numbered(file)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _numbered(file: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        whole = line.endswith(b"\n") or len(line) < LONGEST_LINE
        while not whole:
            whole = (line := file.readline(LONGEST_LINE)).endswith(b"\n") or not line
            line = None if whole else line
        yield number, line
