"""Finding the columns, or keys of JSON objects, of photo, captions and split.

The user may name them; else they are found by their usual names.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seesay.data.records import SPLIT_ALIASES
from seesay.data.text import first_few
from seesay.errors import DataError, did_you_mean

IMAGE = ("image", "file_name", "filename", "file", "image_name", "image_file", "image_path", "filepath", "file_path")
IMAGE += ("path", "img", "img_path", "photo", "jpg", "image_id", "img_id")
CAPTION = ("caption", "captions", "text", "texts", "sentences", "sentence", "comment", "comments", "description")
CAPTION += ("descriptions", "prompt", "prompts", "raw", "txt")
# caption_0, caption_1, ...
NUMBERED = re.compile(r"(caption|text|sentence|comment|description|prompt)s?[ _-]?\d+")
INNER = ("raw", "caption", "text", "sentence")  # keys of a caption that is an object itself
SPLIT_LIKE = ("fold", "set", "subset", "set_name", "partition", "phase", "part")
ROLES = ("image", "caption", "split")

ColumnSpec = str | Sequence[str] | Mapping[str, str | Sequence[str]]


@dataclass(frozen=True)
class Columns:
    """Column names given by the user; "" or () where columns are guessed.

    Attributes:
        image: the column of the photos' names, or of the photos themselves.
        caption: the columns of captions, one or more.
        split: the column of the splits' names.
    """

    image: str = ""
    caption: tuple[str, ...] = ()
    split: str = ""

    @classmethod
    def parse(cls, spec: ColumnSpec) -> Columns:
        """From `data.columns`: "image=pic,caption=words", its parts in a list, or a mapping.

        Several columns of captions are joined by "+" ("caption=first+second") or given as a list.

        Raises:
            DataError: it has another form, or names a role other than image, caption and split.
        """
        if isinstance(spec, Mapping):
            items = [(role, _names(value)) for role, value in spec.items()]
        else:
            parts = [part for text in _names(spec, ",") for part in text.split(",") if part.strip()]
            items = [(role, _names(names)) for role, _, names in (part.partition("=") for part in parts)]
        chosen: dict[str, list[str]] = {}
        for role, names in items:
            role = role.strip()
            if role not in ROLES:
                near = did_you_mean(role, ROLES)
                raise DataError(f"data.columns: unknown '{role}'; expected image, caption or split.{near}")
            if not names:
                raise DataError(f"data.columns: {role} names no column; expected {role}=COLUMN")
            if role != "caption" and len(names) > 1:
                raise DataError(f"data.columns: {role} is one column; got {', '.join(names)}")
            chosen[role] = names
        image, caption, split = (chosen.get(role, []) for role in ROLES)
        return cls("".join(image), tuple(caption), "".join(split))


@dataclass(frozen=True)
class FoundColumns:
    """The columns of one table that are read.

    Attributes:
        image: the column of photos.
        captions: the columns of captions, one or more.
        split: the column of splits, or None.
    """

    image: str
    captions: tuple[str, ...]
    split: str | None


def find_columns(header: Sequence[str], wanted: Columns, where: Path) -> FoundColumns:
    """Find the columns of photo, captions and split in a header; case does not matter.

    Args:
        header: all names.
        wanted: the columns that the user gave.
        where: the file, for messages.

    Raises:
        DataError: a column is missing; the text lists the columns that exist.
    """
    known = {name.strip().lower(): name for name in reversed(header)}
    images = [known[name] for name in IMAGE if name in known]
    captions = _caption_columns(known)
    for names, what in (((wanted.image,), "image"), (wanted.caption, "caption"), ((wanted.split,), "split")):
        for name in filter(None, names):
            if name.strip().lower() not in known:
                near = did_you_mean(name, header)
                raise DataError(f"{where}: data.columns: {what}={name}: columns found: {_listed(header)}.{near}")
    for chosen, candidates, usual, role in (
        (wanted.image, images, IMAGE, "image"),
        (wanted.caption, captions, CAPTION, "caption"),
    ):
        if not chosen and not candidates:
            raise DataError(
                f"{where}: columns found: {_listed(header)}; expected one named {' or '.join(usual[:4])}. "
                f"data.columns={role}=NAME (--columns {role}=NAME) tells which it is"
            )
    return FoundColumns(
        known[wanted.image.strip().lower()] if wanted.image else images[0],
        tuple(known[name.strip().lower()] for name in wanted.caption) or tuple(captions),
        known.get((wanted.split or "split").strip().lower()),
    )


def _caption_columns(known: Mapping[str, str]) -> list[str]:
    numbered = sorted((name for name in known if NUMBERED.fullmatch(name)), key=_natural)
    one = [known[name] for name in CAPTION if name in known][:1]
    return one or [known[name] for name in numbered]


def captions_in(value: Any) -> list[str]:
    """The captions in a value: a text, a list of texts or objects, or such a list as text."""
    if isinstance(value, str):
        return _list_as_text(value) or [value]
    if isinstance(value, Mapping):
        return _inner(value)
    if isinstance(value, list | tuple):
        return [caption for item in value for caption in ([item] if isinstance(item, str) else _inner(item))]
    return []


def _inner(value: Any) -> list[str]:
    """The captions of an object such as {"raw": "A dog", "tokens": ["a", "dog"]}."""
    if not isinstance(value, Mapping):
        return []
    inner = next((value[key] for key in INNER if value.get(key) is not None), None)
    texts = inner if isinstance(inner, list | tuple) else [inner]
    return [text for text in texts if isinstance(text, str)]


def split_like(columns: Mapping[str, set[str]]) -> str:
    """The column whose name or values look like splits although it is not called "split", or "".

    Args:
        columns: name -> the different values it has (some of them will do).
    """
    for name, values in columns.items():
        meant = {value.strip().lower() for value in values} - {""}
        if name.strip().lower() in SPLIT_LIKE and len(meant) > 1:
            return name
        if len(meant) > 1 and meant <= set(SPLIT_ALIASES):
            return name
    return ""


def split_hint(name: str, values: set[str]) -> str:
    """The note about a column that `split_like` found."""
    some = first_few(sorted(values - {""}), 4)
    return f"column '{name}' looks like splits ({some}) and is not used; --columns split={name} (data.columns) uses it"


def _list_as_text(text: str) -> list[str]:
    """["A dog", "A cat"] as JSON or Python writes it -> its items; [] for any other text."""
    if "[" not in text or not (text := text.strip()).startswith("[") or not text.endswith("]"):
        return []
    for parse in (json.loads, ast.literal_eval):
        try:
            items = parse(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        return items if isinstance(items, list) and all(isinstance(item, str) for item in items) else []
    return []


def _names(value: Any, separator: str = "+") -> list[str]:
    parts = value.split(separator) if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise DataError(f"data.columns: got {value!r}, expected such as image=pic,caption=words,split=fold")
    return [part.strip() for part in parts if part.strip()]


def _natural(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]


def _listed(header: Sequence[str]) -> str:
    return ", ".join(header) or "none"
