"""Exceptions for users, whose messages say what is wrong, where, what was expected, and what to do."""

from __future__ import annotations

import difflib
import importlib
import operator
import re
import reprlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import SupportsIndex

# Control characters, line breaks, half surrogates, and marks that reverse the reading direction.
_ACTIVE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
LONGEST_SHOWN = 80  # characters of a value in a message

_brief = reprlib.Repr()
_brief.maxlevel, _brief.maxother = 2, LONGEST_SHOWN
_brief.maxstring = _brief.maxlong = LONGEST_SHOWN


class SeesayError(Exception):
    """Base of every error that a user can mend; the command line prints its text without a traceback."""


class RecipeError(SeesayError):
    """A recipe has unknown keys, wrong values or contradictions; the text lists all of them."""


class DataError(SeesayError):
    """A data set cannot be read or used."""


class PhotoError(SeesayError):
    """One photo cannot be opened or decoded; never fatal for the others.

    Attributes:
        reason: what is wrong with it.
        photo: its path, or a phrase such as "the bytes given"; None where the reason says it.
    """

    def __init__(self, reason: str, photo: str | None = None) -> None:
        super().__init__(reason, photo)
        self.reason, self.photo = reason, photo

    def __str__(self) -> str:
        return self.reason if self.photo is None else f"{printable(self.photo) or repr('')}: {self.reason}"


class BundleError(SeesayError):
    """A model bundle is missing, damaged, or of a format this version does not read."""


class RunError(SeesayError):
    """A folder holds no run of training, or one that cannot be used."""


class BusyError(SeesayError):
    """Another process is writing where this one wants to write."""


class DeviceError(SeesayError):
    """The graphs cannot run on the device that was asked for."""


class TextError(SeesayError, ValueError):
    """A text that was given cannot be used: it has no words, or words that the model does not know."""


class MissingExtraError(SeesayError):
    """A feature needs an optional dependency that is not installed."""


def printable(text: object) -> str:
    """Text on one line that no terminal acts on: control characters and line breaks as \\x1b, \\n, \\u2028.

    For whatever a file or a folder brings: names of files, words of a vocabulary, values of a recipe.
    """
    return _ACTIVE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), str(text))


def shown(value: object) -> str:
    """A value as a message quotes it: on one line, harmless to a terminal, and short, whatever its size."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 256:  # Python refuses to write the longest ones
        return f"a number of {value.bit_length():,} bits"
    text = printable(_brief.repr(value))
    return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 3]}..."


def whole_number(name: str, value: object) -> int:
    """`value` as an int.

    Raises:
        ValueError: it is no whole number of at least 1; True and 2.0 are none either.
    """
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise ValueError(f"{name}={value!r}: expected a whole number of at least 1")
    if operator.index(value) < 1:
        raise ValueError(f"{name}={value}: expected at least 1")
    return operator.index(value)


def first_line(error: BaseException) -> str:
    """What a library says over many lines, in one of at most 120 characters."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """' Did you mean X?' with the nearest of `options`, or '' when nothing is near."""
    near = difflib.get_close_matches(name, list(options), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""


@contextmanager
def needs(extra: str, what: str) -> Iterator[None]:
    """Within the block, a package that is missing becomes one line that says which extra installs it.

    Args:
        extra: the extra of seesay that installs it ("train", "eval", ...).
        what: the thing that needs it, as the subject of the sentence.

    Raises:
        MissingExtraError: a package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "seesay":  # a fault of this package
            raise
        raise MissingExtraError(
            f"{what} needs '{error.name}', which is not installed: pip install 'seesay[{extra}]'"
        ) from None


def require(module: str, extra: str, what: str) -> ModuleType:
    """Import a module by its dotted name; `extra` and `what` as for `needs`.

    Raises:
        MissingExtraError: it, or a package that it imports, is missing.
    """
    with needs(extra, what):
        return importlib.import_module(module)
