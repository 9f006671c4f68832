"""Reading text files in UTF-8 or UTF-16 with any line ends, and wording of messages."""

from __future__ import annotations

import codecs
import json
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seesay.errors import DataError

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a byte order mark.

    Raises:
        DataError: it cannot be read, or has another encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check that it is a readable file") from None
    return decode_text(data, str(path))


def decode_text(data: bytes, name: str) -> str:
    """Like `read_text`, for bytes; messages call them `name`.

    Raises:
        DataError: they are neither UTF-8 nor UTF-16.
    """
    wide = data.startswith(UTF_16)
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        what = "not UTF-16 text, though it begins so" if wide else "not UTF-8 text"
        raise DataError(f"{name}:{row}: {what}; expected UTF-8: save the file in that encoding") from None


def parse_json(text: str, name: str, expected: str) -> Any:
    """Parse JSON text, which messages call `name`.

    Raises:
        DataError: it is not JSON, is nested too deeply, or has numbers with thousands of digits.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{name}:{error.lineno}: not JSON ({error.msg}); expected {expected}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: JSON that cannot be read ({error}); expected {expected}") from None


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without their ends.

    `str.splitlines` would also split at U+2028, which may occur in captions.
    """
    text = read_text(path)
    if "\n" not in text:
        return text.split("\r")  # as spreadsheets on old Macs wrote
    return [line.removesuffix("\r") for line in text.split("\n")]


def composed_form(name: str) -> str:
    """A file's name in Unicode's composed form, because macOS may store é as e and an accent."""
    return unicodedata.normalize("NFC", name)


def first_few(names: Sequence[str], most: int = 3) -> str:
    """ "a, b, c, ..." for messages."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def count_of(number: int, thing: str) -> str:
    """ "1 photo", "1,014 photos"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def size_of(size: float) -> str:
    """Bytes for people: "380 kB", "4.2 MB", "1.3 GB"."""
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= step:
            amount = size / step
            return f"{amount:.0f} {unit}" if amount >= 100 else f"{amount:.1f} {unit}"
    return f"{size:.0f} bytes"


def without_suffix(name: str) -> str:
    """ "train/dog.v2.jpg" -> "train/dog.v2"; a name without a dot stays."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and "/" not in suffix else name
