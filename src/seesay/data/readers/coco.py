"""COCO captions: annotations/captions_*.json beside folders of photos; the file's name says the split."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from seesay.data.readers.source import CaptionFile, Layout, Row, split_name
from seesay.data.records import Problem
from seesay.data.text import read_text
from seesay.errors import DataError


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("annotations/captions_*.json")) or sorted(folder.glob("captions_*.json"))


def _read(folder: Path, label: Callable[[Path], str]) -> list[CaptionFile]:
    photos = folder.parent if folder.name == "annotations" else folder
    return [CaptionFile(file, _rows(file, label(file)), _places(photos, file)) for file in _files(folder)]


def _places(root: Path, file: Path) -> list[Path]:
    """Where a file's photos may lie: captions_val2017.json first asks val2017/, then images/val2017/, ..."""
    part = file.stem.removeprefix("captions_")
    names = [
        part,
        f"images/{part}",
        "images",
        *(f"{split}{year}" for year in (2017, 2014) for split in ("train", "val")),
    ]
    return [*(root / name for name in names), root]


def _split(file: Path) -> str:
    words = re.findall(r"[a-z]+", file.stem.lower())
    return next((split for split in map(split_name, words) if split), "")


def _rows(path: Path, label: str) -> Iterator[Row | Problem]:
    content = _content(path)
    names = {
        image["id"]: image["file_name"] for image in content["images"] if _has(image, id=(int, str), file_name=str)
    }
    split = _split(path)
    for index, note in enumerate(content["annotations"]):
        where = f"annotations[{index}]"
        if not _has(note, image_id=(int, str), caption=str):
            yield Problem("error", f"{label}:{where}", "left out; expected an object with image_id and caption")
        elif note["image_id"] not in names:
            what = f"left out; its image_id {note['image_id']} is not among the file's images"
            yield Problem("error", f"{label}:{where}", what)
        else:
            yield Row(where, names[note["image_id"]], note["caption"], split)


def _has(item: Any, **types: Any) -> bool:
    return isinstance(item, dict) and all(isinstance(item.get(key), kind) for key, kind in types.items())


def _content(path: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON ({error.msg}); expected COCO captions") from None
    if not _has(content, images=list, annotations=list):
        found = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{path}: keys found: {found or 'none'}; expected the lists images and annotations")
    return content


LAYOUT = Layout("coco", "annotations/captions_*.json", lambda folder: bool(_files(folder)), _read)
