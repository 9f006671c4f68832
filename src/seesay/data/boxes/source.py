"""The types that the readers of boxes return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from seesay.data.records import Problem
from seesay.geometry import Box


class Mention(NamedTuple):
    """The head of a phrase that names a thing.

    Attributes:
        words: the sentence as `split_words` splits it.
        word: the index of the phrase's last word.
    """

    words: tuple[str, ...]
    word: int


@dataclass
class FoundObject:
    """A thing on a photo, or several of a kind.

    Attributes:
        kind: "people", "animals", ... of Flickr30k Entities, or COCO's category.
        boxes: the object's boxes, in fractions of the photo's width and height.
        names: words in the singular that name it.
        mentions: the object's mentions in sentences; empty if the boxes have no sentences.
    """

    kind: str
    boxes: list[Box]
    names: set[str] = field(default_factory=set)
    mentions: list[Mention] = field(default_factory=list)


@dataclass(frozen=True)
class BoxFile:
    """The content of a folder or file of boxes.

    Attributes:
        objects: stem of a photo's file name -> its objects.
        problems: files that cannot be read, and the number of invalid boxes.
    """

    objects: Mapping[str, list[FoundObject]]
    problems: tuple[Problem, ...]


def fraction_box(corners: tuple[float, ...], size: tuple[float, float]) -> Box | None:
    """Corners in pixels -> a box in fractions; None if nothing of it is inside the photo.

    Args:
        corners: (left, top, right, bottom).
        size: (width, height) of the photo.
    """
    width, height = size
    x = [min(max(corner / width, 0.0), 1.0) for corner in (corners[0], corners[2])]
    y = [min(max(corner / height, 0.0), 1.0) for corner in (corners[1], corners[3])]
    return (x[0], y[0], x[1], y[1]) if x[0] < x[1] and y[0] < y[1] else None
