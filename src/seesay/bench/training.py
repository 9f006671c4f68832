"""The speed of training, compared with matrix products, and of encoding photos."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from rich.console import Console
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from seesay.bench.timing import Figure, figure, interleaved, rates, timed
from seesay.config import Recipe, load_recipe
from seesay.data.feature_cache import FeatureCache, PhotoFeatures
from seesay.data.tokens import CaptionTokenizer
from seesay.models.build import build_decoder, build_encoder
from seesay.models.encoder import Encoder
from seesay.models.frozen import FrozenPart
from seesay.runtime import CaptionModel
from seesay.training.inputs.batches import CaptionBatch, CaptionBatches
from seesay.training.inputs.features import encode_on
from seesay.training.loop import StoppedError, Trainer
from seesay.training.objectives.from_recipe import build_objective
from seesay.training.run_folder import RunFolder
from seesay.training.train import precision_for

VOCABULARY = 3000
CAPTIONS = 5
ROWS = 250  # different features, which photos share; too many to fit into the processor's caches
DECODERS = {"lstm": "flickr8k", "transformer": "transformer"}


class Training:
    """Trains a recipe's decoder on random features and words with the trainer that real runs use.

    Args:
        recipe: sizes, objective, optimiser.
        encoder: gives the number of regions and their depth.
        steps: optimiser steps of one `run`.
    """

    def __init__(self, recipe: Recipe, encoder: Encoder, steps: int) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.steps = recipe, steps
        self.precision = precision_for(recipe.train.precision)
        self.fabric = Fabric(accelerator="auto", devices=1, precision=self.precision)  # pyright: ignore[reportArgumentType]
        tokenizer = CaptionTokenizer.build((f"word{n}" for n in range(VOCABULARY - 4)), min_count=1)
        decoder = build_decoder(recipe, encoder, len(tokenizer)).to(self.fabric.device)
        self.objective = build_objective(recipe, decoder, tokenizer, ())
        self.batches = made_up_batches(recipe, encoder)
        self.captions = steps * recipe.train.batch_size * CAPTIONS

    def run(self) -> float:
        """Seconds for `steps` steps with their batches, without writing files or validating."""
        console = Console(quiet=True)
        folder = RunFolder(self.recipe, resume=False, writes=False)
        trainer = Trainer(self.recipe, folder, self.fabric, self.objective, self.batches, _no_figures, console)
        trainer.steps = self.steps
        try:
            trainer.fit()
        except StoppedError:  # the trainer handles Ctrl-C
            raise KeyboardInterrupt from None
        return trainer.state.seconds

    def flops(self) -> float:
        """Mean operations per step in matrix products, forward and backward."""
        with FlopCounterMode(display=False) as counter:
            for batch in islice(self.batches.epoch(0), self.steps):
                assert isinstance(batch, CaptionBatch)
                self.objective(batch.to(self.fabric.device)).backward()
        return counter.get_total_flops() / self.steps

    def product(self) -> tuple[Tensor, Tensor]:
        """Two matrices of typical size: a batch's words, and the weights of a layer's gates."""
        rows, size = 13 * CAPTIONS * self.recipe.train.batch_size, self.recipe.decoder.size
        device, dtype = self.fabric.device, torch.bfloat16 if "bf16" in self.precision else torch.float32
        return torch.randn(rows, size, device=device, dtype=dtype), torch.randn(
            size, 4 * size, device=device, dtype=dtype
        )


def made_up_batches(recipe: Recipe, encoder: Encoder) -> CaptionBatches:
    """Random batches shaped like Flickr8k's: five captions per photo, 12 words on average."""
    random = np.random.default_rng(recipe.seed)
    photos = 16 * recipe.train.batch_size
    rows = random.standard_normal((ROWS, math.prod(encoder.grid), encoder.depth), np.float32).astype(np.float16)
    lengths = np.clip(np.rint(random.normal(11, 3.7, (photos, CAPTIONS))), 3, recipe.tokens.max_words).astype(int)
    captions = [[random.integers(4, VOCABULARY, length).tolist() for length in photo] for photo in lengths]
    features = PhotoFeatures(rows, np.arange(photos) % ROWS, encoder.grid, ())
    return CaptionBatches(features, captions, recipe.train.batch_size, recipe.tokens.max_words, recipe.seed)


def training(repeats: int, steps: int = 2) -> Iterator[Figure]:
    """Training captions per second for the packaged recipes' decoders.

    The limit is reached if all matrix products run as fast as a single large one.
    """
    for name, recipe_name in DECODERS.items():
        recipe = load_recipe(recipe_name, ["encoder.weights=none"])
        run = Training(recipe, build_encoder(recipe), steps)
        flops = run.flops() * steps  # the first steps also allocate memory
        left, right = run.product()
        products, speeds = [], []
        for _ in range(repeats):
            products.append(_flops_a_second(left, right))
            speeds.append(run.captions / run.run())
        limits = [run.captions * product / flops for product in products]
        what = f"{name}, recipe {recipe_name}"
        yield figure(
            f"training.{name}", what, "captions/s", speeds, limits, "its products at the speed of the plain one"
        )
        sizes = f"{left.shape[0]:,}x{left.shape[1]} by {right.shape[0]}x{right.shape[1]}"
        yield figure(f"training.{name}_product", f"plain product, {sizes}", "GFLOP/s", [p / 1e9 for p in products])


def features(model: CaptionModel, photos: Sequence[Path], repeats: int, batch: int = 32) -> Iterator[Figure]:
    """Photos per second from file to cached features; the limit is the encoder alone.

    On a CPU the encoder is exported to ONNX before the measurement, as a run does once.
    """
    recipe = {**model.bundle.recipe, "encoder": {**model.bundle.recipe.get("encoder", {}), "weights": "none"}}
    frozen = FrozenPart(build_encoder(Recipe.from_dict(recipe)))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encode, load = encode_on(frozen, device), frozen.encoder.transform
    pixels = np.stack([load(photo) for photo in photos[:batch]])
    passes = -(-len(photos) // len(pixels))
    with tempfile.TemporaryDirectory(prefix="seesay-bench-") as root:

        def cached() -> None:
            cache = FeatureCache(frozen.identity(), frozen.grid, frozen.depth, Path(tempfile.mkdtemp(dir=root)))
            cache.get(photos, load, encode, batch)

        def alone() -> None:
            for _ in range(passes):
                encode(pixels)

        interleaved(1, cached=cached, alone=alone)
        seconds = interleaved(repeats, cached=cached, alone=alone)
    speeds, limits = rates(len(photos), seconds["cached"]), rates(passes * len(pixels), seconds["alone"])
    yield figure("features", f"file to kept features, {device}", "photos/s", speeds, limits, "encoder alone")


def _flops_a_second(left: Tensor, right: Tensor, number: int = 10) -> float:
    def multiply() -> None:
        for _ in range(number):
            torch.mm(left, right)
        if left.is_cuda:
            torch.cuda.synchronize()

    multiply()
    return number * 2 * left.shape[0] * left.shape[1] * right.shape[1] / timed(multiply)


def _no_figures() -> tuple[dict[str, float], list[str]]:
    return {"cider": -math.inf}, []


def device_name() -> str | None:
    """The name of the graphics card that training would run on; None for the CPU."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
