"""The types that readers take and return: a source, and files of caption rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from seesay.data.packed import Packed
from seesay.data.readers.columns import Columns
from seesay.data.readers.photo_finder import listed_folders
from seesay.data.records import SPLIT_ALIASES, BoxedObject, Problem


class Row(NamedTuple):
    """One caption as a file has it.

    Attributes:
        line: the number of the row in its file, from 1 including the header, or another name of its
            position.
        image: the photo as the file names it.
        caption: the text.
        split: the split as the row has it, in any usual form; "" if there is none.
        objects: the boxes that the file has for this photo.
    """

    line: int | str
    image: str
    caption: str
    split: str = ""
    objects: tuple[BoxedObject, ...] = ()


@dataclass(frozen=True)
class CaptionFile:
    """A file of captions.

    Attributes:
        path: the file.
        rows: the file's rows; a Problem takes the place of a row that cannot be read.
        folders: folders that may hold the photos, the likeliest first.
        prefix: put before the photos' names to make their ids, for files in subfolders.
        optional: whether the file is passed over without an error if none of its photos exists.
        same_photo: maps a photo's name to a name that all files of the data set share, or to "" if
            unknown; for data sets that were published twice with different file names.
        packed: the photos that lie in the file itself, where they do.
    """

    path: Path
    rows: Iterable[Row | Problem]
    folders: Sequence[Path]
    prefix: str = ""
    optional: bool = False
    same_photo: Callable[[str], str] | None = None
    packed: Packed | None = None


@dataclass(frozen=True)
class Source:
    """The input of a reader: a data set's folder and files.

    Attributes:
        folder: the one that holds the captions.
        root: the one that the user named: `folder` or around it.
        files: the files that the layout's `find` returned.
        columns: names that the user gave.
        label: a file's name in problems.
    """

    folder: Path
    root: Path
    files: Sequence[Path]
    label: Callable[[Path], str]
    columns: Columns = field(default_factory=Columns)


@dataclass(frozen=True)
class Layout:
    """A layout of data sets on disk, with its reader.

    Attributes:
        name: the layout's name in `data.layout`.
        looks_for: the files that make a folder one of this layout, for messages.
        find: (folder, columns) -> the captions files of this layout in a folder, in the order of
            reading; an empty list if the folder has another layout.
        read: reads some or all of these files.
        karpathy: whether Karpathy's ids are its usual split.
        last_resort: whether it is tried only where no folder at any depth has another.
    """

    name: str
    looks_for: str
    find: Callable[[Path, Columns], list[Path]]
    read: Callable[[Source], list[CaptionFile]]
    karpathy: bool = False
    last_resort: bool = False


def split_name(text: str) -> str:
    """ "train", "dev" or "test" for any usual spelling, else ""."""
    return SPLIT_ALIASES.get(text.strip().lower(), "")


def split_in_name(stem: str) -> str:
    """The split that the name of a file or folder contains, "" for none or several.

    "captions_val2017" -> "dev", "coco_karpathy_train" -> "train", "Train_GCC-training" -> "train".
    """
    splits = set(map(split_name, re.findall(r"[a-z]+", stem.lower()))) - {""}
    return splits.pop() if len(splits) == 1 else ""


def photo_folders(base: Path, *parts: str) -> list[Path]:
    """The folders in which photos usually are, the likeliest first.

    Args:
        base: the data set's folder.
        parts: such as "val2017", the likeliest first.
    """
    images = ("images", "Images")
    inner = [f"{folder}/{part}" for part in parts for folder in images]
    return [base / name for name in (*parts, *inner, *images)] + [base]


def split_folders(folder: Path) -> list[Path]:
    """A folder, and those in it that are named like splits."""
    return [folder, *(Path(inner) for inner in listed_folders(folder) if split_name(Path(inner).name))]


def names_of_split(split: str) -> list[str]:
    """Every usual spelling of a split: "dev" -> "dev", "val", "valid", "validation", ..."""
    return [alias for alias, meant in SPLIT_ALIASES.items() if meant == split]
