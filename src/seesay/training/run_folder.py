"""A run's folder: recipe, checkpoints, figures and bundle, each file written atomically."""

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
# advice for a damaged or missing file of a run to be resumed
RESTORE_ADVICE = "put back a copy of it, or delete last.ckpt to start the run again from its beginning"


@contextmanager
def open_run(recipe: Recipe, resume: bool, fabric: Fabric | None = None) -> Iterator[RunFolder]:
    """The run's folder, locked within the block so that no other run writes to it.

    Args:
        recipe, resume: as for `RunFolder`.
        fabric: for several processes that train together, the first of which writes; None for a
            single process.

    Raises:
        BusyError: another process trains into the folder.
        RunError: the folder cannot be created, or its files are damaged.
        RecipeError: as for `RunFolder`.
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
        # otherwise the other processes would wait for ever
        problem = fabric.broadcast(problem) if fabric else problem
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
    """The files of a run in `OUT/`; `open_run` opens and locks it.

    They are recipe.yaml, data.json, vocabulary.json, last.ckpt (to resume), best.ckpt, metrics.csv
    and bundle/.

    Args:
        recipe: the recipe of this run.
        resume: continue the run in the folder.
        writes: whether this process writes files; of several processes, only the first does.
        still_there: returns whether the folder is still the one that the run began with.

    Raises:
        RecipeError: the folder holds a run already and `resume` is off, or the run has another
            recipe.
        RunError: the run's recipe.yaml cannot be read.
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
            self._check_same_recipe(recipe)
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

    def save_data_digests(self, digests: Mapping[str, str]) -> None:
        """Write data.json, which identifies the data that the run learns from.

        Args:
            digests: the digest of each part of the data, by the part's name in messages.

        Raises:
            RecipeError: a part differs from the one that the checkpoint was trained with.
            RunError: data.json is damaged.
        """
        file = self.folder / "data.json"
        if self.last.exists() and file.exists():
            try:
                before = dict(json.loads(file.read_bytes()))
            except (ValueError, TypeError) as error:
                raise RunError(f"{file}: damaged ({first_line(error)}); {RESTORE_ADVICE}") from None
            changed = [part for part, digest in digests.items() if before.get(part, digest) != digest]
            if changed:
                raise RecipeError(
                    f"{self.folder} was trained with other data: {' and '.join(changed)} are not those that the run "
                    "began with; give those (data.path), or another out=FOLDER"
                )
        self._write(file.name, (json.dumps(digests, indent=2) + "\n").encode())

    def save_vocabulary(self, vocabulary: str) -> None:
        """Write vocabulary.json, which assigns the embedding's rows to tokens.

        Raises:
            RecipeError: the folder has a checkpoint with another vocabulary.
        """
        file = self.folder / "vocabulary.json"
        if self.last.exists() and file.exists() and file.read_bytes() != vocabulary.encode():
            raise RecipeError(
                f"{file}: is not the vocabulary of these captions, so they are others (give those that the run began "
                "with, or another out=FOLDER), or it is damaged (put back a copy of it)"
            )
        self._write(file.name, vocabulary.encode())

    def save_last(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint."""
        if self.writes:
            self._write(self.last.name, _packed(state))

    def load_last(self) -> dict[str, Any] | None:
        """The checkpoint, or None if nothing has been saved yet.

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
            raise RunError(f"{self.best}: missing, and with it the weights of the best epoch; {RESTORE_ADVICE}")
        return _unpacked(self.best)

    def log(self, history: Sequence[dict[str, float]]) -> None:
        """Write metrics.csv, and an event file if TensorBoard is installed."""
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

    def _check_same_recipe(self, recipe: Recipe) -> None:
        old = flat_recipe(self._recipe_before())  # keys that did not exist then have their defaults
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
            raise RunError(
                f"{path}: {problem}, so it cannot be told whether the run is resumed as it began; {RESTORE_ADVICE}"
            )
        return values


@contextmanager
def checkpoint_errors(path: Path) -> Iterator[None]:
    """Raise RunError for errors in the block, which loads the checkpoint at `path`.

    Raises:
        RunError: the checkpoint lacks something, or has it in another shape.
    """
    try:
        yield
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise RunError(
            f"{path}: is not of this run, or another version of seesay or of timm wrote it ({first_line(error)}); "
            f"{RESTORE_ADVICE}"
        ) from None


def _packed(state: dict[str, Any]) -> memoryview:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getbuffer()


def _unpacked(path: Path) -> dict[str, Any]:
    try:
        with ZipFile(path) as archive:  # torch writes checksums but does not verify them
            if damaged := archive.testzip():
                raise ValueError(f"the checksum of {damaged} is wrong")
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError(f"it holds a {type(state).__name__}")
    except Exception as error:  # torch's errors have no common class
        raise RunError(f"{path}: damaged, cannot be read ({first_line(error)}); {RESTORE_ADVICE}") from None
    return state
