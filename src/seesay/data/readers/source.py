"""What a layout hands over (rows of captions, and where the photos lie), and how text files are read."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from seesay.data.images import photo_suffixes
from seesay.data.records import SPLIT_ALIASES, Problem
from seesay.data.text import read_lines
from seesay.errors import DataError


class Row(NamedTuple):
    """One caption as a file has it: `line` counts from 1, the header included; `split` is "" if it says none."""

    line: int | str
    image: str
    caption: str
    split: str = ""


@dataclass(frozen=True)
class CaptionFile:
    """A file of captions.

    Attributes:
        path: the file.
        rows: its captions; a row that cannot be read stands there as a Problem.
        folders: where its photos may lie, the likeliest first.
        prefix: put before the photos' names to make their ids, for files in subfolders.
    """

    path: Path
    rows: Iterable[Row | Problem]
    folders: Sequence[Path]
    prefix: str = ""


@dataclass(frozen=True)
class Layout:
    """A way that data sets lie on disks.

    Attributes:
        name: as `data.layout` names it.
        looks_for: the files that make a folder one of this layout, for messages.
        fits: whether a folder is one.
        read: the captions files of a folder; called with the folder and a function that labels files in problems.
        karpathy: whether Karpathy's ids are its usual split.
    """

    name: str
    looks_for: str
    fits: Callable[[Path], bool]
    read: Callable[[Path, Callable[[Path], str]], list[CaptionFile]]
    karpathy: bool = False


def split_name(text: str) -> str:
    """ "train", "dev" or "test" for any usual way to write it, else ""."""
    return SPLIT_ALIASES.get(text.strip().lower(), "")


def csv_rows(path: Path, label: str, image: Sequence[str], caption: Sequence[str]) -> Iterator[Row | Problem]:
    """Rows of a CSV file with a header; a column `split` is optional.

    Args:
        path: the file; its separator is the one of `,` `;` tab and `|` that the header has most of.
        label: the file's name in problems.
        image: names that the column of photo names may have.
        caption: names that the column of captions may have.

    Raises:
        DataError: a column is missing.
    """
    lines = read_lines(path)
    separator = max(",;\t|", key=lines[0].count)
    header = [name.strip().lower() for name in _cells(lines[0], separator)]
    at_image, at_caption = (find_column(path, header, names) for names in (image, caption))
    at_split = header.index("split") if "split" in header else None
    for line, text, closed in _records(lines, separator):
        where, cells = f"{label}:{line}", _cells(text, separator)
        if len(cells) > len(header) and at_caption == len(header) - 1:
            cells[at_caption:] = [separator.join(cells[at_caption:])]
            yield Problem("repaired", where, f"the caption holds '{separator}' without quotes: kept whole")
        if not max(at_image, at_caption) < len(cells) <= len(header):
            yield Problem("error", where, f"{len(cells)} values, expected {len(header)}: row left out")
            continue
        if not closed:
            yield Problem("repaired", where, "a quote is opened and not closed: read to the row's end")
        split = cells[at_split] if at_split is not None and at_split < len(cells) else ""
        yield Row(line, cells[at_image], cells[at_caption], split)


def find_column(path: Path, header: Sequence[str], names: Sequence[str]) -> int:
    """The place of the first of `names` in the header; a DataError says which columns are there instead."""
    for name in names:
        if name in header:
            return header.index(name)
    found = ", ".join(header) or "none"
    raise DataError(f"{path}: columns found: {found}; expected one named {' or '.join(names)} in its first line")


def _records(lines: Sequence[str], separator: str) -> Iterator[tuple[int, str, bool]]:
    """(line, text, whether its quotes are closed) of every row after the header; a quoted value may span lines.

    The csv module alone would let one unclosed quote swallow all rows up to the next quote. Here a line that
    starts with a photo's name always starts a row, and a quote that is never closed keeps to its line.
    """
    suffixes = "|".join(re.escape(suffix) for suffix in sorted(photo_suffixes()))
    starts_row = re.compile(rf'\s*"?[^"]+({suffixes})"?\s*{re.escape(separator)}', re.IGNORECASE).match
    opens_value = re.compile(rf'(^|{re.escape(separator)})"').search
    at = 1
    while at < len(lines):
        end, closed = at + 1, True
        if lines[at].count('"') % 2 and opens_value(lines[at]):
            end, closed = _closing_line(lines, at, starts_row)
        if lines[at].strip():
            yield at + 1, "\n".join(lines[at:end]), closed
        at = end


def _closing_line(lines: Sequence[str], at: int, starts_row: Callable[[str], object]) -> tuple[int, bool]:
    """(index after the row that begins at `at` with an open quote, whether the quote is closed)."""
    for end in range(at + 1, len(lines)):
        if starts_row(lines[end]):
            return end, False
        if lines[end].count('"') % 2:
            return end + 1, True
    return at + 1, False


def _cells(text: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([text], delimiter=separator), [])
    except csv.Error:  # a stray carriage return, or a value of more than 128 KiB
        return []
