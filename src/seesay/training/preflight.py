"""Checks before a run reads data; all that is missing or wrong is reported in one message."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from seesay.bundle.format import open_bundle
from seesay.bundle.names import find_bundle
from seesay.config import Recipe
from seesay.config.recipe import contradictions
from seesay.config.rules import BOXED
from seesay.data.readers.columns import Columns
from seesay.data.vectors import check_vectors
from seesay.errors import DataError, RecipeError, SeesayError
from seesay.models.build import build_encoder
from seesay.models.encoder import Encoder
from seesay.models.finetune import finetune
from seesay.models.frozen import FrozenPart, frozen_part
from seesay.training.starting_point import StartingPoint, load_starting_point


class Prepared(NamedTuple):
    """The parts of a run that the checks have loaded.

    Attributes:
        encoder: with its weights; `encoder.finetune` has decided which of them are trained.
        frozen: the encoder's frozen part; None if all of it is trained or it cannot be split.
        start: the model of `train.init`; None: the recipe names none.
    """

    encoder: Encoder
    frozen: FrozenPart | None
    start: StartingPoint | None


def preflight(recipe: Recipe) -> Prepared:
    """Check everything that a run needs and load its encoder and the model that it starts from.

    Raises:
        RecipeError: lists every contradiction, and every folder, file, package, encoder and bundle
            that cannot be used.
    """
    problems = [*contradictions(recipe), *_data_problems(recipe)]
    encoder = start = frozen = None
    if recipe.train.init:
        with _collecting(problems, f"train.init={','.join(recipe.train.init)}: "):
            start = load_starting_point(recipe)
            encoder = start.encoder if start else None
    else:
        if recipe.embedding.kind != "learned":
            with _collecting(problems):
                check_vectors(recipe.embedding.kind, recipe.embedding.path)
        with _collecting(problems):
            encoder = build_encoder(recipe)
    for name in recipe.train.teachers:
        with _collecting(problems, f"train.teachers={name}: "):
            open_bundle(find_bundle(name))
    if encoder:
        with _collecting(problems):
            finetune(encoder, recipe.encoder.finetune)
            frozen = _frozen_part(encoder, recipe)
    if problems or not encoder:
        raise RecipeError("\n".join(["the run cannot start:", *(f"  {problem}" for problem in problems)]))
    return Prepared(encoder, frozen, start)


def _frozen_part(encoder: Encoder, recipe: Recipe) -> FrozenPart | None:
    frozen = frozen_part(encoder)
    if frozen is None and recipe.images.views is not None:
        why, also = "it cannot be split before its first trained weight", ""
        if recipe.encoder.finer:
            why, also = "encoder.finer reads two of its stages", " or encoder.finer"
        raise RecipeError(
            f"images.views={recipe.images.views}: with "
            f"encoder.finetune={recipe.encoder.finetune} no features of {encoder.name} can be "
            f"cached, because {why}; leave views{also} out"
        )
    return frozen


def _data_problems(recipe: Recipe) -> Iterator[str]:
    if recipe.train.grounding and not recipe.data.boxes:
        yield (
            f"train.grounding={recipe.train.grounding:g}: needs boxes of the things that captions "
            "name, but data.boxes is not set; add data.boxes=FOLDER"
        )
    if recipe.data.only == BOXED and not recipe.data.boxes:
        yield f"data.only={BOXED}: needs data.boxes; add data.boxes=FOLDER, or leave data.only out"
    if recipe.train.reliance and not recipe.train.grounding:
        yield (
            f"train.reliance={recipe.train.reliance:g}: is about the words that train.grounding "
            "teaches, which is 0; give it a weight, or leave train.reliance out"
        )
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
    """Append an error of the block to `problems`.

    `prefix`, such as "train.init=NAME: ", is put before the error's text unless the text begins
    with that key.
    """
    try:
        yield
    except SeesayError as error:
        text = str(error)
        problems.append(text if text.startswith(prefix.partition("=")[0]) else prefix + text)
