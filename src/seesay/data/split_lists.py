"""Lists of the photos of a split, in text files and JSON, and matching their names to photos."""

from __future__ import annotations

import functools
import importlib.resources
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from seesay.data.images import photo_suffixes
from seesay.data.records import SPLIT_ALIASES, SPLITS, CaptionRecord
from seesay.data.text import composed_form, parse_json, read_lines, read_text, without_suffix
from seesay.errors import DataError

# Flickr_8k.trainImages.txt
LIST_NAME = re.compile(r"(?:flickr_?\d+k\.)?([a-z]+?)(?:images)?\.txt", re.IGNORECASE)


class IdList(NamedTuple):
    """Ids or file names of the photos of one split, and the file's name for messages."""

    split: str
    label: str
    ids: Sequence[str]


@functools.cache
def karpathy_lists() -> tuple[IdList, ...]:
    """Karpathy's 29,000 / 1,014 / 1,000 photos of Flickr30k."""
    file = importlib.resources.files("seesay.data") / "karpathy_flickr30k.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    return tuple(IdList(split, "Karpathy's Flickr30k ids", [str(id_) for id_ in content[split]]) for split in SPLITS)


@functools.cache
def karpathy_ids() -> frozenset[str]:
    """All numbers of Flickr30k's photos in these lists."""
    return frozenset(id_ for ids in karpathy_lists() for id_ in ids.ids)


def photo_number(name: str) -> str:
    """Flickr's or COCO's number of a photo, which all copies share; "" for any other file name.

    Flickr8k's 1000268201_693b08cb0e.jpg is Flickr30k's 1000268201.jpg;
    COCO_val2014_000000000042.jpg is 000000000042.jpg of 2017. Names such as 0001.jpg, cover.jpg or
    20240101.jpg have no such number: equal names need not mean equal photos.
    """
    stem = without_suffix(name)
    if known := re.fullmatch(r"(\d{5,})_([0-9a-f]{8,})|(?:COCO_[a-z]+\d{4}_)?(0{6}\d{6})", stem):
        is_date = known[1] and len(known[1]) == 8 and known[2].isdigit()  # as in 20240101_12000001
        return "" if is_date else known[1] or known[3]
    return stem if stem in karpathy_ids() else ""


class PhotoLookup:
    """Finds photos by id, file name, stem, or Flickr's or COCO's number, if it is unique."""

    def __init__(self, records: Sequence[CaptionRecord]) -> None:
        self._records = records
        self._names: dict[str, str] = {}
        for record in records:
            for name in {composed_form(record.image.name), composed_form(record.image.stem)}:
                self._names[name] = record.id if self._names.get(name, record.id) == record.id else ""
        self._names |= {composed_form(record.id): record.id for record in records}

    def find(self, name: str) -> str:
        """The id of the photo with this name in a list, or ""."""
        if id_ := self._names.get(name):
            return id_
        path = composed_form(name)
        if id_ := self._names.get(path) or self._names.get(without_suffix(path)):
            return id_
        file_name = path.rpartition("/")[2]
        key = photo_number(file_name)
        id_ = self._names.get(file_name) or self._names.get(key) or self._numbers.get(key, "")
        return "" if "/" in path and "/" in id_ else id_  # x/1.jpg is not y/1.jpg

    @functools.cached_property
    def _numbers(self) -> dict[str, str]:
        """Ids by the photos' numbers."""
        numbers: dict[str, str] = {"": ""}
        for record in self._records:
            if key := photo_number(record.image.name):
                numbers[key] = record.id if numbers.get(key, record.id) == record.id else ""
        return numbers


def read_lists(path: Path) -> list[IdList]:
    """The lists of a folder, one id or file name a line, or those of a JSON file.

    Args:
        path: a folder with train.txt, ...; or JSON: Karpathy's, or {"train": [ids], "val": [ids],
            ...}.

    Raises:
        DataError: there is none.
    """
    if path.is_file():
        return _json_lists(path)
    if lists := text_lists(path):
        return lists
    raise DataError(f"splits: {path} has none of train.txt, dev.txt (or val.txt), test.txt")


def text_lists(folder: Path) -> list[IdList]:
    """The id lists of a folder; test.txt beside test.jpg is that photo's caption, not a list."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name.lower().endswith(".txt"))
    except OSError:
        return []
    lists = []
    for name in names:
        match = LIST_NAME.fullmatch(name)
        split = SPLIT_ALIASES.get(match[1].lower(), "") if match else ""
        if split and not _has_photo(folder / name):
            lines = read_lines(folder / name)
            lists.append(IdList(split, name, [line.strip() for line in lines if line.strip()]))
    return lists


def _has_photo(file: Path) -> bool:
    return any(file.with_suffix(suffix).is_file() for suffix in photo_suffixes())


def _json_lists(path: Path) -> list[IdList]:
    content = parse_json(read_text(path), f"splits: {path}", "Karpathy's file, or ids by split")
    lists: dict[str, list[str]] = {}
    images = content.get("images") if isinstance(content, dict) else None
    if isinstance(images, list):
        for item in images:
            if isinstance(item, dict) and isinstance(item.get("filename"), str):
                lists.setdefault(str(item.get("split")), []).append(item["filename"])
    elif isinstance(content, dict):
        lists = {name: [str(id_) for id_ in ids] for name, ids in content.items() if isinstance(ids, list)}
    known = {name: split for name in lists if (split := SPLIT_ALIASES.get(name.strip().lower()))}
    if not known:
        raise DataError(
            f"splits: {path}: names no split; expected Karpathy's images with filename and split, or lists of ids "
            'under "train", "val" and "test"'
        )
    return [IdList(split, f"{path.name} ({name})", lists[name]) for name, split in known.items()]
