"""Sanity checks of attention: models with uniform attention, and with shuffled captions.

python scripts/sanity.py PATH/TO/flickr8k --boxes PATH/TO/entities --out runs/sanity

Trains a GRU on the budget of `scripts/family.py`: with three seeds, with the same weight for every
region, and with the captions of other photos. Then it captions the dev photos with each model,
measures pointing, and compares the maps of the heads of reference phrases between models. Finished
models are not trained again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from family import BASE  # beside this file

import seesay
from seesay.config import load_recipe
from seesay.data.boxes import read_boxes
from seesay.data.readers import read_dataset
from seesay.evaluation.named_words import mentioned_captions, mentioned_words
from seesay.metrics.statistics import rank_correlation
from seesay.models.attention import RegionWeights
from seesay.runtime import CaptionModel
from seesay.training.train import train as train_recipe

MODELS = {"seed-1": 1, "seed-2": 2, "seed-3": 3, "uniform": 1, "shuffled": 1}  # name -> seed
PHOTOS = 200  # whose maps are compared


def uniform(_: RegionWeights, scores: torch.Tensor) -> torch.Tensor:
    """The same weight for every region, whatever its score."""
    return torch.full_like(scores, 1 / scores.shape[-1])


def train(name: str, arguments: argparse.Namespace) -> None:
    """One of `MODELS`."""
    folder: Path = arguments.out / name
    if (folder / "bundle").is_dir():
        return
    data = shuffled(arguments) if name == "shuffled" else arguments.data
    values = [f"data.path={data}", *BASE, f"seed={MODELS[name]}", f"name={name}", f"out={folder}"]
    weights = uniform if name == "uniform" else RegionWeights.forward
    with patch.object(RegionWeights, "forward", weights):
        train_recipe(load_recipe("flickr8k", ["decoder.kind=gru", *values]), resume=folder.exists())


def shuffled(arguments: argparse.Namespace) -> Path:
    """The data with the training photos' captions permuted."""
    folder: Path = arguments.out / "shuffled-data"
    if not folder.exists():
        dataset = read_dataset(arguments.data)
        records = dataset.split("train")
        others = list(records)
        random.Random(0).shuffle(others)
        moved = dict(zip((r.image.name for r in records), (o.captions for o in others), strict=True))
        folder.mkdir(parents=True)
        (folder / "Images").symlink_to(Path(arguments.data, "Images").resolve())
        for split in ("train.txt", "dev.txt"):
            shutil.copy(Path(arguments.data, split), folder / split)
        captions = [
            (record.image.name, caption)
            for split in ("train", "dev")
            for record in dataset.split(split)
            for caption in moved.get(record.image.name, record.captions)
        ]
        lines = (f"{name},{caption.replace(',', ' ')}\n" for name, caption in captions)
        (folder / "captions.txt").write_text("image,caption\n" + "".join(lines), encoding="utf-8")
    return folder


def evaluate(name: str, arguments: argparse.Namespace) -> list[str]:
    """CIDEr and pointing of a model's own captions, as cells of a table."""
    scores = arguments.out / name / "attention.json"
    if not scores.is_file():
        command = [sys.executable, "-m", "seesay", "evaluate", "--model", str(arguments.out / name / "bundle")]
        command += ["--data", str(arguments.data), "--split", "dev", "--attention", "--boxes", str(arguments.boxes)]
        command += ["--attention-photos", "1", "--json", str(scores)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    measured = json.loads(scores.read_text("utf-8"))
    words = measured["attention"]["localisation"]["own"]["all"]
    cells = [f"{words[kind]['pointing']['mean']:.2f}" for kind in ("attention", "centre")]
    return [name, f"{100 * measured['scores']['cider']:.1f}", *cells]


def maps(model: CaptionModel, arguments: argparse.Namespace) -> list[np.ndarray]:
    """The map of the head of each reference phrase of the first dev photos with boxes."""
    dataset = read_boxes(arguments.boxes, read_dataset(arguments.data))
    boxed = [record for record in dataset.split("dev") if record.objects][:PHOTOS]
    found: list[np.ndarray] = []
    for record in boxed:
        photo = model.encode(record.image)
        for number in mentioned_captions(record):
            scored = model.score(photo, record.captions[number], strict=False)
            found += [word.attention.ravel() for word in mentioned_words(scored, record, number)]
    return found


def main() -> None:
    """Train, measure, and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--boxes", type=Path, required=True, help="Flickr30k Entities' layout")
    parser.add_argument("--out", type=Path, default=Path("runs/sanity"))
    arguments = parser.parse_args()
    for name in MODELS:
        train(name, arguments)
    print("| model | CIDEr | pointing | centre |\n|---|---|---|---|")
    for name in MODELS:
        print(f"| {' | '.join(evaluate(name, arguments))} |")
    seen = {name: maps(seesay.load(arguments.out / name / "bundle"), arguments) for name in MODELS if name != "uniform"}
    for one, other in itertools.combinations(seen, 2):
        agreement = [rank_correlation(a, b) for a, b in zip(seen[one], seen[other], strict=True)]
        print(f"maps of {one} and {other}: rank correlation {np.mean(agreement):.2f} ({len(agreement):,} words)")


if __name__ == "__main__":
    main()
