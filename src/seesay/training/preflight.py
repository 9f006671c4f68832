"""What a run needs and does not find, said all at once before any data is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from seesay.bundle.find import find_bundle
from seesay.bundle.format import open_bundle
from seesay.config import Recipe
from seesay.data.vectors import check_vectors
from seesay.errors import RecipeError, SeesayError

Check = Callable[[Recipe], Iterator[str]]


def refuse_if_not_ready(recipe: Recipe) -> None:
    """Start no run that would end for want of something.

    Raises:
        RecipeError: everything that `preflight` finds.
    """
    problems = preflight(recipe)
    if problems:
        raise RecipeError("\n".join(["the run cannot start:", *(f"  {problem}" for problem in problems)]))


def preflight(recipe: Recipe) -> list[str]:
    """Files, folders and packages that the recipe names and that are missing or not what they should be."""
    return [problem for check in CHECKS for problem in check(recipe)]


def _data(recipe: Recipe) -> Iterator[str]:
    if recipe.data.layout == "shapes":  # makes its own
        return
    if not recipe.data.path:
        yield "data.path is not set: add data.path=FOLDER"
    for path in recipe.data.path:
        if not Path(path).expanduser().exists():
            yield f"data.path={path}: no such folder"


def _encoder(recipe: Recipe) -> Iterator[str]:
    weights = recipe.encoder.weights
    if weights not in ("auto", "pip", "hub", "none") and not Path(weights).is_file():
        yield f"encoder.weights={weights}: no such file (auto, pip, hub, none or a file of weights)"


def _embedding(recipe: Recipe) -> Iterator[str]:
    if recipe.embedding.kind != "learned":
        yield from _said_by(lambda: check_vectors(recipe.embedding.kind, recipe.embedding.path))


def _init(recipe: Recipe) -> Iterator[str]:
    start = recipe.train.init
    if start is not None:
        yield from (f"train.init={start}: {said}" for said in _said_by(lambda: open_bundle(find_bundle(start))))


def _said_by(act: Callable[[], object]) -> Iterator[str]:
    """The text of the error that an act ends with, if it does."""
    try:
        act()
    except SeesayError as error:
        yield str(error)


CHECKS: tuple[Check, ...] = (_data, _encoder, _embedding, _init)
