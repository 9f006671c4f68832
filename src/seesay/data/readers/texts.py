"""Photos with a text file beside each, in folders of any depth.

The text of dog.jpg is dog.txt, with one caption on each line, or dog.json.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from seesay.data.readers.columns import Columns
from seesay.data.readers.photo_finder import is_hidden
from seesay.data.readers.samples import TEXTS, is_photo, sample_rows
from seesay.data.readers.source import CaptionFile, Layout, Row, Source, split_name
from seesay.data.records import Problem

ENOUGH = 20  # pairs that are read to see whether there are captions in them


def _find(folder: Path, columns: Columns) -> list[Path]:
    rows = (row for pair in islice(_pairs(folder), ENOUGH) for row in _rows_of(folder, *pair, "", columns))
    return [folder] if any(isinstance(row, Row) for row in rows) else []


def _read(source: Source) -> list[CaptionFile]:
    folder = source.folder
    label = source.label(folder)
    rows = (row for pair in _pairs(folder) for row in _rows_of(folder, *pair, label, source.columns))
    return [CaptionFile(folder, rows, [folder])]


def _pairs(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """(photo, its texts by extension) below a folder, as relative paths."""
    for directory, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        inner = os.path.relpath(directory, folder)
        prefix = "" if inner == "." else f"{inner.replace(os.sep, '/')}/"
        texts: dict[str, dict[str, str]] = {}
        photos: list[tuple[str, str]] = []
        for name in sorted(names):
            stem, _, extension = name.rpartition(".")
            if is_hidden(name) or not stem:
                continue
            if is_photo(extension.lower()):
                photos.append((stem, prefix + name))
            elif extension.lower() in TEXTS:
                texts.setdefault(stem, {})[extension.lower()] = prefix + name
        yield from ((photo, texts[stem]) for stem, photo in photos if stem in texts)


def _rows_of(folder: Path, photo: str, texts: dict[str, str], label: str, columns: Columns) -> Iterator[Row | Problem]:
    contents = {}
    for extension, name in texts.items():
        try:
            contents[extension] = (folder / name).read_bytes()
        except OSError as error:
            yield Problem("error", f"{label}:{name}", f"cannot be read ({error.strerror})")
    first, slash, _ = photo.partition("/")
    yield from sample_rows(photo, contents, label, split_name(first) if slash else "", columns)


LAYOUT = Layout("texts", "photos with a .txt or .json of the same name beside them", _find, _read, last_resort=True)
