"""Declaring the keys of a recipe: default, range, marks, and a docstring with the meaning."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from itertools import pairwise
from typing import Any, Literal, TypedDict, Unpack

LARGEST = 10**9  # no whole number in a recipe sensibly exceeds this

Mark = Literal["of_model", "may_change", "changes_result", "chooses_sentences", "is_path", "per_run"]


class Marks(TypedDict, total=False):
    """Facts about a key that other parts of the program need.

    Attributes:
        of_model: it describes the model, so a run with `train.init` must have the bundle's value.
        may_change: a run that is resumed may have another value.
        changes_result: it may change but affects the trained model, so a bundle written with
            another value is not the result of this run.
        chooses_sentences: it affects the sentences that self-critical training learns from, so it
            may not change there.
        is_path: a file or folder, whose path may differ between machines.
        per_run: it differs between any two runs, so a comparison leaves it out.
        pairs: a list of NAME=VALUE, which may also be written as a mapping.
        alias: a second, clearer name.
        see: the place in `docs/` that explains more, such as "training.md#what-training-minimises".
    """

    of_model: bool
    may_change: bool
    changes_result: bool
    chooses_sentences: bool
    is_path: bool
    per_run: bool
    pairs: bool
    alias: str
    see: str


def setting(default: Any, **marks: Unpack[Marks]) -> Any:
    """A key whose allowed values follow from its type."""
    return dataclasses.field(default=default, metadata=marks)


def at_least(low: int, default: Any, most: int = LARGEST, **marks: Unpack[Marks]) -> Any:
    """A key for a whole number from `low` to `most`."""
    return dataclasses.field(default=default, metadata={"low": low, "most": most, **marks})


def between(low: float, high: float, default: float, **marks: Unpack[Marks]) -> Any:
    """A key for a number from `low` to `high`."""
    return dataclasses.field(default=default, metadata={"low": low, "high": high, **marks})


def meanings(cls: type) -> dict[str, str]:
    """The docstrings below a dataclass's fields, by field name, each on one line."""
    (definition,) = ast.parse(inspect.getsource(cls)).body
    assert isinstance(definition, ast.ClassDef)
    texts = {}
    for declaration, following in pairwise(definition.body):
        match declaration, following:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                texts[name] = " ".join(text.split())
    return texts
