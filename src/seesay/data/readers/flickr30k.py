"""Flickr30k: Kaggle's results.csv or captions.txt, or the original results_*.token."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from seesay.data.readers.columns import Columns
from seesay.data.readers.source import CaptionFile, Layout, Row, Source, photo_folders
from seesay.data.readers.tables import csv_rows, header_of
from seesay.data.records import Problem
from seesay.data.text import read_lines
from seesay.errors import DataError

HEADER = ("image_name", "comment_number", "comment")
COMMENT = "comment_number"  # only Flickr30k's tables have such a column
PHOTOS = "flickr30k_images"
FOLDERS = (PHOTOS, f"{PHOTOS}/{PHOTOS}", "flickr30k-images", "Images", "images")


def _find(folder: Path, _: Columns) -> list[Path]:
    tables = [folder / name for name in ("captions.txt", "captions.csv")]
    return [
        *([folder / "results.csv"] if _may_be_results(folder / "results.csv") else []),
        *(file for file in tables if file.is_file() and COMMENT in header_of(file)),
        *sorted(folder.glob("results*.token")),
    ]


def _may_be_results(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            start = stream.readline(1000)
            # others call their tables results.csv too
            return b"|" in start or COMMENT.encode() in start
    except PermissionError:
        return True  # reading it will say what is wrong
    except OSError:
        return False


def _read(source: Source) -> list[CaptionFile]:
    file = source.files[0]
    label = source.label(file)
    if file.suffix == ".token":
        rows = token_rows(file, label)
    elif "|" in next(iter(read_lines(file)), ""):
        rows = _bar_rows(file, label)
    else:
        rows = csv_rows(file, label, source.columns)
    return [CaptionFile(file, rows, photo_folders(source.folder, *FOLDERS))]


def _bar_rows(path: Path, label: str) -> Iterator[Row | Problem]:
    # Not CSV: nothing is quoted, and captions hold quotes, commas and even the bar itself.
    lines = read_lines(path)
    header = tuple(name.strip().lower() for name in lines[0].split("|"))
    if header != HEADER:
        raise DataError(f"{path}:1: columns found: {', '.join(header)}; expected: {'| '.join(HEADER)}")
    for number, line in enumerate(lines[1:], 2):
        image, _, rest = line.partition("|")
        index, bar, caption = rest.partition("|")
        if bar and index.strip().isdigit():
            yield Row(number, image.strip(), caption)
        elif missing_bar := re.fullmatch(r"\s*(\d+)\s+(\S.*)", rest):
            what = f"a '|' is missing after the comment number: read as number {missing_bar[1]} and a caption"
            yield Problem("repaired", f"{label}:{number}", what)
            yield Row(number, image.strip(), missing_bar[2])
        elif line.strip():
            what = f"row left out; got {line[:60]!r}, expected image_name| comment_number| comment"
            yield Problem("error", f"{label}:{number}", what)


def token_rows(path: Path, label: str) -> Iterator[Row | Problem]:
    """Rows of the original files of Flickr8k and Flickr30k: `name.jpg#k`, a tab, the caption."""
    for number, line in enumerate(read_lines(path), 1):
        name, tab, caption = line.partition("\t")
        image, mark, index = name.strip().rpartition("#")
        if tab and mark and index.isdigit():
            # Flickr8k's file has one photo under the name 2258277193_586949ec62.jpg.1
            yield Row(number, re.sub(r"(\.jpg)\.\d+$", r"\1", image), caption)
        elif line.strip():
            what = f"row left out; got {line[:60]!r}, expected photo.jpg#0, a tab and a caption"
            yield Problem("error", f"{label}:{number}", what)


LAYOUT = Layout(
    "flickr30k", f"results.csv beside {PHOTOS}/, captions.txt with {COMMENT}, or results_*.token", _find, _read, True
)
