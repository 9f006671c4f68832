"""CaptionRecord and Dataset: the result of every reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from seesay.data.packed import Packed
from seesay.errors import DataError, printable
from seesay.geometry import Box

SPLITS = ("train", "dev", "test")
# "restval" is the part of COCO's val that belongs to Karpathy's training split.
SPLIT_ALIASES = {
    **dict.fromkeys(("train", "training", "restval"), "train"),
    **dict.fromkeys(("dev", "val", "valid", "validation", "eval", "evaluation"), "dev"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class BoxedObject:
    """A thing on a photo with its box, or several things of a kind with their boxes.

    Attributes:
        kind: "people", "animals", ... of Flickr30k Entities, or COCO's category.
        boxes: one or more, in fractions of the photo's width and height.
        names: nouns in the singular that name it.
        mentions: (caption, word) indices of the heads of the phrases that name it: the caption's
            index in the record, and the word's among its `split_words`.
    """

    kind: str
    boxes: tuple[Box, ...]
    names: frozenset[str]
    mentions: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class CaptionRecord:
    """One photo with its reference captions.

    Attributes:
        id: unique within the data set (the file's stem where the layout has no other).
        image: the photo's file.
        captions: one or more sentences as written, none of them blank.
        split: "train", "dev", "test", or "" for photos that belong to no split.
        objects: the things with boxes; empty if no boxes were given (`data.boxes`).
    """

    id: str
    image: Path
    captions: tuple[str, ...]
    split: str
    objects: tuple[BoxedObject, ...] = ()


@dataclass(frozen=True)
class Problem:
    """A problem in the data. A `repaired` row loses nothing; an `error` leaves a row or photo out.

    Attributes:
        kind: "repaired", "error" or "note".
        where: the file, and its row where there is one ("results.csv:20001").
        what: one line for a human.
    """

    kind: Literal["repaired", "error", "note"]
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {printable(self.where)}: {printable(self.what)}"


@dataclass(frozen=True)
class Dataset:
    """Records of one or several sources, and the problems in them.

    Attributes:
        layout: the layout's name, one of `seesay.data.readers.LAYOUTS`, joined by "+" for several.
        records: photos with captions, ids unique.
        problems: the problems, in the order in which they were found.
        files: names of the caption files that were read.
        packed: files that hold some of the photos; `seesay.data.readers.unpack_photos` writes those
            to their paths.
    """

    layout: str
    records: tuple[CaptionRecord, ...]
    problems: tuple[Problem, ...] = field(default=())
    files: tuple[str, ...] = field(default=(), compare=False)
    packed: tuple[Packed, ...] = field(default=(), repr=False, compare=False)

    def split(self, name: str) -> list[CaptionRecord]:
        """The records of a split ("val" and "validation" mean "dev").

        Raises:
            DataError: the data lacks it; the text lists the splits that it has.
        """
        wanted = SPLIT_ALIASES.get(name, name)
        records = [record for record in self.records if record.split == wanted]
        if not records:
            available = ", ".join(f"{split} ({n} photos)" for split, n in self.counts().items()) or "none"
            raise DataError(f"split '{name}': not in this data; it has: {available}")
        return records

    def counts(self) -> dict[str, int]:
        """Photos per split that occurs, in the order train, dev, test, (no split)."""
        counted = Counter(record.split for record in self.records)
        return {split or "(no split)": counted[split] for split in (*SPLITS, "") if counted[split]}


def count_captions(records: Iterable[CaptionRecord]) -> int:
    """How many reference captions the records hold together."""
    return sum(len(record.captions) for record in records)
