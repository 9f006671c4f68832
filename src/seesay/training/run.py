"""The run's folder: recipe, checkpoints, figures, bundle. Every file in it is whole at any time."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from seesay.config import Recipe, flat_recipe
from seesay.errors import RecipeError
from seesay.writing import written_whole

# What may differ between a run and its resumption without making it another run.
MAY_CHANGE = ("name", "out", "data.path", "train.epochs", "train.max_steps", "train.lr", "train.patience")
MAY_CHANGE += (
    "encoder.lr",
    "search.beam",
    "search.length_penalty",
    "search.block_ngrams",
    "search.block_words",
    "train.save_minutes",
    "train.devices",
    "train.nodes",
    "train.precision",
)
# With self-critical training they decide which sentences are learnt from.
LEARNT_FROM = ("search.block_ngrams", "search.block_words")


class RunFolder:
    """`OUT/`: recipe.yaml, vocabulary.json, last.ckpt (to resume), best.ckpt (weights), metrics.csv, bundle/.

    Args:
        recipe: of this run.
        resume: go on with what is there.
        writes: False for all but one of several processes that train together.

    Raises:
        RecipeError: there is a run already and `resume` is off, or it was made by another recipe.
    """

    def __init__(self, recipe: Recipe, resume: bool, writes: bool = True) -> None:
        self.folder = Path(recipe.folder)
        self.writes = writes
        if self.last.exists() and not resume:
            raise RecipeError(
                f"{self.folder} holds a run already: add --resume to go on with it, or give another out=FOLDER"
            )
        if self.last.exists():
            self._refuse_another_recipe(recipe)
        if writes and not resume:
            self.best.unlink(missing_ok=True)
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

    def keep_vocabulary(self, vocabulary: str) -> None:
        """Write vocabulary.json; the weights of a run mean its tokens.

        Raises:
            RecipeError: there is another one, beside a checkpoint to go on from.
        """
        kept = self.folder / "vocabulary.json"
        if self.last.exists() and kept.exists() and kept.read_text(encoding="utf-8") != vocabulary:
            raise RecipeError(
                f"{self.folder} was trained with another vocabulary, so the captions are others; give those that the "
                "run began with (data.path), or another out=FOLDER"
            )
        self._write(kept.name, vocabulary.encode())

    def save_last(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint."""
        if self.writes:
            self._write(self.last.name, _packed(state))

    def load_last(self) -> dict[str, Any] | None:
        """The checkpoint, or None where nothing was saved yet."""
        return torch.load(self.last, map_location="cpu", weights_only=True) if self.last.exists() else None

    def save_best(self, weights: dict[str, Tensor]) -> None:
        """Replace the best weights."""
        if self.writes:
            self._write(self.best.name, _packed(weights))

    def load_best(self) -> dict[str, Tensor]:
        """The best weights so far."""
        return torch.load(self.best, map_location="cpu", weights_only=True)

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
        self.folder.mkdir(parents=True, exist_ok=True)
        with written_whole(self.folder / name) as scratch, scratch.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

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
        old = flat_recipe(yaml.safe_load((self.folder / "recipe.yaml").read_text(encoding="utf-8")))
        new = flat_recipe(recipe.to_dict())
        fixed = LEARNT_FROM if recipe.train.objective == "self_critical" else ()
        changed = [key for key in new if old.get(key) != new[key] and (key not in MAY_CHANGE or key in fixed)]
        if changed:
            lines = [f"  {key}: was {old.get(key)}, now {new[key]}" for key in changed]
            raise RecipeError(
                "\n".join([f"{self.folder} was made by another recipe, so it cannot be resumed with this one:", *lines])
            )


def _packed(state: dict[str, Any]) -> memoryview:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getbuffer()
