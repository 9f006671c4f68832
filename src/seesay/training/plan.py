"""What a run will take: steps, memory, disk and time, before any photo is read (`seesay train --plan`)."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from lightning.fabric import Fabric
from rich.console import Console
from torch import nn

from seesay.config import Recipe
from seesay.data.feature_cache import PhotoFeatures
from seesay.data.text import size_of
from seesay.data.tokens import CaptionTokenizer
from seesay.models.build import build_decoder
from seesay.training.generate import generate
from seesay.training.inputs.batches import CaptionBatches, PhotoBatch
from seesay.training.objectives.from_recipe import build_objective, search_options
from seesay.training.objectives.with_encoder import WithEncoder
from seesay.training.preflight import preflight
from seesay.training.train import devices_of, read_data, training_part

SAMPLE = 8  # photos that are encoded or searched to measure how long one takes
TIMED = 3  # steps
ADAM = 2  # numbers of the optimiser for each weight


@dataclass(frozen=True)
class Plan:
    """What a run will take on this machine; times are measured with random photos and the real captions.

    Attributes:
        photos, captions, dev: of the training and dev splits.
        batch, processes: photos of a step, and processes that share them.
        steps, epochs: of the whole run.
        weights, trained: numbers of the model, and those that are trained.
        step_seconds, encode_seconds, validate_seconds: of a step, of encoding all photos once (0: photos are read in
            every step), and of captioning the dev photos once.
        memory: bytes at the peak of a step, with everything else that the process holds.
        feature_bytes, run_bytes: on disk, in the feature cache and in the run's folder.
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
    memory: int
    feature_bytes: int
    run_bytes: int

    @property
    def seconds(self) -> float:
        """The estimate for the whole run; decoding photos in every step comes on top where nothing is cached."""
        return self.steps * self.step_seconds + self.encode_seconds + self.epochs * self.validate_seconds

    def __str__(self) -> str:
        share = f" on {self.processes} processes" if self.processes > 1 else ""
        cached = f"{size_of(self.feature_bytes)} of features in the cache" if self.feature_bytes else "no features"
        parts = [f"{self.steps:,} steps at {self.step_seconds:.2f} s", f"{self.epochs} validations"]
        parts += [f"encoding {self.encode_seconds / 60:.1f} min"] if self.encode_seconds else []
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
    """Plan a run: reads the caption files, and measures a few steps on random photos.

    Args:
        recipe: as for `train`.
        console: for the data's problems; default: standard error.

    Raises:
        RecipeError, DataError: as for `train`.
    """
    console = console or Console(stderr=True)
    torch.manual_seed(recipe.seed)
    fabric = devices_of(recipe)
    encoder, frozen, start = preflight(recipe)
    dataset = read_data(recipe, console)
    training, dev = training_part(recipe, dataset.split("train")), dataset.split("dev")
    if start:
        decoder, tokenizer = start.decoder, start.tokenizer
    else:
        tokenizer = _tokenizer(recipe, [caption for record in training for caption in record.captions])
        size = recipe.embedding.size or 300
        table = None if recipe.embedding.kind == "learned" else np.zeros((len(tokenizer), size), np.float32)
        decoder = build_decoder(recipe, encoder, len(tokenizer), table)
    cached = frozen is not None and (not recipe.images.augment or recipe.images.views is not None)
    grid, depth = (frozen.grid, frozen.depth) if cached and frozen else (encoder.grid, encoder.depth)
    regions = np.random.default_rng(0).standard_normal((SAMPLE, grid[0] * grid[1], depth)).astype(np.float16)
    features = PhotoFeatures(regions, np.arange(len(training)) % SAMPLE, grid, ())
    captions = [[tokenizer.encode(caption) for caption in record.captions] for record in training]
    words = recipe.tokens.max_words
    batches = CaptionBatches(features, captions, recipe.train.batch_size, words, recipe.seed, recipe.train.consensus)
    objective = build_objective(recipe, decoder, tokenizer, training)
    if not cached or recipe.encoder.finetune != "none":
        objective = WithEncoder(encoder, objective, frozen if cached else None)
    device, search = fabric.device, search_options(recipe, tokenizer)
    objective.to(device)
    step = _seconds_of_step(objective, batches, fabric, None if cached else encoder.transform.size)
    memory = _peak_memory(device)
    pixels = torch.randn(SAMPLE, 3, encoder.transform.size, encoder.transform.size, device=device)
    encoder.to(device).eval()
    with torch.inference_mode():
        encode = timed(lambda: (frozen if cached and frozen else encoder)(pixels)) / SAMPLE
        memory_of = decoder.eval().prepare(encoder(pixels).regions)
        searched = timed(lambda: generate(decoder, memory_of, search)) / SAMPLE
    per_epoch = len(batches)
    steps = min(recipe.train.epochs * per_epoch, recipe.train.max_steps or math.inf)
    modules = nn.ModuleList([encoder, decoder])
    weights = sum(p.numel() for p in modules.parameters())
    trained = sum(p.numel() for p in objective.parameters() if p.requires_grad)
    views = (recipe.images.views or 1) if recipe.images.augment else 1
    stored = len(training) * views + len(dev) if cached else 0
    return Plan(
        photos=len(training),
        captions=sum(len(record.captions) for record in training),
        dev=len(dev),
        batch=recipe.train.batch_size,
        processes=fabric.world_size,
        steps=int(steps),
        epochs=-(-int(steps) // max(per_epoch, 1)),
        weights=weights,
        trained=trained,
        step_seconds=step,
        encode_seconds=encode * stored,
        validate_seconds=(searched + (0 if cached else encode)) * len(dev) / fabric.world_size,
        memory=memory,
        feature_bytes=stored * grid[0] * grid[1] * depth * 2,
        run_bytes=4 * (2 * weights + (2 + ADAM) * trained),
    )


def _tokenizer(recipe: Recipe, captions: list[str]) -> CaptionTokenizer:
    tokens = recipe.tokens
    return CaptionTokenizer.build(captions, tokens.min_count, tokens.kind, tokens.vocab_size)


def _seconds_of_step(objective: nn.Module, batches: CaptionBatches, fabric: Fabric, image_size: int | None) -> float:
    """Seconds of a step with one process' share of a batch."""
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
    return min(seconds[1:])  # the first one allocates; others may wait for what else the machine does


def timed(work: Callable[[], object]) -> float:
    """Seconds that the work takes, on a GPU too."""
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
    """Such as "40 s", "12 min", "7.5 h" or "3.2 days"."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
