"""COCO's JSON, with lists `images` and `annotations`, also used by VizWiz, nocaps and others."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from seesay.data.boxes.plain import KEY, from_plain
from seesay.data.readers.columns import Columns
from seesay.data.readers.json_files import has, json_files, kind_of, read_json
from seesay.data.readers.photo_finder import coco_number
from seesay.data.readers.source import CaptionFile, Layout, Row, Source, names_of_split, photo_folders, split_in_name
from seesay.data.records import Problem
from seesay.data.text import count_of, first_few
from seesay.errors import DataError

Ids = dict[Any, set[str]]  # id -> the names of its images, more than one if ids are given twice
YEARS = re.compile(r"captions_(?:train|val)(20\d\d)")


def _find(folder: Path, _: Columns) -> list[Path]:
    named = sorted(folder.glob("annotations/captions_*.json")) or sorted(folder.glob("captions_*.json"))
    # "": damaged, which is reported later
    named = [file for file in named if kind_of(file) in ("coco", "")]
    return list(dict.fromkeys([*named, *json_files(folder, "coco")]))


def _read(source: Source) -> list[CaptionFile]:
    folder = source.folder.parent if source.folder.name == "annotations" else source.folder
    years = {match[1] for file in source.files if (match := YEARS.fullmatch(file.stem))}
    files = []
    for file in source.files:
        split = split_in_name(file.stem)
        rows = _rows(file, source.label(file), split)
        both = coco_number if len(years) > 1 and YEARS.fullmatch(file.stem) else None
        files.append(CaptionFile(file, rows, _folders(folder, file, split), same_photo=both))
    return files


def _folders(root: Path, file: Path, split: str) -> list[Path]:
    """The folders to search for a file's photos, the likeliest first.

    For captions_val2017.json: val2017/, then val/, ..., images/val2017/, ...
    """
    years = [f"{part}{year}" for year in (2017, 2014) for part in ("train", "val")]
    parts = dict.fromkeys([file.stem.removeprefix("captions_"), *names_of_split(split)])
    return [*photo_folders(root, *parts), *photo_folders(root, *years)]


def _rows(path: Path, label: str, split: str) -> Iterator[Row | Problem]:
    content = _content(path)
    ids = _image_ids(content["images"])
    objects = {i["file_name"]: from_plain(i[KEY]) for i in content["images"] if has(i, file_name=str) and KEY in i}
    alike = _comparable(ids)
    joined, canned = 0, 0
    for index, note in enumerate(content["annotations"]):
        where = f"annotations[{index}]"
        if not has(note, image_id=(int, float, str), caption=str):
            yield Problem("error", f"{label}:{where}", "left out; expected an object with image_id and caption")
            continue
        if note.get("is_rejected") is True or note.get("is_precanned") is True:
            canned += 1
            continue
        names = ids.get(note["image_id"])
        if names is None:
            names = alike.get(_comparable_id(note["image_id"]), set())
            joined += bool(names)
        if len(names) == 1:
            name = next(iter(names))
            yield Row(where, name, note["caption"], split, objects.get(name, ()))
        else:
            yield Problem("error", f"{label}:{where}", f"left out; {_which(note['image_id'], names, ids)}")
    if joined:
        what = f"{count_of(joined, 'caption')} joined with images whose id is written in another way ({_kinds(ids)})"
        yield Problem("repaired", label, what)
    if canned:
        # VizWiz's evaluation leaves them out too: "Quality issues are too severe to recognize
        # visual content."
        what = f"{count_of(canned, 'caption')} left out that VizWiz marks as rejected or as ready-made"
        yield Problem("note", label, what)


def _image_ids(images: Sequence[Any]) -> Ids:
    ids: Ids = defaultdict(set)
    for image in images:
        if has(image, id=(int, float, str), file_name=str):
            ids[image["id"]].add(image["file_name"])
    return dict(ids)


def _comparable(ids: Ids) -> Ids:
    """The images by comparable id; an id may then have several images."""
    comparable: Ids = defaultdict(set)
    for id_, names in ids.items():
        comparable[_comparable_id(id_)] |= names
    return dict(comparable)


def _comparable_id(id_: Any) -> Any:
    """ "000000000042", "42", 42.0 and 42 are one id."""
    if isinstance(id_, str) and re.fullmatch(r"\s*\d{1,30}\s*", id_):
        return int(id_)
    return int(id_) if isinstance(id_, float) and id_.is_integer() else id_


def _which(id_: Any, names: set[str], ids: Ids) -> str:
    if names:
        return f"its image_id {id_!r} is the id of {len(names)} images ({first_few(sorted(names))})"
    return f"its image_id {id_!r} is not among the file's images ({_kinds(ids)})"


def _kinds(ids: Ids) -> str:
    """ "whose ids are text such as '17'"."""
    kinds = {"text" if isinstance(id_, str) else "numbers": repr(id_) for id_ in reversed(ids)}
    return "whose ids are " + " and ".join(f"{kind} such as {id_}" for kind, id_ in kinds.items()) if kinds else "none"


def _content(path: Path) -> dict[str, list[Any]]:
    content = read_json(path, "COCO captions")
    if not has(content, images=list, annotations=list):
        keys = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{path}: keys found: {keys or 'none'}; expected the lists images and annotations")
    return content


LAYOUT = Layout("coco", "annotations/captions_*.json", _find, _read)
