"""Karpathy's JSON files (dataset.json, dataset_coco.json, ...), whose splits most papers use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seesay.data.readers.columns import Columns, captions_in
from seesay.data.readers.flickr8k import PHOTO_FOLDERS
from seesay.data.readers.flickr30k import FOLDERS
from seesay.data.readers.json_files import has, json_files, read_json
from seesay.data.readers.source import CaptionFile, Layout, Row, Source, photo_folders
from seesay.data.records import Problem
from seesay.errors import DataError


def _find(folder: Path, _: Columns) -> list[Path]:
    return json_files(folder, "karpathy")


def _read(source: Source) -> list[CaptionFile]:
    folders = photo_folders(source.folder, *PHOTO_FOLDERS, *FOLDERS)
    several = len(source.files) > 1  # one archive contains those of Flickr8k, Flickr30k and COCO
    return [CaptionFile(file, _rows(file, source.label(file)), folders, optional=several) for file in source.files]


def karpathy_images(path: Path) -> list[dict[str, Any]]:
    """The photos that a file of Karpathy's lists.

    Raises:
        DataError: it is not such a file.
    """
    content = read_json(path, "Karpathy's captions")
    if not has(content, images=list):
        keys = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{path}: keys found: {keys or 'none'}; expected the list images, as Karpathy's files have it")
    return content["images"]


def _rows(path: Path, label: str) -> Iterator[Row | Problem]:
    for number, item in enumerate(karpathy_images(path)):
        place = f"images[{number}]"
        if not has(item, filename=str, sentences=list):
            what = "left out; expected an object with filename and sentences"
            yield Problem("error", f"{label}:{place}", what)
            continue
        folder = item.get("filepath")  # COCO's photos have one
        name = f"{folder}/{item['filename']}" if isinstance(folder, str) and folder else item["filename"]
        split = str(item.get("split") or "")
        for sentence in item["sentences"]:
            yield from (Row(place, name, caption, split) for caption in _captions(sentence))


def _captions(sentence: Any) -> list[str]:
    if has(sentence, tokens=list) and not isinstance(sentence.get("raw"), str):
        return [" ".join(map(str, sentence["tokens"]))]
    return captions_in(sentence)


LAYOUT = Layout("karpathy", "Karpathy's dataset*.json", _find, _read)
