"""A folder of one's own: captions.csv, or metadata.csv / metadata.jsonl as Hugging Face's imagefolder has it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from seesay.data.readers.source import CaptionFile, Layout, Row, csv_rows, split_name
from seesay.data.records import SPLIT_ALIASES, Problem
from seesay.data.text import read_lines

FILES = ("captions.csv", "metadata.csv", "metadata.jsonl")
IMAGE = ("image", "file_name", "filename", "file")
CAPTION = ("caption", "captions", "text", "description")


def _files(folder: Path) -> list[Path]:
    """The captions file of the folder, or those of its subfolders train/, validation/, test/; one a folder."""

    def first(place: Path) -> list[Path]:
        return [place / name for name in FILES if (place / name).is_file()][:1]

    return first(folder) or [file for name in SPLIT_ALIASES for file in first(folder / name)]


def _read(folder: Path, label: Callable[[Path], str]) -> list[CaptionFile]:
    return [_captions(folder, file, label(file)) for file in _files(folder)]


def _captions(root: Path, file: Path, label: str) -> CaptionFile:
    within = "" if file.parent == root else file.parent.name
    read = json_rows(file, label) if file.suffix == ".jsonl" else csv_rows(file, label, IMAGE, CAPTION)
    folders = [file.parent, file.parent / "images", file.parent / "Images"]
    return CaptionFile(file, _with_split(read, split_name(within), label), folders, f"{within}/" if within else "")


def _with_split(rows: Iterator[Row | Problem], given: str, label: str) -> Iterator[Row | Problem]:
    """The split is what the row's column says, else the metadata's own subfolder, else that of the photo."""
    for row in rows:
        if isinstance(row, Problem):
            yield row
            continue
        asked = split_name(row.split)
        if row.split.strip() and not asked:
            what = f"split {row.split.strip()!r} is none of {', '.join(SPLIT_ALIASES)}: taken as no split"
            yield Problem("error", f"{label}:{row.line}", what)
        first = row.image.replace("\\", "/").partition("/")
        yield row._replace(split=asked or given or (split_name(first[0]) if first[1] else ""))


def json_rows(path: Path, label: str) -> Iterator[Row | Problem]:
    """Rows of a JSON-lines file, `label` in problems: an object a line with a photo and one or more captions."""
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        image, captions, split = _json_row(line)
        if not image or not captions:
            what = (
                f"row left out; got {line[:60]!r}, expected an object with file_name and text (or {', '.join(CAPTION)})"
            )
            yield Problem("error", f"{label}:{number}", what)
            continue
        yield from (Row(number, image, caption, split) for caption in captions)


def _json_row(line: str) -> tuple[str, list[str], str]:
    """(photo, captions, split) of a line of JSON; empty where it has none that are text."""
    try:
        item: Any = json.loads(line)
    except json.JSONDecodeError:
        return "", [], ""
    if not isinstance(item, dict):
        return "", [], ""
    image = next((item[key] for key in IMAGE if isinstance(item.get(key), str)), "")
    value = next((item[key] for key in CAPTION if item.get(key) is not None), None)
    captions = [value] if isinstance(value, str) else value
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        captions = []
    return image, captions, str(item.get("split") or "")


LAYOUT = Layout(
    "folder",
    "captions.csv, metadata.csv or metadata.jsonl (or these in train/, validation/, test/)",
    lambda folder: bool(_files(folder)),
    _read,
)
