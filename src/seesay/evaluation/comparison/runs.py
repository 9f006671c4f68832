"""Reading a run from disk, finished or not, without its weights and graphs."""

from __future__ import annotations

import csv
import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seesay.bundle.format import MANIFEST, Bundle, open_bundle
from seesay.bundle.weights_file import check_weights
from seesay.config import flat_recipe
from seesay.config.plain_yaml import read_yaml
from seesay.config.recipe import keys_with
from seesay.errors import DataError, RecipeError, RunError, did_you_mean

FIGURES = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "meteor", "rouge_l", "cider")
SCORE_KEYS = {*FIGURES, "cider_interval", "tokeniser", "images", "references", "notes"}
# of batch norms, which are not counted as parameters
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
TRAINING_TOKENISER = "seesay"  # of the scores in metrics.csv, which are computed with `split_words`


@dataclass(frozen=True)
class RunSummary:
    """Everything about a run that can be compared.

    Attributes:
        folder: the run's folder, or the bundle's if only a bundle is given.
        name: the run's name in tables; `compare` makes it unique.
        recipe: dotted key -> plain value, defaults included.
        state: "finished"; "running" (or stopped: there is no bundle of this recipe yet); "bundle"
            (given alone).
        bundle: the run's bundle, None if there is none yet.
        scores: `Scores.to_dict()` of the bundle's dev split, None where it has none in this format.
        training_cider: highest mean dev CIDEr-D of any epoch, 0 to 10, with seesay's tokeniser;
            None before the first.
        epochs: the number of finished epochs.
        best_epoch: the one with `training_cider`, from 1.
        seconds: spent training and validating.
        encoder_parameters, decoder_parameters: the number of parameters; None without a bundle.
        captions_per_second: on the packaged photos; None until measured.
    """

    folder: Path
    name: str
    recipe: dict[str, Any]
    state: str
    bundle: Path | None = None
    scores: dict[str, Any] | None = None
    training_cider: float | None = None
    epochs: int | None = None
    best_epoch: int | None = None
    seconds: float | None = None
    encoder_parameters: int | None = None
    decoder_parameters: int | None = None
    captions_per_second: float | None = None

    @property
    def cider(self) -> float | None:
        """CIDEr of the bundle, else the best of training; 0 to 10."""
        return self.scores["cider"] if self.scores else self.training_cider

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % bootstrap interval of `cider`; None where only training's figure is known."""
        return (self.scores["cider_interval"][0], self.scores["cider_interval"][1]) if self.scores else None

    @property
    def tokeniser(self) -> str | None:
        """The tokeniser of `cider`: "ptb" or "seesay"."""
        if self.scores:
            return self.scores["tokeniser"]
        return None if self.training_cider is None else TRAINING_TOKENISER

    def to_dict(self) -> dict[str, Any]:
        """Flat plain values for CSV and sorting; scores as fractions, None where unknown."""
        scores = self.scores or {}
        low, high = self.interval or (None, None)
        return {
            "name": self.name,
            "folder": str(self.folder),
            "state": self.state,
            "encoder_parameters": self.encoder_parameters,
            "decoder_parameters": self.decoder_parameters,
            "seconds": self.seconds,
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "captions_per_second": self.captions_per_second,
            **{key: scores.get(key) for key in FIGURES},
            "cider": self.cider,
            "cider_low": low,
            "cider_high": high,
            "images": scores.get("images"),
            "references": scores.get("references"),
            "tokeniser": self.tokeniser,
        }


def read_run(folder: str | Path) -> RunSummary:
    """Read a run's folder, or a bundle's.

    Raises:
        RunError: it is neither; the text names runs nearby.
        BundleError: the bundle is damaged or of another format.
        RecipeError, DataError: recipe.yaml or metrics.csv is damaged.
    """
    folder = Path(folder)
    if (folder / MANIFEST).is_file() or (folder / "weights.safetensors").is_file():
        bundle = open_bundle(folder)
        summary = RunSummary(folder, folder.resolve().name, flat_recipe(bundle.recipe), "bundle")
        return _with_bundle(summary, bundle, with_scores=True)
    if not (folder / "recipe.yaml").is_file():
        raise RunError(_not_a_run(folder))
    summary = RunSummary(folder, folder.resolve().name, _read_recipe(folder / "recipe.yaml"), "running")
    summary = _with_history(summary, folder / "metrics.csv")
    if not (folder / "bundle").is_dir():
        return summary
    bundle = open_bundle(folder / "bundle")
    # A run that is resumed for more epochs still has its earlier bundle.
    written = flat_recipe(bundle.recipe)
    finished = all(written.get(key) == summary.recipe.get(key) for key in keys_with("changes_result"))
    return _with_bundle(replace(summary, state="finished" if finished else "running"), bundle, with_scores=finished)


def measure_speed(run: RunSummary, seconds: float = 2.0) -> RunSummary:
    """The run with its speed on this machine, in captions per second of the packaged photos.

    The time includes reading the files.

    Args:
        run: returned unchanged if it has no bundle.
        seconds: measure at least this long, and at least three passes; the median pass counts.
    """
    if run.bundle is None:
        return run
    from seesay.assets import demo_photos
    from seesay.runtime import CaptionModel

    model, photos = CaptionModel.load(run.bundle), demo_photos()
    passes: list[float] = []
    end = time.monotonic() + seconds
    list(model.caption_many(photos))  # the first pass allocates
    while len(passes) < 3 or time.monotonic() < end:
        started = time.perf_counter()
        list(model.caption_many(photos))
        passes.append(time.perf_counter() - started)
    return replace(run, captions_per_second=len(photos) / statistics.median(passes))


def _read_recipe(path: Path) -> dict[str, Any]:
    try:
        values = read_yaml(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecipeError(f"recipe {path}: not YAML: {error}") from None
    if not isinstance(values, dict):
        raise RecipeError(f"recipe {path}: expected keys and values, got {type(values).__name__}")
    return flat_recipe(values)


def _with_history(run: RunSummary, path: Path) -> RunSummary:
    """The run with the history in metrics.csv, which is written after the first epoch."""
    if not path.is_file():
        return replace(run, epochs=0)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: damaged: {error}") from None
    if not rows:
        raise DataError(f"{path}: damaged: no epoch in it; it is written whole, with one row or more")
    history = [_numbers(row, f"{path}, line {number}") for number, row in enumerate(rows, start=2)]
    best = max(history, key=lambda row: row["cider"])
    return replace(
        run,
        training_cider=best["cider"],
        epochs=int(history[-1]["epoch"]),
        best_epoch=int(best["epoch"]),
        seconds=history[-1]["seconds"],
    )


def _numbers(row: Mapping[str, str | None], where: str) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for key in ("epoch", "cider", "seconds"):
        try:
            numbers[key] = float(row[key] or "")
            if not math.isfinite(numbers[key]):
                raise ValueError
        except KeyError:
            raise DataError(f"{where}: damaged: no column '{key}', got {', '.join(filter(None, row))}") from None
        except ValueError:
            raise DataError(f"{where}: damaged: {key} is '{row[key] or ''}', expected a number") from None
    return numbers


def _with_bundle(run: RunSummary, bundle: Bundle, with_scores: bool) -> RunSummary:
    counts = {"encoder": 0, "decoder": 0}
    for name, entry in check_weights(bundle.folder).items():
        if not name.endswith(BUFFERS):
            part = name.partition(".")[0]
            counts[part] = counts.get(part, 0) + math.prod(entry.shape)
    scores = bundle.scores.get("dev")
    usable = with_scores and isinstance(scores, dict) and scores.keys() >= SCORE_KEYS
    return replace(
        run,
        bundle=bundle.folder,
        scores=scores if usable else None,
        encoder_parameters=counts["encoder"],
        decoder_parameters=counts["decoder"],
    )


def _not_a_run(folder: Path) -> str:
    if not folder.is_dir():
        what = "no such folder" if not folder.exists() else "a file, not a folder"
        near = did_you_mean(folder.name, _runs_in(folder.parent))
        return f"run {folder}: {what}.{near}"
    inside = _runs_in(folder)
    hint = f" Runs inside it: {', '.join(str(folder / name) for name in inside[:8])}" if inside else ""
    hint = hint or did_you_mean(folder.name, _runs_in(folder.parent))
    return f"run {folder}: no recipe.yaml (a run's folder) and no {MANIFEST} (a bundle's) in it.{hint}"


def _runs_in(folder: Path) -> list[str]:
    return sorted(path.parent.name for path in folder.glob("*/recipe.yaml"))
