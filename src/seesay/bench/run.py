"""Runs the parts of the benchmark one after the other."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType

from rich.console import Console

from seesay.bench.captioning import latency, linear, memory, stages, start_up, throughput
from seesay.bench.machine import machine
from seesay.bench.make_photos import make_photos
from seesay.bench.metrics import metrics
from seesay.bench.results import Report
from seesay.bench.serving import serving
from seesay.bench.timing import Figure
from seesay.errors import MissingExtraError, require
from seesay.progress import progress
from seesay.runtime import CaptionModel
from seesay.runtime.device import Wanted
from seesay.runtime.sessions import Precision

PARTS = ("captioning", "latency", "stages", "startup", "memory", "linear")
PARTS += ("training", "features", "device", "metrics", "serve")
FEW_PHOTOS = 32  # for parts that take photos one by one, or all in one batch


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        model: a bundle's folder, a packaged model's name, or None for the packaged default.
        photos: number of photos to caption.
        repeats: how often each figure is measured; the median counts.
        images: number of captions to score.
        only: some of `PARTS`; empty: all of them except "linear", which takes minutes.
        linear: whether to measure "linear" too.
        precision, device: as for `seesay.load`.
    """

    model: str | None = None
    photos: int = 96
    repeats: int = 3
    images: int = 1000
    only: tuple[str, ...] = ()
    linear: bool = False
    precision: Precision = "auto"
    device: Wanted = "cpu"


def run_bench(options: Options, console: Console) -> Report:
    """Measure the parts that the options select.

    Args:
        options: the options.
        console: for progress.

    Raises:
        BundleError: no such model.
    """
    started, start = datetime.now().astimezone(), time.monotonic()
    figures: list[Figure] = []
    left_out: dict[str, str] = {}
    gpu = _gpu()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="seesay-bench-")))
        model = CaptionModel.load(options.model, precision=options.precision, device=options.device)
        parts = _parts(options, model, make_photos(folder, options.photos), gpu)
        advance = stack.enter_context(progress("measuring", len(parts), console))
        for name, part in parts.items():
            try:
                figures += part()
            except MissingExtraError as error:
                left_out[name] = str(error)
            advance(note=name)
    seconds = time.monotonic() - start
    date, name = started.isoformat(timespec="seconds"), model.bundle.name
    precision = f"{model.precisions}, on {model.device}"
    return Report(date, name, precision, {**machine(), "gpu": gpu}, asdict(options), seconds, figures, left_out)


def _parts(
    options: Options, model: CaptionModel, photos: list[Path], gpu: str | None
) -> dict[str, Callable[[], Iterable[Figure]]]:
    few, repeats = photos[:FEW_PHOTOS], options.repeats
    parts = {
        "captioning": lambda: throughput(model, photos, repeats),
        "latency": lambda: latency(model, few, repeats),
        "stages": lambda: stages(model, few, repeats),
        "startup": lambda: start_up(options.model, photos[0], repeats + 2, options.precision, options.device),
        "memory": lambda: memory(options.model, photos, precision=options.precision, device=options.device),
        "linear": lambda: linear(options.model, photos, precision=options.precision, device=options.device),
        "training": lambda: _torch("training", "training").training(repeats),
        "features": lambda: _torch("training", "the feature cache").features(model, photos, repeats),
        "device": lambda: _torch("on_gpu", "a graphics card").captioning_on_device(model, few, repeats),
        "metrics": lambda: metrics(options.images, repeats),
        "serve": lambda: _served(options, model, photos),
    }
    assert tuple(parts) == PARTS
    selected = {*(options.only or set(PARTS) - {"linear"}), *(["linear"] if options.linear else [])}
    return {name: part for name, part in parts.items() if name in selected and (gpu or name != "device")}


def _served(options: Options, model: CaptionModel, photos: list[Path]) -> Iterable[Figure]:
    require("fastapi", "serve", "the server")
    return serving(model, photos, options.repeats, options.model, options.precision, options.device)


def _torch(module: str, what: str) -> ModuleType:
    """A module of `seesay.bench` that needs the extra `train`."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as `seesay train` does
    return require(f"seesay.bench.{module}", "train", what)


def _gpu() -> str | None:
    try:
        return _torch("training", "a graphics card").device_name()
    except MissingExtraError:
        return None
