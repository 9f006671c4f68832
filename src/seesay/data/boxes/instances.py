"""Reading boxes from COCO's `instances_*.json`, of 80 categories, crowds included."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from seesay.data.boxes.naming import KIND_WORDS
from seesay.data.boxes.source import BoxFile, FoundObject, fraction_box
from seesay.data.nouns import singular
from seesay.data.records import Problem
from seesay.data.text import parse_json, read_text, without_suffix
from seesay.errors import DataError


def instance_files(path: Path) -> list[Path]:
    """The file itself, or the instances files of a folder (or of its `annotations`)."""
    if path.suffix.lower() == ".json":
        return [path] if path.is_file() else []
    return sorted(path.glob("annotations/instances_*.json")) or sorted(path.glob("instances_*.json"))


def read_instances(file: Path, label: Callable[[Path], str]) -> BoxFile:
    """Read the boxes of all photos of a file, with one object for each category.

    Captions do not distinguish the instances of a category.

    Args:
        file: a file in COCO's layout.
        label: the file's name in problems.

    Raises:
        DataError: it is not JSON, or lacks images, annotations or categories.
    """
    content = _content(file)
    sizes = {
        image["id"]: (image["file_name"], (image["width"], image["height"]))
        for image in content["images"]
        if _has(image, id=(int, str), file_name=str, width=(int, float), height=(int, float))
        and min(image["width"], image["height"]) > 0
    }
    categories = {
        category["id"]: category["name"] for category in content["categories"] if _has(category, id=int, name=str)
    }
    objects: dict[str, dict[str, FoundObject]] = {}
    useless = 0
    for note in content["annotations"]:
        image = sizes.get(note.get("image_id")) if isinstance(note, Mapping) else None
        category = categories.get(note.get("category_id")) if image else None
        corners = _corners(note.get("bbox")) if image and category else None
        box = fraction_box(corners, image[1]) if image and corners else None
        if image is None or category is None or box is None:
            useless += 1
            continue
        things = objects.setdefault(PurePosixPath(without_suffix(image[0])).name, {})
        things.setdefault(category, FoundObject(category, [], names_of(category))).boxes.append(box)
    problems = []
    if useless:
        what = f"annotations without a known photo, category and box, left out: {useless:,}"
        problems.append(Problem("note", label(file), what))
    return BoxFile({name: list(things.values()) for name, things in objects.items()}, tuple(problems))


def names_of(category: str) -> set[str]:
    """The nouns that name a category: those of the table, or else the last word of its name."""
    return set(KIND_WORDS.get(category) or (singular(category.split()[-1]),))


def _corners(bbox: Any) -> tuple[float, ...] | None:
    """COCO's (left, top, width, height) -> (left, top, right, bottom), in pixels."""
    if not (isinstance(bbox, list) and len(bbox) == 4):
        return None
    if not all(isinstance(value, int | float) for value in bbox):
        return None
    left, top, width, height = map(float, bbox)
    return left, top, left + width, top + height


def _has(item: Any, **types: Any) -> bool:
    return isinstance(item, dict) and all(isinstance(item.get(key), kind) for key, kind in types.items())


def _content(file: Path) -> dict[str, list[Any]]:
    content = parse_json(read_text(file), str(file), "COCO instances")
    if not _has(content, images=list, annotations=list, categories=list):
        keys = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        raise DataError(f"{file}: keys found: {keys or 'none'}; expected the lists images, annotations and categories")
    return content
