"""Flickr30k as Kaggle has it: results.csv, separated by bars, beside a folder flickr30k_images of photos."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from seesay.data.readers.source import CaptionFile, Layout, Row
from seesay.data.records import Problem
from seesay.data.text import read_lines
from seesay.errors import DataError

HEADER = ("image_name", "comment_number", "comment")
PHOTOS = "flickr30k_images"


def _fits(folder: Path) -> bool:
    try:
        with (folder / "results.csv").open("rb") as stream:
            return b"|" in stream.readline(1000)  # others call their tables results.csv too
    except PermissionError:
        return True  # reading it will say what is wrong
    except OSError:
        return False


def _read(folder: Path, label: Callable[[Path], str]) -> list[CaptionFile]:
    file = folder / "results.csv"
    places = [folder / PHOTOS, folder / PHOTOS / PHOTOS, folder / "images", folder]
    return [CaptionFile(file, _rows(file, label(file)), places)]


def _rows(path: Path, label: str) -> Iterator[Row | Problem]:
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


LAYOUT = Layout("flickr30k", f"results.csv beside {PHOTOS}/", _fits, _read, karpathy=True)
