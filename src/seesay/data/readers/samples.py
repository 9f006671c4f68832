"""Samples: a photo and the files with the same name (dog.jpg, dog.txt, dog.json).

They may be in a folder or in a tar.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from seesay.data.boxes.plain import KEY, from_plain
from seesay.data.images import photo_suffixes
from seesay.data.readers.columns import Columns
from seesay.data.readers.json_files import item_captions
from seesay.data.readers.source import Row
from seesay.data.records import BoxedObject, Problem
from seesay.data.text import decode_text, parse_json
from seesay.errors import DataError

TEXTS = ("json", "txt", "caption")


def split_key(name: str) -> tuple[str, str]:
    """Split at the last part's first dot, as WebDataset does: "a/dog.seg.png" -> "a/dog", "seg.png"."""
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    return f"{folder}{slash}{stem}", extension.lower()


def is_photo(extension: str) -> bool:
    """Whether an extension, without its first dot, is a photo's; "seg.png" is a mask's."""
    return f".{extension}" in photo_suffixes()


def sample_rows(
    photo: str, texts: Mapping[str, bytes], label: str, split: str, columns: Columns
) -> Iterator[Row | Problem]:
    """The captions of a photo: those in its JSON, else the lines of its text.

    Args:
        photo: the photo's name.
        texts: the content of the files beside it, by extension.
        label: the name of the tar or folder in problems.
        split: the split if the JSON has none.
        columns: keys that the user named.
    """
    for extension in (*columns.caption, *TEXTS):
        if extension not in texts:
            continue
        place = str(PurePosixPath(split_key(photo)[0] + f".{extension}"))
        try:
            captions, own_split, objects = _captions(texts[extension], extension == "json", f"{label}:{place}", columns)
        except DataError as error:
            yield Problem("error", f"{label}:{place}", str(error).partition(": ")[2])
            continue
        if captions:
            yield from (Row(place, photo, caption, own_split or split, objects) for caption in captions)
            return


def _captions(
    data: bytes, is_json: bool, where: str, columns: Columns
) -> tuple[list[str], str, tuple[BoxedObject, ...]]:
    """(captions, split, boxes)."""
    text = decode_text(data, where)
    if not is_json:
        return [line.strip() for line in text.splitlines() if line.strip()], "", ()
    item = parse_json(text, where, "an object with captions")
    if not isinstance(item, dict):
        return [], "", ()
    split = str(item.get(columns.split or "split") or "")
    return item_captions(item, columns), split, from_plain(item.get(KEY))
