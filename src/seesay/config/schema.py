"""Plain values <-> nested frozen dataclasses, with every problem collected instead of the first one raised."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeVar

from seesay.errors import did_you_mean


def at_least(low: int, default: int | None) -> Any:
    """A whole number >= low."""
    return dataclasses.field(default=default, metadata={"low": low})


def between(low: float, high: float, default: float) -> Any:
    """A number in low..high."""
    return dataclasses.field(default=default, metadata={"low": low, "high": high})


T = TypeVar("T")


def from_mapping(cls: type[T], values: Any, problems: list[str], prefix: str = "") -> T:
    """Build `cls` from nested plain values; keys that are missing keep their defaults.

    Args:
        cls: a dataclass whose fields are plain values or further dataclasses.
        values: a mapping of field names to values.
        problems: gets one line for each unknown key and each wrong value.
        prefix: dotted path of `cls` in the recipe, with its dot.
    """
    if not isinstance(values, Mapping):
        problems.append(f"{prefix.rstrip('.')}: expected keys and values, got {values!r}")
        return cls()
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # pyright: ignore[reportArgumentType]
    built: dict[str, Any] = {}
    for key, value in values.items():
        if key not in fields:
            problems.append(f"{prefix}{key}: no such key.{did_you_mean(str(key), fields)}{_elsewhere(str(key), prefix)}")
        elif dataclasses.is_dataclass(hints[key]):
            built[key] = from_mapping(typing.cast(type, hints[key]), value, problems, f"{prefix}{key}.")
        else:
            try:
                built[key] = _convert(value, hints[key], fields[key].metadata)
            except ValueError as error:
                problems.append(f"{prefix}{key}={value}: expected {error}")
    return cls(**built)


def to_mapping(value: Any) -> Any:
    """The inverse of `from_mapping`, tuples as lists."""
    if dataclasses.is_dataclass(value):
        return {f.name: to_mapping(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return list(value) if isinstance(value, tuple) else value


def flat_keys(cls: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, default) of every plain field, in order."""
    hints = typing.get_type_hints(cls)
    for f in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[f.name]):
            yield from flat_keys(typing.cast(type, hints[f.name]), f"{prefix}{f.name}.")
        else:
            yield f"{prefix}{f.name}", f.default


def _elsewhere(key: str, prefix: str) -> str:
    """A hint for `size=3` where `images.size` was meant is not possible; for `batch_size` it is."""
    from seesay.config.recipe import Recipe

    full = [name for name, _ in flat_keys(Recipe) if name.rpartition(".")[2] == key]
    return f" Perhaps {' or '.join(full)}?" if full and not prefix else ""


def _convert(value: Any, hint: Any, rule: Mapping[str, float]) -> Any:
    """`value` as the type wanted; ValueError says what was expected."""
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            near = did_you_mean(str(value), map(str, choices))
            raise ValueError(f"{' | '.join(map(str, choices))}.{near}")
        return value
    if typing.get_origin(hint) is tuple:
        return tuple(map(str, value)) if isinstance(value, list | tuple) else (str(value),)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return _convert_union(value, typing.get_args(hint), rule)
    return _in_range(_plain(value, hint), rule)


def _convert_union(value: Any, kinds: tuple[Any, ...], rule: Mapping[str, float]) -> Any:
    if value is None and type(None) in kinds:
        return None
    said = []
    for kind in (kind for kind in kinds if kind is not type(None)):
        try:
            return _convert(value, kind, rule)
        except ValueError as error:
            said.append(str(error))
    raise ValueError(" or ".join([*said, *(["null"] if type(None) in kinds else [])]))


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
        # YAML reads 1e-3 as text: it wants 1.0e-3
        try:
            if not isinstance(value, bool) and value is not None:
                return float(value)
        except (TypeError, ValueError):
            pass
        raise ValueError("a number")
    if isinstance(value, Mapping | list) or value is None:
        raise ValueError("one word or path")
    return str(value)


def _in_range(value: Any, rule: Mapping[str, float]) -> Any:
    low, high = rule.get("low"), rule.get("high")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if low is not None and value < low:
            raise ValueError(f"at least {low}" if high is None else f"{low} to {high}")
        if high is not None and not value <= high:
            raise ValueError(f"{low} to {high}")
    return value
