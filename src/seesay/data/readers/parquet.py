"""Parquet files of Hugging Face data sets.

Photos are inside the table or given as paths, and captions one in each row or as lists.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from seesay.data.boxes.plain import KEY, from_plain
from seesay.data.images import photo_bytes
from seesay.data.packed import Packed, unpacked_folder
from seesay.data.readers.columns import (
    IMAGE,
    SPLIT_LIKE,
    Columns,
    FoundColumns,
    captions_in,
    find_columns,
    split_hint,
)
from seesay.data.readers.folder import with_split
from seesay.data.readers.photo_finder import listed_files, normal_name
from seesay.data.readers.samples import is_photo
from seesay.data.readers.source import CaptionFile, Layout, Row, Source, photo_folders, split_folders, split_in_name
from seesay.data.records import Problem
from seesay.errors import PhotoError, require

BATCH = 256  # rows decoded together
# what pyarrow raises
DAMAGE = (OSError, ValueError, NotImplementedError, MemoryError, OverflowError)


def _find(folder: Path, _: Columns) -> list[Path]:
    places = [place for base in (folder, folder / "data") for place in split_folders(base)]
    return [file for place in places for file in listed_files(place, (".parquet",)) if not _is_about_another(file)]


def _is_about_another(file: Path) -> bool:
    """Whether it is a table of img2dataset about a tar or folder of the same name."""
    return file.with_name(f"{file.stem}_stats.json").is_file()


def _read(source: Source) -> list[CaptionFile]:
    return [_table_or_problem(source, file) for file in source.files]


def _table_or_problem(source: Source, file: Path) -> CaptionFile:
    try:
        return _table(source, file)
    except DAMAGE as error:
        problem = Problem("error", source.label(file), f"damaged, or no parquet ({_said(error)}); copy it again")
        return CaptionFile(file, [problem], [file.parent])


def _table(source: Source, file: Path) -> CaptionFile:
    table = _open(file)
    columns = find_columns(table.schema_arrow.names, source.columns, file)
    label = source.label(file)
    split = split_in_name(file.stem) or (split_in_name(file.parent.name) if file.parent != source.folder else "")
    if _holds_paths(table, columns.image):
        rows = with_split(_rows(table, columns, None, label), split)
        return CaptionFile(file, rows, photo_folders(file.parent, *((split,) if split else ())))
    names = _names(table, columns)
    size = _bytes_of(table, columns.image) // max(len(names), 1)
    packed = Packed(unpacked_folder(file), dict.fromkeys(names, size), partial(_photos, file, columns.image, names))
    rows = with_split(_rows(table, columns, names, label), split)
    numbered = any(name.isdigit() for name in names)  # rows of several files have the same numbers
    return CaptionFile(file, rows, [packed.folder], f"{file.stem}/" if numbered else "", packed=packed)


def _open(file: Path) -> Any:
    return require("pyarrow.parquet", "parquet", f"{file}: reading parquet").ParquetFile(file)


def _said(error: BaseException) -> str:
    """The first line of pyarrow's message."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _holds_paths(table: Any, image: str) -> bool:
    kind = table.schema_arrow.field(image).type
    return not str(kind).startswith(("struct", "binary", "large_binary"))


def _rows(table: Any, columns: FoundColumns, names: Sequence[str] | None, label: str) -> Iterator[Row | Problem]:
    """Rows of captions; a photo's name comes from `names`, or from the table if that is None."""
    others = [name for name in table.schema_arrow.names if name.lower() in SPLIT_LIKE and not columns.split]
    boxes = KEY in table.schema_arrow.names
    read_columns = [*columns.captions, *others]
    read_columns += [columns.split] if columns.split else []
    read_columns += [] if names else [columns.image]
    read_columns += [KEY] if boxes else []
    seen: dict[str, set[str]] = {}
    number = 0
    try:
        for row in _all_rows(table, read_columns):
            number += 1
            image = names[number - 1] if names else str(row[columns.image] or "")
            captions = [caption for column in columns.captions for caption in captions_in(row[column])]
            if not captions:
                what = f"row left out; expected a caption in {' or '.join(columns.captions)}"
                yield Problem("error", f"{label}:{number}", what)
            split = row.get(columns.split) if columns.split else None
            objects = from_plain(row[KEY]) if boxes else ()
            yield from (Row(number, image, caption, str(split or ""), objects) for caption in captions)
            for name in others:
                seen.setdefault(name, set()).add(str(row[name]))
    except DAMAGE as error:
        yield Problem("error", label, f"damaged, read up to row {number} ({_said(error)}); copy it again")
    yield from (Problem("note", label, split_hint(name, values)) for name, values in seen.items() if len(values) > 1)


def _all_rows(table: Any, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    for batch in table.iter_batches(BATCH, columns=columns):
        yield from batch.to_pylist()


def _names(table: Any, columns: FoundColumns) -> list[str]:
    """A name for the photo of each row: the table's own, else the row's number from 0."""
    kind = table.schema_arrow.field(columns.image).type
    has_path = str(kind).startswith("struct") and kind.get_field_index("path") >= 0
    candidates = [f"{columns.image}.path"] if has_path else []
    candidates += [name for name in table.schema_arrow.names if name.lower() in IMAGE and name != columns.image]
    for column in candidates:
        values = table.read(columns=[column]).column(0).to_pylist()
        names = [_last(value.get("path") if isinstance(value, dict) else value) for value in values]
        if names and all(names) and (len(set(names)) == len(names) or _repeat_photos(table, columns.image, names)):
            return names
    return [f"{number:08}" for number in range(table.metadata.num_rows)]


def _repeat_photos(table: Any, image: str, names: Sequence[str]) -> bool:
    """Whether rows with equal names have equal photos, as in a table with a row for each caption.

    Only the first group of rows that repeats a name is compared.
    """
    first = 0
    for group in range(table.metadata.num_row_groups):
        here = names[first : first + table.metadata.row_group(group).num_rows]
        first += len(here)
        if len(set(here)) < len(here):
            photos: dict[str, bytes] = {}
            digests = (hashlib.blake2b(_photo(value, Path())).digest() for value in _values(table, group, image))
            return all(photos.setdefault(name, digest) == digest for name, digest in zip(here, digests, strict=True))
    return False


def _values(table: Any, group: int, column: str) -> Iterator[Any]:
    """A column's values in a group of rows."""
    for batch in table.iter_batches(BATCH, row_groups=[group], columns=[column]):
        yield from batch.column(0).to_pylist()


def _last(path: Any) -> str:
    """The last part of a photo's path, if it can be a photo's file name, else ""."""
    name = normal_name(str(path if path is not None else "")).rpartition("/")[2]
    stem, _, extension = name.rpartition(".")
    return name if name not in (".", "..") and (not stem or is_photo(extension.lower())) else ""


def _bytes_of(table: Any, image: str) -> int:
    groups = (table.metadata.row_group(number) for number in range(table.metadata.num_row_groups))
    columns = (group.column(number) for group in groups for number in range(group.num_columns))
    return sum(column.total_uncompressed_size for column in columns if column.path_in_schema.split(".")[0] == image)


def _photos(file: Path, image: str, names: Sequence[str], wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of the wanted photos; groups of rows without any of them are not read."""
    left, first = set(wanted), 0  # a photo with several captions may have several rows
    try:
        table = _open(file)
        for group in range(table.metadata.num_row_groups):
            here = names[first : first + table.metadata.row_group(group).num_rows]
            first += len(here)
            if left.isdisjoint(here):
                continue
            for name, value in zip(here, _values(table, group, image), strict=True):
                if name in left:
                    left.discard(name)
                    yield name, _photo(value, file)
    except DAMAGE:
        return  # photos that are missing then count as unreadable


def _photo(value: Any, file: Path) -> bytes:
    """The bytes of a photo in the table, or of the file whose path the table has instead."""
    if isinstance(value, bytes):
        return value
    value = value if isinstance(value, dict) else {}
    if isinstance(value.get("bytes"), bytes):
        return value["bytes"]
    try:
        return photo_bytes(file.parent / str(value.get("path") or ""))
    except PhotoError:
        return b""  # an empty file, which is reported when it is opened


LAYOUT = Layout("parquet", "*.parquet with photos or their paths, and captions", _find, _read)
