"""Objects with boxes as plain values, for the files that `seesay data convert` writes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from seesay.data.records import BoxedObject
from seesay.geometry import Box

KEY = "objects"  # in every format


def to_plain(objects: Iterable[BoxedObject]) -> list[dict[str, Any]]:
    """Objects -> dicts of lists, texts and numbers."""
    return [
        {
            "kind": thing.kind,
            "names": sorted(thing.names),
            "boxes": [list(box) for box in thing.boxes],
            "mentions": [list(mention) for mention in thing.mentions],
        }
        for thing in objects
    ]


def from_plain(value: Any) -> tuple[BoxedObject, ...]:
    """The inverse of `to_plain`; () for any other value under the same key."""
    if not isinstance(value, list):
        return ()
    try:
        return tuple(map(_object, value))
    except (KeyError, TypeError, ValueError):
        return ()


def _object(item: Any) -> BoxedObject:
    boxes = tuple(map(_box, item["boxes"]))
    mentions = tuple((int(caption), int(word)) for caption, word in item.get("mentions") or ())
    if not boxes or not isinstance(item["kind"], str):
        raise ValueError
    return BoxedObject(item["kind"], boxes, frozenset(map(str, item.get("names") or ())), mentions)


def _box(value: Any) -> Box:
    left, top, right, bottom = map(float, value)
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError
    return left, top, right, bottom
