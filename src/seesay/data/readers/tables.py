"""Text tables of captions: CSV and its relatives, with or without a header."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from seesay.data.images import photo_suffixes
from seesay.data.readers.columns import Columns, captions_in, find_columns, split_hint, split_like
from seesay.data.readers.source import Row, split_name
from seesay.data.records import Problem
from seesay.data.text import read_lines
from seesay.errors import DataError

SEPARATORS = ",;\t|"
MOST_VALUES = 20  # different ones of a column that may be splits


class _Shape(NamedTuple):
    """The format of a table.

    Attributes:
        separator: between values.
        header: names of the columns, "" for a column without a name.
        image, captions, split: indices of columns.
        first: index of the line after the header; 0 without a header.
        spaced: whether blanks after separators are ignored.
        quoted: whether values may be quoted.
    """

    separator: str
    header: list[str]
    image: int
    captions: list[int]
    split: int | None
    first: int
    spaced: bool
    quoted: bool = True


def csv_rows(path: Path, label: str, columns: Columns) -> Iterator[Row | Problem]:
    """Rows of a table; the split is as the table writes it.

    A table whose first line names a photo has no header. Captions that contain separators without
    being quoted are kept whole and reported.

    Args:
        path: the file; its separator is the tab if its first line has one, else the most frequent
            of `,` `;` and `|`.
        label: the file's name in problems.
        columns: names that the user gave.

    Raises:
        DataError: a column is missing.
    """
    lines = read_lines(path)
    shape = _shape(path, lines, columns)
    width, last, others = len(shape.header), max(shape.image, *shape.captions), _other_columns(shape)
    other_values: dict[str, set[str]] = {}
    for line, text, closed in _records(lines, shape):
        cells = _values(text, shape)
        if len(cells) != width or (others and _goes_on(cells, text, shape)):
            yield from _mend(cells, text, f"{label}:{line}", shape)
        if not last < len(cells) <= width:
            yield Problem("error", f"{label}:{line}", f"{len(cells)} values, expected {width}: row left out")
            continue
        if not closed:
            yield Problem("repaired", f"{label}:{line}", "a quote is opened and not closed: read to the row's end")
        for place in others:
            _note_value(other_values, cells, place, shape)
        split = cells[shape.split] if shape.split is not None and shape.split < len(cells) else ""
        for caption in _captions(cells, shape):
            yield Row(line, cells[shape.image], caption, split)
    if shape.split is None and (name := split_like(other_values)):
        yield Problem("note", label, split_hint(name, other_values[name]))


def header_of(path: Path) -> list[str]:
    """The names in the first line of a table, in lower case; [] if it cannot be read."""
    try:
        with path.open("rb") as file:
            start = file.read(20_000)
    except OSError:
        return []
    encoding = "utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    line = re.split(r"[\r\n]", start.decode(encoding, errors="replace"))[0]
    return [name.strip().lower() for name in _cells(line, _separator(line))]


def names_a_photo(cell: str) -> bool:
    """Whether a value is the name of a photo's file."""
    return any(cell.strip().lower().endswith(suffix) for suffix in photo_suffixes())


def _shape(path: Path, lines: list[str], wanted: Columns) -> _Shape:
    separator = _separator(lines[0])
    header = _cells(lines[0], separator)
    if at_image := _photo_column(path, header):
        return _without_header(path, separator, header, at_image - 1)
    columns = find_columns([name.strip() for name in header], wanted, path)
    places = {name.strip(): place for place, name in reversed(list(enumerate(header)))}
    captions = [places[name] for name in columns.captions]
    split = None if columns.split is None else places[columns.split]
    spaced = any(name.startswith(" ") for name in header[1:])
    return _Shape(separator, [name.strip() for name in header], places[columns.image], captions, split, 1, spaced)


def _photo_column(path: Path, cells: Sequence[str]) -> int:
    """The column, from 1, whose first value is a photo; 0 if the first line is a header."""
    for place, cell in enumerate(cells, 1):
        if names_a_photo(cell):
            return place
    return path_column(path, cells)


def path_column(path: Path, cells: Sequence[str]) -> int:
    """The column, from 1, of a photo's path beside a sentence in a TSV; 0 if there is none.

    The photos of Conceptual Captions have no suffix by which to recognise them.
    """
    if len(cells) != 2 or path.suffix.lower() != ".tsv":
        return 0
    paths = [place for place, cell in enumerate(cells, 1) if "/" in cell and " " not in cell.strip()]
    return paths[0] if len(paths) == 1 and any(" " in cell.strip() for cell in cells) else 0


def _without_header(path: Path, separator: str, cells: Sequence[str], at_image: int) -> _Shape:
    others = [place for place in range(len(cells)) if place != at_image]
    if not others:
        raise DataError(f"{path}:1: one value, a photo's name; expected a caption beside it")
    at_caption = max(others, key=lambda place: len(cells[place]))
    names = [{at_image: "image", at_caption: "caption"}.get(place, "") for place in range(len(cells))]
    return _Shape(separator, names, at_image, [at_caption], None, 0, spaced=True, quoted=separator != "\t")


def _mend(cells: list[str], text: str, where: str, shape: _Shape) -> Iterator[Problem]:
    """Rejoin, in place, a caption that contains the separator; yields what was repaired."""
    separator, width = shape.separator, len(shape.header)
    while len(cells) > width and not cells[-1].strip():
        cells.pop()  # spreadsheets end rows with empty values
    if len(shape.captions) != 1:
        return
    at, before = shape.captions[0], len(cells)
    if len(cells) > width:
        cells[at : at + len(cells) - width + 1] = [separator.join(cells[at : at + len(cells) - width + 1])]
    while _goes_on(cells, text, shape):
        cells[at : at + 2] = [separator.join(cells[at : at + 2])]
    if len(cells) < before:
        what = f"the caption holds '{separator}' without quotes: kept whole"
        lost = [name for name in shape.header[len(cells) :] if name]
        yield Problem("repaired", where, what + (f", nothing left for {', '.join(lost)}" if lost else ""))


def _goes_on(cells: Sequence[str], text: str, shape: _Shape) -> bool:
    """Whether the value after the caption continues it, as in "A dog, running fast".

    Only tables without blanks after separators are judged by the blank.
    """
    at, separator = shape.captions[0], shape.separator
    if shape.spaced or at + 1 >= len(cells) or not cells[at + 1].startswith(" "):
        return False
    if at < shape.image or len(shape.captions) > 1:
        return False
    if at + 1 == shape.split and split_name(cells[at + 1]):
        return False
    # nothing is quoted
    return not cells[at].startswith(" ") and f"{cells[at]}{separator}{cells[at + 1]}" in text


def _captions(cells: Sequence[str], shape: _Shape) -> list[str]:
    """The captions of a row; empty columns do not count where there are several."""
    if len(shape.captions) == 1:
        return captions_in(cells[shape.captions[0]])
    captions = [cells[place] for place in shape.captions if cells[place].strip()]
    return captions or [""]


def _other_columns(shape: _Shape) -> list[int]:
    """The unused columns, which may be splits."""
    used = {shape.image, shape.split, *shape.captions}
    return [place for place, name in enumerate(shape.header) if name and place not in used]


def _note_value(seen: dict[str, set[str]], cells: Sequence[str], place: int, shape: _Shape) -> None:
    """Keep a value of a column, for `split_like`."""
    values = seen.setdefault(shape.header[place], set())
    if place < len(cells) and len(values) < MOST_VALUES:
        values.add(cells[place].strip())


def _separator(line: str) -> str:
    return "\t" if "\t" in line else max(SEPARATORS, key=line.count)


def _records(lines: Sequence[str], shape: _Shape) -> Iterator[tuple[int, str, bool]]:
    """(line, text, whether its quotes are closed) of every row; a quoted value may span lines.

    The csv module alone would let one unclosed quote swallow all rows up to the next quote. Here a
    line that starts with a photo's name always starts a row, and a quote that is never closed keeps
    to its line.
    """
    suffixes = "|".join(re.escape(suffix) for suffix in sorted(photo_suffixes()))
    separator = re.escape(shape.separator)
    starts_row = re.compile(rf'\s*"?[^"]+({suffixes})"?\s*{separator}', re.IGNORECASE).match
    opens_value = re.compile(rf'(^|{separator})"').search
    at = shape.first
    while at < len(lines):
        end, closed = at + 1, True
        if shape.quoted and lines[at].count('"') % 2 and opens_value(lines[at]):
            end, closed = _closing_line(lines, at, starts_row)
        if lines[at].strip():
            yield at + 1, "\n".join(lines[at:end]), closed
        at = end


def _closing_line(lines: Sequence[str], at: int, starts_row: Callable[[str], object]) -> tuple[int, bool]:
    """(index after the row that starts at `at` with an open quote, whether the quote is closed)."""
    for end in range(at + 1, len(lines)):
        if starts_row(lines[end]):
            return end, False
        if lines[end].count('"') % 2:
            return end + 1, True
    return at + 1, False


def _values(text: str, shape: _Shape) -> list[str]:
    """The values of a row."""
    if not shape.quoted:
        return text.split(shape.separator)
    cells = _cells(text, shape.separator)
    if len(cells) > len(shape.header):  # a quote after a blank is a quote if the row then has the right length
        spaced = _cells(text, shape.separator, skip_blanks=True)
        return spaced if len(spaced) == len(shape.header) else cells
    return cells


def _cells(text: str, separator: str, skip_blanks: bool = False) -> list[str]:
    try:
        return next(csv.reader([text], delimiter=separator, skipinitialspace=skip_blanks), [])
    except csv.Error:  # a stray carriage return, or a value of more than 128 KiB
        return []
