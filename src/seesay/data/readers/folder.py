"""A folder with captions.csv, or Hugging Face's imagefolder with metadata.csv or .jsonl."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from seesay.data.readers.columns import Columns
from seesay.data.readers.json_files import item_rows, line_items
from seesay.data.readers.photo_finder import listed_folders
from seesay.data.readers.source import CaptionFile, Layout, Row, Source, photo_folders, split_name
from seesay.data.readers.tables import csv_rows
from seesay.data.records import Problem

UNSPLIT = "unsplit"
FILES = ("captions.csv", "metadata.csv", "metadata.jsonl", "captions.jsonl")


def _find(folder: Path, _: Columns) -> list[Path]:
    """The captions files of the folder, or those of its subfolders train/, validation/, test/."""

    def there(place: Path) -> list[Path]:
        return [place / name for name in FILES if (place / name).is_file()]

    parts = [Path(part) for part in listed_folders(folder)]
    if any(split_name(part.name) for part in parts):  # a folder of photos without a split may be beside them
        parts = [part for part in parts if split_name(part.name) or part.name == UNSPLIT]
        return there(folder) or [file for part in parts for file in there(part)]
    return there(folder)


def _read(source: Source) -> list[CaptionFile]:
    """Read one file of each folder, because the others probably have the same captions."""
    first = {file.parent: file for file in reversed(source.files)}
    return [_captions(source, file) for file in reversed(first.values())]


def _captions(source: Source, file: Path) -> CaptionFile:
    within = "" if file.parent == source.folder else file.parent.name
    label = source.label(file)
    if file.suffix == ".jsonl":
        rows = item_rows(line_items(file), label, source.columns)
    else:
        rows = csv_rows(file, label, source.columns)
    prefix = f"{within}/" if within else ""
    return CaptionFile(file, with_split(rows, split_name(within)), photo_folders(file.parent), prefix)


def with_split(rows: Iterable[Row | Problem], given: str) -> Iterator[Row | Problem]:
    """Complete the splits of rows.

    A row without a split gets that of its file, else that which the photo's first folder names.
    """
    for row in rows:
        if isinstance(row, Problem) or row.split.strip():
            yield row
        else:
            first, slash, _ = row.image.replace("\\", "/").removeprefix("./").partition("/")
            yield row._replace(split=given or (split_name(first) if slash else ""))


LAYOUT = Layout(
    "folder", "captions.csv, metadata.csv or metadata.jsonl (or these in train/, validation/, test/)", _find, _read
)
