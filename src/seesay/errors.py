"""What can go wrong for a user, as exceptions whose text says what, where, got, expected and what to do."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class SeesayError(Exception):
    """Base of every error that a user can mend; the command line prints its text without a traceback."""


class RecipeError(SeesayError):
    """A recipe has unknown keys, wrong values or contradictions; the text lists all of them."""


class DataError(SeesayError):
    """A data set cannot be read or used."""


class PhotoError(SeesayError):
    """One photo cannot be opened or decoded; never fatal for the others."""


class BundleError(SeesayError):
    """A model bundle is missing, damaged, or of a format this version does not read."""


class RunError(SeesayError):
    """A folder holds no run of training, or one that cannot be used."""


class MissingExtraError(SeesayError):
    """A feature needs an optional dependency that is not installed."""


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """' Did you mean X?' with the nearest of `options`, or '' when nothing is near."""
    near = difflib.get_close_matches(name, list(options), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""


def require(module: str, extra: str, what: str) -> ModuleType:
    """Import `module`, or say in one line which extra brings it.

    Args:
        module: dotted name to import.
        extra: the extra of seesay that installs it ("train", "eval", ...).
        what: the thing that needs it, as the subject of the sentence.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{what} needs '{error.name}', which is not installed: pip install 'seesay[{extra}]'"
        ) from None
