"""Reading a bundle's untrusted text files: every field is checked for type and range.

    fields = Fields(folder / "search.json")
    beam = fields.whole("beam", 1, 100, default=3)
    ...
    fields.end()

The message for a wrong value is one line: bundle, file, field, value, and what was expected.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from seesay.bundle.errors import damaged, refused
from seesay.errors import printable, shown

LARGEST = 2**24  # bytes of a text file; a vocabulary of 100,000 words has about 3 MB
# of a number; Python takes minutes to parse a million digits, and refuses more than 4,300
DIGITS = 40
REQUIRED = object()


class Fields:
    """The fields of a JSON object, read one by one.

    Args:
        path: the file, in a bundle's folder.
        values: the fields of an object inside the file; None reads the file.
        prefix: text before field names in messages.

    Attributes:
        values: all fields.
    """

    def __init__(self, path: Path, values: dict[str, Any] | None = None, prefix: str = "") -> None:
        content = read_json(path) if values is None else values
        if not isinstance(content, dict):
            raise damaged(path, f"expected keys and values, got {shown(content)}")
        self.path = path
        self.values: dict[str, Any] = content
        self._unread, self._prefix = dict(content), prefix

    def section(self, key: str) -> Fields:
        """The fields of an object inside this one."""
        values = self._take(key, lambda value: isinstance(value, dict), "keys and values", REQUIRED)
        return Fields(self.path, values, f"{self._prefix}{printable(key)}.")

    def refuse(self, what: str) -> NoReturn:
        """Raise a BundleError about this file."""
        raise refused(self.path, what)

    def whole(self, key: str, low: int, high: int, default: Any = REQUIRED) -> int:
        """A whole number in low..high."""
        expected = f"a whole number from {low:,} to {high:,}"
        return self._take(key, lambda value: _is_number(value, int) and low <= value <= high, expected, default)

    def number(self, key: str, low: float, high: float, default: Any = REQUIRED) -> float:
        """A number in low..high."""
        expected = f"a number from {low:g} to {high:g}"
        return self._take(key, lambda value: _is_number(value) and low <= value <= high, expected, default)

    def text(self, key: str, choices: Iterable[str] = (), longest: int = 200, default: Any = REQUIRED) -> str:
        """One of `choices` or, if there are none, any text of at most `longest` characters."""
        listed = tuple(choices)
        expected = " | ".join(listed) or f"a text of at most {longest} characters"
        return self._take(
            key,
            lambda value: isinstance(value, str) and (value in listed if listed else len(value) <= longest),
            expected,
            default,
        )

    def wholes(self, key: str, low: int, high: int, length: tuple[int, int], default: Any = REQUIRED) -> list[int]:
        """A list of whole numbers in low..high; `length` is the minimal and the maximal length."""

        def fits(value: Any) -> bool:
            return _is_list(value, length) and all(_is_number(item, int) and low <= item <= high for item in value)

        expected = f"{_counted(length)} whole numbers from {low:,} to {high:,}"
        return list(self._take(key, fits, expected, default))

    def numbers(self, key: str, low: float, high: float, length: int) -> tuple[float, ...]:
        """A list of `length` numbers in low..high."""

        def fits(value: Any) -> bool:
            return _is_list(value, (length, length)) and all(_is_number(item) and low <= item <= high for item in value)

        return tuple(map(float, self._take(key, fits, f"{length} numbers from {low:g} to {high:g}", REQUIRED)))

    def texts(self, key: str, most: int = 100, longest: int = 1000) -> list[str]:
        """A list of texts of limited number and length."""

        def fits(value: Any) -> bool:
            return _is_list(value, (0, most)) and all(isinstance(item, str) and len(item) <= longest for item in value)

        return list(self._take(key, fits, f"at most {most} texts of at most {longest:,} characters", REQUIRED))

    def end(self) -> None:
        """Refuse fields that were not read."""
        if self._unread:
            self.refuse(f"unknown field {shown(self._prefix + next(iter(self._unread)))}")

    def _take(self, key: str, fits: Any, expected: str, default: Any) -> Any:
        value = self._unread.pop(key, default)
        if value is REQUIRED:
            raise damaged(self.path, f"{self._prefix}{key} is missing, expected {expected}")
        if value is not default and not fits(value):
            self.refuse(f"{self._prefix}{key}={shown(value)}: expected {expected}")
        return value


def read_text(path: Path) -> str:
    """The text of a bundle's file.

    Raises:
        BundleError: the file cannot be read, is too large, or is not UTF-8.
    """
    try:
        if (size := path.stat().st_size) > LARGEST:
            raise refused(path, f"has {size:,} bytes, expected at most {LARGEST:,}")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise damaged(path, f"not UTF-8 at byte {error.start:,}") from None
    except OSError as error:
        raise refused(path, f"cannot be read ({error.strerror})") from None


def read_json(path: Path) -> Any:
    """The content of a bundle's JSON file.

    Raises:
        BundleError: as `read_text`; not JSON, a duplicate key, NaN or Infinity, a number with too
            many digits, or brackets nested too deeply.
    """
    try:
        return json.loads(
            read_text(path), object_pairs_hook=_unique, parse_int=_int, parse_float=_float, parse_constant=_constant
        )
    except RecursionError:
        raise damaged(path, "brackets are nested too deeply") from None
    except ValueError as error:
        raise damaged(path, printable(error)) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        (key, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"{shown(key)} is given twice")
    return values


def _int(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def _float(digits: str) -> float:
    if (value := float(digits)) in (float("inf"), float("-inf")):
        raise ValueError(f"{shown(digits)} is too large a number")
    return value


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _is_number(value: Any, kinds: Any = int | float) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _is_list(value: Any, length: tuple[int, int]) -> bool:
    return isinstance(value, list) and length[0] <= len(value) <= length[1]


def _counted(length: tuple[int, int]) -> str:
    return f"{length[0]}" if length[0] == length[1] else f"{length[0]} to {length[1]:,}"
