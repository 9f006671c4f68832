"""Estimate the steps, memory, disk space and time of a run before it starts (`seesay train --plan`)."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from lightning.fabric import Fabric
from rich.console import Console
from torch import nn

from seesay.config import Recipe
from seesay.config.sections import CALIBRATION_PHOTOS
from seesay.data.feature_cache import PhotoFeatures
from seesay.data.records import CaptionRecord
from seesay.data.text import size_of
from seesay.data.tokens import CaptionTokenizer
from seesay.models.build import DEFAULT_EMBEDDING_SIZE, build_decoder
from seesay.models.decoder import Decoder
from seesay.models.encoder import Encoder
from seesay.models.frozen import FrozenPart
from seesay.search.beam import BeamOptions
from seesay.training.generate import generate
from seesay.training.inputs.batches import CaptionBatches, PhotoBatch
from seesay.training.objectives.from_recipe import build_objective, search_options
from seesay.training.objectives.with_encoder import WithEncoder
from seesay.training.preflight import preflight
from seesay.training.train import devices_of, read_data, training_part

SAMPLE = 8  # photos that are encoded and searched to measure the time of one
TIMED = 3  # steps that are measured
ADAM = 2  # values that the optimiser keeps for each weight


@dataclass(frozen=True)
class Plan:
    """What a run takes on this machine, measured with random photos and the real captions.

    Attributes:
        photos, captions, dev: photos and captions of the training split; photos of the dev split.
        batch: photos in a step, over all processes.
        processes: the number of processes that share a batch.
        steps, epochs: numbers for the whole run.
        weights, trained: the number of the model's weights, and of those that are trained.
        step_seconds: seconds for one step.
        encode_seconds: seconds to encode all photos once; 0 if every step reads photos.
        validate_seconds: seconds to caption the dev photos once.
        calibrate_seconds: seconds to caption photos for the confidence; 0 without `train.calibrate`.
        memory: peak memory of a process in bytes, measured over a few steps.
        feature_bytes, run_bytes: bytes on disk, in the feature cache and in the run's folder.
    """

    photos: int
    captions: int
    dev: int
    batch: int
    processes: int
    steps: int
    epochs: int
    weights: int
    trained: int
    step_seconds: float
    encode_seconds: float
    validate_seconds: float
    calibrate_seconds: float
    memory: int
    feature_bytes: int
    run_bytes: int

    @property
    def seconds(self) -> float:
        """Seconds for the whole run, without decoding photos, which uncached runs do in every step."""
        steps, validations = self.steps * self.step_seconds, self.epochs * self.validate_seconds
        return steps + validations + self.encode_seconds + self.calibrate_seconds

    def __str__(self) -> str:
        share = f" on {self.processes} processes" if self.processes > 1 else ""
        cached = f"{size_of(self.feature_bytes)} of features in the cache" if self.feature_bytes else "no features"
        parts = [f"{self.steps:,} steps at {self.step_seconds:.2f} s", f"{self.epochs} validations"]
        parts += [f"encoding {self.encode_seconds / 60:.1f} min or less"] if self.encode_seconds else []
        parts += [f"confidence {self.calibrate_seconds / 60:.1f} min"] if self.calibrate_seconds else []
        return "\n".join(
            [
                f"data    {self.photos:,} training photos, {self.captions:,} captions; {self.dev:,} dev photos",
                f"steps   {self.steps:,}: {self.epochs} epochs, batches of {self.batch} photos{share}",
                f"model   {self.weights / 1e6:.1f} M weights, {self.trained / 1e6:.1f} M of them trained",
                f"memory  about {size_of(self.memory)} a process",
                f"disk    {cached}, {size_of(self.run_bytes)} in the run's folder",
                f"time    about {duration(self.seconds)} on this machine ({', '.join(parts)})",
            ]
        )


def plan(recipe: Recipe, console: Console | None = None) -> Plan:
    """Estimate a run: read the caption files, and time a few steps on random photos.

    Args:
        recipe: as for `train`.
        console: where problems of the data are printed; default: standard error.

    Raises:
        RecipeError, DataError: as for `train`.
    """
    console = console or Console(stderr=True)
    torch.manual_seed(recipe.seed)
    fabric = devices_of(recipe)
    encoder, frozen, start = preflight(recipe)
    dataset = read_data(recipe, console)
    training, dev = training_part(recipe, dataset.split("train")), dataset.split("dev")
    decoder, tokenizer = (start.decoder, start.tokenizer) if start else _new_decoder(recipe, encoder, training)
    cacheable = not recipe.images.augment or recipe.images.views is not None
    cached = frozen if cacheable else None
    grid, depth = (cached.grid, cached.depth) if cached else (encoder.grid, encoder.depth)
    batches = _batches(recipe, training, tokenizer, grid, depth)
    objective = build_objective(recipe, decoder, tokenizer, training)
    if not cached or recipe.encoder.finetune != "none":
        objective = WithEncoder(encoder, objective, cached)
    objective.to(fabric.device)
    step = _seconds_of_step(objective, batches, fabric, None if cached else encoder.transform.size)
    memory = _peak_memory(fabric.device)
    search = search_options(recipe, tokenizer)
    encoding, searching = _seconds_of_photo(encoder, cached, decoder, search, fabric.device)
    steps = int(min(recipe.train.epochs * len(batches), recipe.train.max_steps or math.inf))
    weights = sum(p.numel() for p in nn.ModuleList([encoder, decoder]).parameters())
    trained = sum(p.numel() for p in objective.parameters() if p.requires_grad)
    views = (recipe.images.views or 1) if recipe.images.augment else 1
    most, most_dev = CALIBRATION_PHOTOS
    calibrated = min(len(dataset.split("train")), most) + min(len(dev), most_dev)
    stored = len(training) * views + len(dev) if cached else 0
    return Plan(
        photos=len(training),
        captions=sum(len(record.captions) for record in training),
        dev=len(dev),
        batch=recipe.train.batch_size,
        processes=fabric.world_size,
        steps=steps,
        epochs=-(-steps // max(len(batches), 1)),
        weights=weights,
        trained=trained,
        step_seconds=step,
        encode_seconds=encoding * stored / fabric.world_size,
        validate_seconds=(searching + (0 if cached else encoding)) * len(dev) / fabric.world_size,
        calibrate_seconds=(encoding + searching) * calibrated if recipe.train.calibrate else 0.0,
        memory=memory,
        feature_bytes=stored * grid[0] * grid[1] * depth * 2,
        run_bytes=4 * (2 * weights + (2 + ADAM) * trained),
    )


def _new_decoder(
    recipe: Recipe, encoder: Encoder, training: Sequence[CaptionRecord]
) -> tuple[Decoder, CaptionTokenizer]:
    """A decoder with random weights; word vectors from files are replaced by zeros."""
    tokens = recipe.tokens
    captions = [caption for record in training for caption in record.captions]
    tokenizer = CaptionTokenizer.build(captions, tokens.min_count, tokens.kind, tokens.vocab_size)
    size = recipe.embedding.size or DEFAULT_EMBEDDING_SIZE
    table = None if recipe.embedding.kind == "learned" else np.zeros((len(tokenizer), size), np.float32)
    return build_decoder(recipe, encoder, len(tokenizer), table), tokenizer


def _batches(
    recipe: Recipe,
    training: Sequence[CaptionRecord],
    tokenizer: CaptionTokenizer,
    grid: tuple[int, int],
    depth: int,
) -> CaptionBatches:
    """Batches of the real captions with random features."""
    regions = np.random.default_rng(0).standard_normal((SAMPLE, grid[0] * grid[1], depth)).astype(np.float16)
    features = PhotoFeatures(regions, np.arange(len(training)) % SAMPLE, grid, ())
    captions = [[tokenizer.encode(caption) for caption in record.captions] for record in training]
    settings = recipe.train
    return CaptionBatches(
        features, captions, settings.batch_size, recipe.tokens.max_words, recipe.seed, settings.consensus
    )


@torch.inference_mode()
def _seconds_of_photo(
    encoder: Encoder,
    cached: FrozenPart | None,
    decoder: Decoder,
    search: BeamOptions,
    device: torch.device,
) -> tuple[float, float]:
    """(seconds to encode one photo, seconds to caption it).

    Args:
        cached: the part of the encoder whose features are cached; None: the whole encoder is timed.
    """
    encoder.to(device).eval()
    size = encoder.transform.size
    pixels = torch.randn(SAMPLE, 3, size, size, device=device)
    encoding = timed(lambda: (cached or encoder)(pixels)) / SAMPLE
    memory = decoder.eval().prepare(encoder(pixels).regions)
    return encoding, timed(lambda: generate(decoder, memory, search)) / SAMPLE


def _seconds_of_step(objective: nn.Module, batches: CaptionBatches, fabric: Fabric, image_size: int | None) -> float:
    """Seconds for a step with one process' share of a batch."""
    processes, device = fabric.world_size, fabric.device
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=0.0)
    seconds = []
    for photos in (batches.order(0) * (TIMED + 1))[: TIMED + 1]:
        share = photos[::processes]
        if image_size is None:
            batch = batches.batch(share).to(device)
        else:
            images = torch.randn(len(share), 3, image_size, image_size)
            batch = PhotoBatch(images, *batches.words(share)).to(device)

        def step(batch=batch) -> None:
            optimizer.zero_grad(set_to_none=True)
            with fabric.autocast():
                loss = objective(batch, 0.0)
            loss.backward()
            optimizer.step()

        seconds.append(timed(step))
    return min(seconds[1:])  # the first step allocates memory, and other programs may delay any step


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes, until the GPU has finished too."""
    _wait()
    start = time.perf_counter()
    work()
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def duration(seconds: float) -> str:
    """Format a duration as "40 s", "12.0 min", "7.5 h" or "3.2 days"."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
