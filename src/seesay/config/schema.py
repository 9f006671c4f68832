"""Conversion between plain values and nested dataclasses, with all problems reported at once."""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any, Literal, TypeVar

from seesay.config.plain_yaml import read_yaml
from seesay.errors import did_you_mean, printable, shown

QUOTED = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^']|'')*')"""
LONGEST_TEXT = 4096  # characters; the longest path on Linux


T = TypeVar("T")


def from_mapping(
    cls: type[T],
    values: Any,
    problems: list[str],
    prefix: str = "",
    known: Sequence[str] | None = None,
    unknown_pass: bool = False,
) -> T:
    """Build `cls` from nested plain values; missing keys and empty sections keep their defaults.

    Args:
        cls: a dataclass whose fields are plain values or further dataclasses.
        values: a mapping of field names to values.
        problems: one line is appended for each unknown key and each wrong value.
        prefix: dotted path of `cls` in the recipe, with a final dot.
        known: all dotted keys of the recipe, for hints; None: `cls` is the recipe.
        unknown_pass: whether unknown keys are ignored.
    """
    if values is None:
        return cls()
    if not isinstance(values, Mapping):
        problems.append(f"{prefix.rstrip('.') or 'recipe'}={_as_text(values)}: expected keys and values")
        return cls()
    known = known or [key for key, *_ in flat_fields(cls)]
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # pyright: ignore[reportArgumentType]
    names = {f.metadata["alias"]: f.name for f in fields.values() if "alias" in f.metadata}
    built: dict[str, Any] = {}
    for key, value in values.items():
        name = names.get(key, key)
        if name not in fields:
            if not unknown_pass:
                siblings = [*fields, *names]
                problems.append(f"{prefix}{_as_text(key)}: no such key.{_hint(str(key), prefix, siblings, known)}")
        elif name != key and name in values:
            problems.append(given_twice(f"{prefix}{key}", f"{prefix}{name}"))
        elif dataclasses.is_dataclass(hints[name]):
            inner = typing.cast(type, hints[name])
            built[name] = from_mapping(inner, value, problems, f"{prefix}{name}.", known, unknown_pass)
        else:
            try:
                built[name] = _convert(value, hints[name], fields[name].metadata)
            except ValueError as error:
                problems.append(f"{prefix}{key}={_as_text(value)}: expected {error}")
    return cls(**built)


def given_twice(alias: str, key: str) -> str:
    """The problem of a recipe that has a key under both of its names."""
    return f"{alias} and {key} are two names of one key: give one of them"


def to_mapping(value: Any) -> Any:
    """The inverse of `from_mapping`, tuples as lists."""
    if dataclasses.is_dataclass(value):
        return {f.name: to_mapping(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return list(value) if isinstance(value, tuple) else value


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values -> {dotted key: plain value}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def flat_fields(cls: type, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any], Any]]:
    """(dotted key, field, type) of every plain field, in order."""
    hints = typing.get_type_hints(cls)
    for f in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[f.name]):
            yield from flat_fields(typing.cast(type, hints[f.name]), f"{prefix}{f.name}.")
        else:
            yield f"{prefix}{f.name}", f, hints[f.name]


def aliases(cls: type) -> dict[str, str]:
    """Second names of keys, dotted -> the keys, dotted."""
    return {
        f"{key.removesuffix(f.name)}{alias}": key
        for key, f, _ in flat_fields(cls)
        if (alias := f.metadata.get("alias"))
    }


def text_keys(cls: type) -> set[str]:
    """Dotted keys of names, paths and lists of them, whose values are taken as text."""
    return {key for key, hint in _flat_hints(cls).items() if _is_text(hint)}


def from_command_line(cls: type, key: str, text: str) -> Any:
    """The value of `key=text` on the command line.

    Names and paths are the text itself; all other values are parsed as YAML.

    Args:
        cls: the recipe's class.
        key: dotted. For a section or an unknown key the text is parsed as YAML.
        text: "null" or an empty text is None if the key allows it. A list of names or paths is
            `[A,B]`, with quotes around items that contain commas.
    """
    hint = _flat_hints(cls).get(key)
    kinds = (hint, *typing.get_args(hint)) if hint is not None else ()
    is_list = typing.get_origin(hint) is tuple
    if str not in kinds:
        try:
            return read_yaml(text)
        except ValueError:
            return text
    if text in ("", "null") and (is_list or types.NoneType in kinds):
        return None
    if int in kinds and re.fullmatch(r"[-+]?\d{1,18}", text):
        return int(text)
    if is_list and (brackets := re.fullmatch(r"\s*\[(.*)\]\s*", text, re.DOTALL)):
        return _items(brackets[1])
    return text


def _items(text: str) -> list[str]:
    """Split at commas outside quotes: "A,'B,C'" -> ["A", "B,C"]."""
    items = [match[1].strip() for match in re.finditer(rf"\s*({QUOTED}(?=\s*(?:,|$))|[^,]*)(?:,|$)", text)]
    while items and not items[-1]:  # nothing after the last comma
        items.pop()
    return [str(read_yaml(item)) if re.fullmatch(QUOTED, item, re.DOTALL) else item for item in items]


def _flat_hints(cls: type) -> dict[str, Any]:
    """{dotted key or alias: type}, without lists of pairs, which may also be mappings."""
    hints = {key: hint for key, f, hint in flat_fields(cls) if not f.metadata.get("pairs")}
    return hints | {alias: hints[key] for alias, key in aliases(cls).items() if key in hints}


def _is_text(hint: Any) -> bool:
    kinds = {hint, *typing.get_args(hint)}
    return str in kinds and int not in kinds


def _hint(key: str, prefix: str, siblings: Sequence[str], known: Sequence[str]) -> str:
    """ " Did you mean ...?" with the most similar key of the section, else of other sections."""
    if near := difflib.get_close_matches(key, siblings, n=1):
        return f" Did you mean '{prefix}{near[0]}'?"
    names = [full.rpartition(".")[2] for full in known]
    near = difflib.get_close_matches(key, names, n=1)
    keys = [f"'{full}'" for full, name in zip(known, names, strict=True) if name in near]
    return f" Did you mean {' or '.join(keys)}?" if keys else ""


def _as_text(value: Any) -> str:
    """A value for a message; text stands without quotes, as on the command line."""
    return printable(value) if isinstance(value, str) and len(value) <= LONGEST_TEXT else shown(value)


def _convert(value: Any, hint: Any, rule: Mapping[str, float]) -> Any:
    """Convert `value` to a field's type. Raises ValueError with the expected values."""
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            near = did_you_mean(str(value), map(str, choices))
            raise ValueError(f"{' | '.join(map(str, choices))}.{near}")
        return value
    if typing.get_origin(hint) is tuple:
        if rule.get("pairs") and isinstance(value, Mapping):
            value = [f"{key}={'+'.join(item) if isinstance(item, list) else item}" for key, item in value.items()]
        items = [] if value is None else value if isinstance(value, list | tuple) else [value]
        return tuple(_plain(item, str) for item in items)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return _convert_union(value, typing.get_args(hint), rule)
    return _in_range(_plain(value, hint), rule)


def _convert_union(value: Any, kinds: tuple[Any, ...], rule: Mapping[str, float]) -> Any:
    if value is None and type(None) in kinds:
        return None
    expected = []
    for kind in (kind for kind in kinds if kind is not type(None)):
        try:
            return _convert(value, kind, rule)
        except ValueError as error:
            expected.append(str(error))
    raise ValueError(" or ".join([*expected, *(["null"] if type(None) in kinds else [])]))


def _plain(value: Any, kind: type) -> Any:
    if kind is bool:
        if isinstance(value, bool):
            return value
        raise ValueError("true or false")
    if kind is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise ValueError("a whole number")
    if kind is float:
        # YAML reads 1e-3 as text; only 1.0e-3 is a number
        try:
            if not isinstance(value, bool) and value is not None:
                return float(value)
        except (TypeError, ValueError):
            pass
        raise ValueError("a number")
    if (
        not isinstance(value, str | int | float | date | None)
        or isinstance(value, bool)
        or not str("" if value is None else value).strip()
    ):
        raise ValueError("a word or a path, in quotes where YAML would read something else")
    if len(text := str(value)) > LONGEST_TEXT:
        raise ValueError(f"at most {LONGEST_TEXT:,} characters")
    return text


def _in_range(value: Any, rule: Mapping[str, float]) -> Any:
    low, high, most = rule.get("low"), rule.get("high"), rule.get("most")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if low is not None and value < low:
            raise ValueError(f"at least {low}" if high is None else f"{low} to {high}")
        if high is not None and not value <= high:
            raise ValueError(f"{low} to {high}")
        if most is not None and not value <= most:
            raise ValueError(f"at most {most:,}")
    return value
