"""TextCaps: a JSON list `data` of objects with `image_id` and captions.

Each object has its own `caption_str` and all `reference_strs` of the photo.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seesay.data.readers.columns import Columns
from seesay.data.readers.json_files import has, json_files, read_json
from seesay.data.readers.source import CaptionFile, Layout, Row, Source, photo_folders, split_in_name
from seesay.data.records import Problem
from seesay.errors import DataError


def _find(folder: Path, _: Columns) -> list[Path]:
    return json_files(folder, "textcaps")


def _read(source: Source) -> list[CaptionFile]:
    folder = source.folder.parent if source.folder.name == "annotations" else source.folder
    folders = photo_folders(folder, "train_images", "test_images", "train", "test")
    return [CaptionFile(file, _rows(file, source.label(file)), folders) for file in source.files]


def _rows(path: Path, label: str) -> Iterator[Row | Problem]:
    content = read_json(path, "TextCaps")
    if not has(content, data=list):
        raise DataError(f"{path}: expected the list data, as TextCaps has it")
    split = split_in_name(path.stem)
    seen: dict[str, list[str]] = {}  # every object of a photo repeats all of its references
    for number, item in enumerate(content["data"]):
        place = f"data[{number}]"
        captions = _captions(item)
        if not captions or not has(item, image_id=str):
            what = "left out; expected an object with image_id and caption_str or reference_strs"
            yield Problem("error", f"{label}:{place}", what)
            continue
        known = seen.setdefault(item["image_id"], [])
        for caption in captions:
            # A sentence that two people wrote occurs twice in the references of one object.
            if len(captions) == 1 or captions.count(caption) > known.count(caption):
                known.append(caption)
                yield Row(place, item["image_id"], caption, str(item.get("set_name") or split))


def _captions(item: Any) -> list[str]:
    if has(item, reference_strs=list) and item["reference_strs"]:
        return [text for text in item["reference_strs"] if isinstance(text, str)]
    return [item["caption_str"]] if has(item, caption_str=str) else []


LAYOUT = Layout("textcaps", "TextCaps_*.json", _find, _read)
