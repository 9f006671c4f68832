"""What a run needs, opened before any data is read: everything that is missing or wrong is said at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from seesay.config import Recipe
from seesay.config.recipe import contradictions
from seesay.data.vectors import check_vectors
from seesay.errors import RecipeError, SeesayError
from seesay.models.build import build_encoder
from seesay.models.encoder import Encoder
from seesay.models.stages import finetune
from seesay.training.init import Initial, open_initial


class Ready(NamedTuple):
    """What was opened.

    Attributes:
        encoder: with its weights, and `encoder.finetune` decided.
        initial: the model of `train.init`, None where the recipe names none.
    """

    encoder: Encoder
    initial: Initial | None


def preflight(recipe: Recipe) -> Ready:
    """Start no run that would end for want of something.

    Raises:
        RecipeError: every contradiction, and every folder, file, package, encoder and bundle that cannot be used.
    """
    problems = [*contradictions(recipe), *_data(recipe)]
    opened: list[Encoder] = []
    initial = None
    if recipe.train.init is not None:
        with _collecting(problems, f"train.init={recipe.train.init}: "):
            initial = open_initial(recipe)
            opened += [initial.encoder] if initial else []
    else:
        if recipe.embedding.kind != "learned":
            with _collecting(problems):
                check_vectors(recipe.embedding.kind, recipe.embedding.path)
        with _collecting(problems):
            opened.append(build_encoder(recipe))
    for encoder in opened:
        with _collecting(problems):
            finetune(encoder, recipe.encoder.finetune)
    if problems:
        raise RecipeError("\n".join(["the run cannot start:", *(f"  {problem}" for problem in problems)]))
    return Ready(opened[0], initial)


def _data(recipe: Recipe) -> Iterator[str]:
    if recipe.data.layout == "shapes":  # makes its own
        return
    if not recipe.data.path:
        yield "data.path is not set: add data.path=FOLDER"
    for path in recipe.data.path:
        if not Path(path).expanduser().exists():
            yield f"data.path={path}: no such folder"


@contextmanager
def _collecting(problems: list[str], prefix: str = "") -> Iterator[None]:
    """An error inside becomes a line."""
    try:
        yield
    except SeesayError as error:
        said = str(error)
        problems.append(said if said.startswith(prefix) else prefix + said)
