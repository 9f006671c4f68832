"""JSON files of captions: recognising their kind, and iterating over their objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from seesay.data.boxes.plain import KEY, from_plain
from seesay.data.images import photo_suffixes
from seesay.data.readers.columns import CAPTION, IMAGE, NUMBERED, Columns, captions_in, split_hint, split_like
from seesay.data.readers.photo_finder import listed_files
from seesay.data.readers.source import Row
from seesay.data.records import Problem
from seesay.data.text import parse_json, read_lines, read_text

Kind = Literal["karpathy", "coco", "textcaps", "list", "lines", ""]

NO_COLUMNS = Columns()
END = 65_536  # bytes read of either end of a file to tell its kind
MOST_FILES = 200  # in one folder; if there are more, each file belongs to one photo
MOST_VALUES = 20  # different ones of a key that may be splits


def json_files(folder: Path, kind: Kind, columns: Columns = NO_COLUMNS) -> list[Path]:
    """The files of one kind in a folder and in its `annotations`, sorted."""
    files = [file for place in (folder / "annotations", folder) for file in _listed(place)]
    return [file for file in files if kind_of(file, columns) == kind]


def kind_of(path: Path, columns: Columns = NO_COLUMNS) -> Kind:
    """The kind of a JSON file, from its beginning and end alone, as it may be very large."""
    try:
        state = path.stat()
        return _kind_of(path, state.st_size, state.st_mtime_ns, columns)
    except OSError:
        return ""


def read_json(path: Path, expected: str) -> Any:
    """The content of a file. Raises DataError: not JSON."""
    return parse_json(read_text(path), str(path), expected)


def has(item: Any, **types: Any) -> bool:
    """Whether it is an object whose values under these keys are of these types."""
    return isinstance(item, dict) and all(isinstance(item.get(key), kind) for key, kind in types.items())


def line_items(path: Path) -> Iterator[tuple[int | str, Any, str]]:
    """(line, object, text) of JSON lines; the object is None where the line is no JSON."""
    for number, line in enumerate(read_lines(path), 1):
        if line.strip():
            try:
                yield number, json.loads(line), line
            except (ValueError, RecursionError):
                yield number, None, line


def list_items(path: Path) -> Iterator[tuple[int | str, Any, str]]:
    """(place, object, text) of each item of a JSON file.

    The file is a list of objects, such a list under one key, or an object photo -> captions.
    """
    content = read_json(path, "a list of objects with a photo and its captions")
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list) and has(next(iter(value), None))]
        content = lists[0] if lists else [{"image": name, "captions": value} for name, value in content.items()]
    for number, item in enumerate(content):
        yield f"[{number}]", item, json.dumps(item, ensure_ascii=False)[:60]


def item_rows(items: Iterator[tuple[int | str, Any, str]], label: str, columns: Columns) -> Iterator[Row | Problem]:
    """The rows of objects that have a photo and one or more captions each.

    Args:
        items: place, object, and its text for messages.
        label: the file's name in problems.
        columns: keys that the user named.
    """
    other_values: dict[str, set[str]] = {}
    for place, item, text in items:
        image, captions, split = item_values(item, columns)
        if not image or not captions:
            wanted = f"{columns.image or 'file_name'} and {'+'.join(columns.caption) or 'text'}"
            usual = "" if columns.caption else f" (or {', '.join(CAPTION[:6])})"
            what = f"row left out; got {text[:60]!r}, expected an object with {wanted}{usual}"
            yield Problem("error", f"{label}:{place}", what)
            continue
        _note_values(other_values, item, columns)
        objects = from_plain(item.get(KEY))
        yield from (Row(place, image, caption, split, objects) for caption in captions)
    if name := split_like(other_values):
        yield Problem("note", label, split_hint(name, other_values[name]))


def item_values(item: Any, columns: Columns) -> tuple[str, list[str], str]:
    """(photo, captions, split) of an object; empty if it has no text for them."""
    if not isinstance(item, dict):
        return "", [], ""
    keys = (columns.image,) if columns.image else IMAGE
    image = next((name for key in keys if (name := _photo_name(item.get(key)))), "")
    return image, item_captions(item, columns), str(item.get(columns.split or "split") or "")


def item_captions(item: Mapping[str, Any], columns: Columns) -> list[str]:
    """The captions of an object: under the keys given by the user, else under the usual ones."""
    if columns.caption:
        return [caption for key in columns.caption for caption in captions_in(item.get(key))]
    for key in CAPTION:
        if item.get(key) is not None:
            return captions_in(item[key])
    numbered = [caption for key in item if NUMBERED.fullmatch(key) for caption in captions_in(item[key])]
    return [caption for caption in numbered if caption.strip()]


def _photo_name(value: Any) -> str:
    if isinstance(value, dict):  # as Hugging Face writes a photo that has a file
        value = value.get("path") or value.get("file_name")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else ""


def _note_values(seen: dict[str, set[str]], item: Mapping[str, Any], columns: Columns) -> None:
    """Collect some values of unused keys for `split_like`."""
    if columns.split or "split" in item:
        return
    used = {columns.image, *columns.caption, *IMAGE, *CAPTION}
    for key, value in item.items():
        if key not in used and isinstance(value, str | int):
            values = seen.setdefault(key, set())
            if len(values) < MOST_VALUES:
                values.add(str(value))


def _listed(folder: Path) -> list[Path]:
    files = listed_files(folder, (".json", ".jsonl", ".ndjson"))
    return files if len(files) <= MOST_FILES else []


@lru_cache(maxsize=1024)
def _kind_of(path: Path, size: int, _changed: int, columns: Columns) -> Kind:
    with path.open("rb") as file:
        start = file.read(END)
        file.seek(max(0, size - END))
        end = file.read()
    encoding = "utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    head, tail = start.decode(encoding, "ignore").lstrip(), _tail(end, encoding)
    image = (columns.image,) if columns.image else IMAGE
    captions = columns.caption or CAPTION
    if head.startswith("["):
        return "list" if _has_key(head, image) and _has_key(head, captions) else ""
    if not head.startswith("{"):
        return ""
    if _has_key(head, ("images",)) and _has_key(head, ("sentences",)):
        return "karpathy"
    if _has_key(head, ("data",)) and _has_key(head, ("caption_str", "reference_strs")):
        return "textcaps"
    ends = head + tail
    if _has_key(ends, ("images",)) and _has_key(ends, ("caption",)) and _has_key(ends, ("image_id",)):
        return "coco"
    return _lines_or_mapping(head, image, captions)


def _tail(end: bytes, encoding: str) -> str:
    if encoding == "utf-16":  # two bytes a character, here without the mark that says in which order
        text = end.replace(b"\0", b"")
        return text.decode("latin-1")
    return end.decode("utf-8", "ignore")


def _lines_or_mapping(head: str, image: Sequence[str], captions: Sequence[str]) -> Kind:
    first = head.split("\n", 1)[0]
    try:
        item = json.loads(first)
    except (ValueError, RecursionError):
        item = None
    if isinstance(item, dict) and _has_any(item, image) and (_has_any(item, captions) or any(map(_numbered, item))):
        return "lines"
    # {"annotations": [{"image": ..., "caption": ...}, ...]}, or {"photo.jpg": ["A dog", ...], ...}
    if re.match(r'\{\s*"\w+"\s*:\s*\[\s*\{', head) and _has_key(head, image) and _has_key(head, captions):
        return "list"
    name = re.match(r'\{\s*"([^"]+)"\s*:\s*["\[]', head)
    return "list" if name and Path(name[1]).suffix.lower() in photo_suffixes() else ""


def _has_any(item: Mapping[str, Any], keys: Sequence[str]) -> bool:
    return any(key in item for key in keys)


def _numbered(key: str) -> bool:
    return NUMBERED.fullmatch(key) is not None


def _has_key(text: str, keys: Sequence[str]) -> bool:
    named = NUMBERED.pattern if keys is CAPTION else r"(?!)"
    return re.search(rf'"({"|".join(map(re.escape, keys))}|{named})"\s*:', text) is not None
