"""What a run needs, opened before any data is read: everything that is missing or wrong is said at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from seesay.bundle.format import open_bundle
from seesay.bundle.names import find_bundle
from seesay.config import Recipe
from seesay.config.recipe import contradictions
from seesay.data.readers.columns import Columns
from seesay.data.vectors import check_vectors
from seesay.errors import DataError, RecipeError, SeesayError
from seesay.models.build import build_encoder
from seesay.models.encoder import Encoder
from seesay.models.finetune import finetune
from seesay.models.frozen import FrozenPart, frozen_part
from seesay.training.starting_point import Initial, open_initial


class Ready(NamedTuple):
    """What was opened.

    Attributes:
        encoder: with its weights, and `encoder.finetune` decided.
        frozen: what of the encoder is not trained; None where its first weights are.
        initial: the model of `train.init`, None where the recipe names none.
    """

    encoder: Encoder
    frozen: FrozenPart | None
    initial: Initial | None


def preflight(recipe: Recipe) -> Ready:
    """Start no run that would end for want of something.

    Raises:
        RecipeError: every contradiction, and every folder, file, package, encoder and bundle that cannot be used.
    """
    problems = [*contradictions(recipe), *_data(recipe)]
    opened: list[Encoder] = []
    initial = None
    if recipe.train.init:
        with _collecting(problems, f"train.init={','.join(recipe.train.init)}: "):
            initial = open_initial(recipe)
            opened += [initial.encoder] if initial else []
    else:
        if recipe.embedding.kind != "learned":
            with _collecting(problems):
                check_vectors(recipe.embedding.kind, recipe.embedding.path)
        with _collecting(problems):
            opened.append(build_encoder(recipe))
    for name in recipe.train.teachers:
        with _collecting(problems, f"train.teachers={name}: "):
            open_bundle(find_bundle(name))
    frozen = None
    for encoder in opened:
        with _collecting(problems):
            finetune(encoder, recipe.encoder.finetune)
            frozen = _frozen_part(encoder, recipe)
    if problems:
        raise RecipeError("\n".join(["the run cannot start:", *(f"  {problem}" for problem in problems)]))
    return Ready(opened[0], frozen, initial)


def _frozen_part(encoder: Encoder, recipe: Recipe) -> FrozenPart | None:
    frozen = frozen_part(encoder)
    if frozen is None and recipe.images.views is not None:
        raise RecipeError(
            f"images.views={recipe.images.views}: with encoder.finetune={recipe.encoder.finetune} nothing that "
            f"{encoder.name} sees can be kept, since it cannot be cut where its training begins; leave it out"
        )
    return frozen


def _data(recipe: Recipe) -> Iterator[str]:
    if recipe.train.grounding and not recipe.data.boxes:
        weight = f"train.grounding={recipe.train.grounding:g}"
        yield f"data.boxes is not set: {weight} teaches attention where named things are; add data.boxes=FOLDER"
    try:
        Columns.parse(recipe.data.columns)
    except DataError as error:
        yield str(error)
    if recipe.data.layout == "shapes":  # makes its own
        return
    if not recipe.data.path:
        yield "data.path is not set: add data.path=FOLDER"
    for key, paths in (("data.path", recipe.data.path), ("data.boxes", recipe.data.boxes)):
        for path in paths:
            if not Path(path).expanduser().exists():
                yield f"{key}={path}: no such folder"


@contextmanager
def _collecting(problems: list[str], prefix: str = "") -> Iterator[None]:
    """An error inside becomes a line, which begins with the key that `prefix` begins with."""
    try:
        yield
    except SeesayError as error:
        said = str(error)
        problems.append(said if said.startswith(prefix.partition("=")[0]) else prefix + said)
