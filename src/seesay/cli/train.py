"""`seesay train`: a training, then the calibration of its model where the data allow that."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from seesay.bundle.confidence_file import ConfidenceHead
from seesay.bundle.format import MANIFEST, open_bundle
from seesay.calibration import calibrate
from seesay.calibration.calibrate import Splits, with_confidence
from seesay.cli.calibrate import lines
from seesay.cli.load_model import load_model
from seesay.config import Recipe
from seesay.config.sections import CALIBRATION_PHOTOS
from seesay.data.records import CaptionRecord, Dataset
from seesay.data.splits import limit_splits
from seesay.errors import BundleError, DataError, SeesayError
from seesay.progress import print_plain, progress

FEWEST_TRAINING, FEWEST_DEV = 100, 50  # photos that a calibration needs
SAME_MODEL = ("weights.safetensors", "tokenizer.json", "preprocessing.json", "search.json")  # graphs differ by chance


class CalibrationStoppedError(SeesayError):
    """Stopped by Ctrl-C; the trained model is complete."""


def train_and_calibrate(recipe: Recipe, resume: bool) -> Path:
    """Train the model of a recipe, and with `train.calibrate` learn how far its captions can be trusted.

    Returns:
        The bundle's folder.

    Raises:
        SeesayError: as `seesay.training.train.train`.
        CalibrationStoppedError: Ctrl-C after the training.
    """
    from seesay.training.processes import rank_and_count
    from seesay.training.train import read_data, train

    before = calibration_of(Path(recipe.folder) / "bundle") if resume else None
    bundle = train(recipe, resume)
    rank, _ = rank_and_count()
    if rank == 0 and before and before.files == model_files(bundle):  # the run had ended, so this is the same model
        with_confidence(open_bundle(bundle), before.head)
    elif rank == 0 and recipe.train.calibrate:
        calibrate_trained(bundle, recipe.data.path, lambda: read_data(recipe, Console(quiet=True)))
    return bundle


class Calibration(NamedTuple):
    """A head, and the files of the model that it belongs to with their digests."""

    head: ConfidenceHead
    files: dict[str, Any]


def calibration_of(folder: Path) -> Calibration | None:
    """The calibration of a bundle; None where there is no bundle, or one without it."""
    try:
        head = open_bundle(folder).confidence
    except BundleError:
        return None
    return Calibration(head, model_files(folder)) if head else None


def model_files(folder: Path) -> dict[str, Any]:
    """Size and digest of each file of a bundle that together tell its model from others."""
    files = json.loads((folder / MANIFEST).read_bytes())["files"]
    return {name: files[name] for name in SAME_MODEL}


def calibrate_trained(bundle: Path, paths: Sequence[str], read: Callable[[], Dataset]) -> None:
    """Calibrate a model on the data that it was trained on; where that is not possible, one line says why.

    Args:
        bundle: the model's folder; it is replaced when the calibration is complete.
        paths: of the data sets.
        read: reads them.

    Raises:
        CalibrationStoppedError: Ctrl-C; the bundle is as it was.
    """
    console = Console(stderr=True)
    try:
        _calibrate(bundle, paths, read(), console)
    except (SeesayError, np.linalg.LinAlgError) as error:
        print_plain(console, f"not calibrated, so captions have no confidence: {error}")
    except KeyboardInterrupt:
        raise CalibrationStoppedError(
            f"stopped while calibrating; the model in {bundle} is complete, but its captions have no confidence: "
            "add --resume to calibrate it"
        ) from None


def _calibrate(bundle: Path, paths: Sequence[str], dataset: Dataset, console: Console) -> None:
    train, dev = (
        limit_splits(dataset.split(split), most, seed=0)
        for split, most in zip(("train", "dev"), CALIBRATION_PHOTOS, strict=True)
    )
    if len(train) < FEWEST_TRAINING or len(dev) < FEWEST_DEV:
        raise DataError(
            f"{len(train):,} training and {len(dev):,} dev photos, expected {FEWEST_TRAINING} and {FEWEST_DEV} or more"
        )
    data = by_data_set(paths, train, dev)
    model = load_model(str(bundle))
    with progress("calibrating", len(train) + len(dev), console) as advance:
        head = calibrate(model, data, {}, advance)
    if (shares := {figures["accepted"] for figures in head.about["figures"].values()}) in ({0.0}, {1.0}):
        which = "all" if shares == {1.0} else "none"
        raise DataError(f"a person would accept {which} of the captions of dev, so there is nothing to learn")
    with_confidence(model.bundle, head)
    for line in lines(head.about["figures"]):
        print_plain(console, line)


def by_data_set(
    paths: Sequence[str], train: Sequence[CaptionRecord], dev: Sequence[CaptionRecord]
) -> dict[str, Splits]:
    """The records of each data set, which has a threshold of acceptance of its own; all together if one has too few.

    Args:
        paths: the data sets' folders.
        train, dev: records of all of them.
    """
    groups: dict[str, Splits] = {}
    for path in paths:
        own = [[record for record in split if Path(record.image).is_relative_to(path)] for split in (train, dev)]
        groups[Path(path).name] = own[0], own[1]
    complete = sum(len(own) for splits in groups.values() for own in splits) == len(train) + len(dev)
    if complete and all(len(own) >= FEWEST_TRAINING and len(rest) >= FEWEST_DEV for own, rest in groups.values()):
        return groups
    return {" and ".join(Path(path).name for path in paths): (train, dev)}
