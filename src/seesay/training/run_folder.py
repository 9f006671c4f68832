"""The run's folder: recipe, checkpoints, figures, bundle. Every file in it is whole at any time."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
from lightning.fabric import Fabric
from torch import Tensor

from seesay.config import Recipe, flat_recipe
from seesay.config.plain_yaml import read_yaml
from seesay.config.recipe import keys_with
from seesay.errors import RecipeError, RunError, SeesayError, first_line
from seesay.writing import SCRATCH, only_writer, written_whole

LOCK = ".lock"
# What to do where a file of a run that is to be resumed is damaged or missing.
RESTORE = "put back a copy of it, or delete last.ckpt to start the run again from its beginning"


@contextmanager
def open_run(recipe: Recipe, resume: bool, fabric: Fabric | None = None) -> Iterator[RunFolder]:
    """The run's folder, which no other run writes to for as long as the block lasts.

    Args:
        recipe, resume: as of `RunFolder`.
        fabric: of the processes that train together, the first of which writes; None: there is one.

    Raises:
        BusyError: another process trains into the folder.
        RunError: the folder cannot be made, or what is there is damaged.
        RecipeError: as of `RunFolder`.
    """
    folder = Path(recipe.folder)
    writes = fabric is None or fabric.is_global_zero
    with ExitStack() as stack:
        still_there, problem = folder.is_dir, None
        if writes:
            try:
                still_there = stack.enter_context(_locked(folder))
            except SeesayError as error:
                problem = error
        problem = fabric.broadcast(problem) if fabric else problem  # or the others would wait for the first for ever
        if problem:
            raise problem
        yield RunFolder(recipe, resume, writes, still_there)


def _locked(folder: Path) -> AbstractContextManager[Callable[[], bool]]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"{folder}: cannot be made ({error.strerror}), and the run needs it; give another out=FOLDER"
        ) from error
    busy = f"{folder}: another process is training into it; wait until it ends, or give another out=FOLDER"
    return only_writer(folder / LOCK, busy)


class RunFolder:
    """`OUT/`: recipe.yaml, data.json, vocabulary.json, last.ckpt (to resume), best.ckpt, metrics.csv, bundle/.

    Made by `open_run`, which locks it.

    Args:
        recipe: of this run.
        resume: go on with what is there.
        writes: False for all but one of several processes that train together.
        still_there: whether the folder is the one that the run began with.

    Raises:
        RecipeError: there is a run already and `resume` is off, or it was made by another recipe.
        RunError: what there is of the run's recipe cannot be read.
    """

    def __init__(
        self, recipe: Recipe, resume: bool, writes: bool = True, still_there: Callable[[], bool] = lambda: True
    ) -> None:
        self.folder = Path(recipe.folder)
        self.writes, self._still_there = writes, still_there
        if self.last.exists() and not resume:
            raise RecipeError(
                f"{self.folder} holds a run already: add --resume to go on with it, or give another out=FOLDER"
            )
        if self.last.exists():
            self._refuse_another_recipe(recipe)
        if writes:
            self._tidy(resume)
        self._write("recipe.yaml", recipe.to_yaml().encode())

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return self.folder / "last.ckpt"

    @property
    def best(self) -> Path:
        """The weights with the highest dev CIDEr."""
        return self.folder / "best.ckpt"

    @property
    def bundle(self) -> Path:
        """The model bundle."""
        return self.folder / "bundle"

    def keep_data(self, digests: Mapping[str, str]) -> None:
        """Write data.json, which says what the run learns from.

        Args:
            digests: of each part, in the words of a message.

        Raises:
            RecipeError: a part is another one than that which the checkpoint here was trained with.
            RunError: data.json is damaged.
        """
        kept = self.folder / "data.json"
        if self.last.exists() and kept.exists():
            try:
                before = dict(json.loads(kept.read_bytes()))
            except (ValueError, TypeError) as error:
                raise RunError(f"{kept}: damaged ({first_line(error)}); {RESTORE}") from None
            changed = [part for part, digest in digests.items() if before.get(part, digest) != digest]
            if changed:
                raise RecipeError(
                    f"{self.folder} was trained with other data: {' and '.join(changed)} are not those that the run "
                    "began with; give those (data.path), or another out=FOLDER"
                )
        self._write(kept.name, (json.dumps(digests, indent=2) + "\n").encode())

    def keep_vocabulary(self, vocabulary: str) -> None:
        """Write vocabulary.json; the weights of a run mean its tokens.

        Raises:
            RecipeError: there is another one, beside a checkpoint to go on from.
        """
        kept = self.folder / "vocabulary.json"
        if self.last.exists() and kept.exists() and kept.read_bytes() != vocabulary.encode():
            raise RecipeError(
                f"{kept}: is not the vocabulary of these captions, so they are others (give those that the run began "
                "with, or another out=FOLDER), or it is damaged (put back a copy of it)"
            )
        self._write(kept.name, vocabulary.encode())

    def save_last(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint."""
        if self.writes:
            self._write(self.last.name, _packed(state))

    def load_last(self) -> dict[str, Any] | None:
        """The checkpoint, or None where nothing was saved yet.

        Raises:
            RunError: it is damaged.
        """
        return _unpacked(self.last) if self.last.exists() else None

    def save_best(self, weights: dict[str, Tensor]) -> None:
        """Replace the best weights."""
        if self.writes:
            self._write(self.best.name, _packed(weights))

    def load_best(self) -> dict[str, Tensor]:
        """The best weights so far.

        Raises:
            RunError: they are missing or damaged.
        """
        if not self.best.exists():
            raise RunError(f"{self.best}: missing, and with it the weights of the best epoch; {RESTORE}")
        return _unpacked(self.best)

    def log(self, history: Sequence[dict[str, float]]) -> None:
        """Write metrics.csv, and TensorBoard's file where that is installed."""
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)
        self._write("metrics.csv", text.getvalue().encode())
        if self.writes:
            self._tensorboard(history[-1])

    def _write(self, name: str, data: bytes | memoryview) -> None:
        if not self.writes:
            return
        if not self._still_there():
            raise RunError(
                f"{self.folder}: was deleted or replaced while the run wrote to it, so the run ends; start it again, "
                "with another out=FOLDER if this one is used otherwise"
            )
        with written_whole(self.folder / name) as scratch, scratch.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def _tidy(self, resume: bool) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for unfinished in self.folder.glob(f"{SCRATCH}*"):  # by a run that was killed
            unfinished.unlink()
        if not resume:
            self.best.unlink(missing_ok=True)

    def _tensorboard(self, row: dict[str, float]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        with SummaryWriter(str(self.folder / "tensorboard")) as writer:
            for key, value in row.items():
                writer.add_scalar(key, value, int(row["step"]))

    def _refuse_another_recipe(self, recipe: Recipe) -> None:
        # a run from before a key existed was made with its default
        old = flat_recipe(self._recipe_before())
        new = flat_recipe(recipe.to_dict())
        may_change = set(keys_with("may_change"))
        if recipe.train.objective == "self_critical":
            may_change -= set(keys_with("chooses_sentences"))
        changed = [key for key in new if old.get(key) != new[key] and key not in may_change]
        if changed:
            lines = [f"  {key}: was {old.get(key)}, now {new[key]}" for key in changed]
            raise RecipeError(
                "\n".join([f"{self.folder} was made by another recipe, so it cannot be resumed with this one:", *lines])
            )

    def _recipe_before(self) -> dict[str, Any]:
        path = self.folder / "recipe.yaml"
        try:
            values = read_yaml(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            values, problem = None, "missing"
        except ValueError as error:
            values, problem = None, f"damaged ({error})"
        else:
            problem = "empty" if values is None else "damaged"
        if not isinstance(values, dict):
            raise RunError(f"{path}: {problem}, so it cannot be told whether the run is resumed as it began; {RESTORE}")
        return values


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Turn what torch and Python say of a checkpoint with other contents than expected into a message.

    Raises:
        RunError: the file that `path` names lacks something, or has it in another shape.
    """
    try:
        yield
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise RunError(
            f"{path}: is not of this run, or another version of seesay or of timm wrote it ({first_line(error)}); "
            f"{RESTORE}"
        ) from None


def _packed(state: dict[str, Any]) -> memoryview:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getbuffer()


def _unpacked(path: Path) -> dict[str, Any]:
    try:
        with ZipFile(path) as archive:  # torch does not look at the checksums that it writes
            if damaged := archive.testzip():
                raise ValueError(f"the checksum of {damaged} is wrong")
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError(f"it holds a {type(state).__name__}")
    except Exception as error:  # torch's errors have no common class
        raise RunError(f"{path}: damaged, cannot be read ({first_line(error)}); {RESTORE}") from None
    return state
