"""How a recipe's keys are declared: a default, a range, marks for other rooms, and a docstring with the meaning."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from itertools import pairwise
from typing import Any, Literal, TypedDict, Unpack

LARGEST = 10**9  # no whole number in a recipe sensibly exceeds this

Mark = Literal["of_model", "may_change", "changes_result", "chooses_sentences", "is_path", "per_run"]


class Marks(TypedDict, total=False):
    """What the rest of the program has to know about a key.

    Attributes:
        of_model: it describes the model, so a run with `train.init` must have the bundle's value.
        may_change: a run that is resumed may have another value.
        changes_result: it may change, and decides how the run ends: a bundle written with another
            value is not this run's.
        chooses_sentences: it decides which sentences self-critical training learns from, so that
            there it may not change.
        is_path: a file or folder, which may lie elsewhere on another machine.
        per_run: it differs between any two runs, so a comparison leaves it out.
        pairs: a list of NAME=VALUE, which may also be written as a mapping.
        alias: a second name, because the first is misleading.
        see: where the documents explain more, such as "training.md#what-training-minimises".
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
    """A key whose type says which values it takes."""
    return dataclasses.field(default=default, metadata=marks)


def at_least(low: int, default: Any, most: int = LARGEST, **marks: Unpack[Marks]) -> Any:
    """A key for a whole number in low..most."""
    return dataclasses.field(default=default, metadata={"low": low, "most": most, **marks})


def between(low: float, high: float, default: float, **marks: Unpack[Marks]) -> Any:
    """A key for a number in low..high."""
    return dataclasses.field(default=default, metadata={"low": low, "high": high, **marks})


def meanings(cls: type) -> dict[str, str]:
    """{field: the docstring below it, on one line} for a dataclass; fields without a docstring are left out."""
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
