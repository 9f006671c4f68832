"""How fast photos become captions: many, one, and the very first; and where the time goes."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from seesay.bench.machine import peak_memory
from seesay.bench.timing import BEAMS, Figure, by_beam, figure, interleaved, timed
from seesay.runtime import CaptionModel
from seesay.runtime.device import Wanted
from seesay.runtime.engine import Engine
from seesay.runtime.sessions import Encoded, Precision
from seesay.search import BeamOptions, Hypothesis

BATCH = 16
WARM = 3 * BATCH  # photos that go first: several batches take another way than one


class Silent(Engine):
    """An engine that encodes photos and writes nothing."""

    def search(self, photos: Sequence[Encoded], options: BeamOptions, number: int | None = 1) -> list[list[Hypothesis]]:
        """For each photo the sentence of no word."""
        return [[Hypothesis((), (), np.zeros((0, 1), np.float32), 0.0)] for _ in photos]


def encoder_only(model: CaptionModel) -> CaptionModel:
    """The same pipeline with the same encoder, but nothing is written: decoding and the encoder are the limit."""
    return model.with_engines(lambda engine: Silent(**vars(engine)))


def throughput(model: CaptionModel, photos: Sequence[Path], repeats: int) -> Iterator[Figure]:
    """Photos a second, file to caption, for some beams, beside decoding and encoder alone."""

    def run(captioner: CaptionModel, beam: int) -> Callable[[], object]:
        return lambda: list(captioner.caption_many(photos, beam=beam))

    tasks = {"limit": run(encoder_only(model), 1), **{f"beam_{beam}": run(model, beam) for beam in BEAMS}}
    list(model.caption_many(photos[:WARM], beam=max(BEAMS)))  # the first run allocates
    seconds = interleaved(repeats, **tasks)
    yield from by_beam("captioning", "photos of 500x375", len(photos), seconds, "decoding + encoder alone")


def latency(model: CaptionModel, photos: Sequence[Path], repeats: int, beam: int = 3) -> Iterator[Figure]:
    """Milliseconds from one file to its caption, warm, beside the encoder alone: as it is used, and in float32."""
    pixels = model.bundle.transform(photos[0])
    model.caption(photos[0], beam)
    engine, in_float32 = model.engine, None
    if model.encoder_precision != "float32":
        in_float32 = Engine.open(model.bundle.folder, model.threads, "float32", model.device)

    def encode(engine: Engine) -> float:
        return timed(lambda: engine.encode(pixels))

    whole, alone, exact = [], [], []
    for _ in range(repeats):
        pairs = [(timed(lambda p=p: model.caption(p, beam)), encode(engine)) for p in photos]
        whole.append([1000 * own for own, _ in pairs])
        alone.append(statistics.median(1000 * encoder for _, encoder in pairs))
        if in_float32:  # after the captions, whose weights it would drive out of the cache
            exact.append(statistics.median(1000 * encode(in_float32) for _ in photos))
    for key, share in (("median", 50), ("p95", 95)):
        values = [float(np.percentile(each, share)) for each in whole]
        yield figure(f"latency.{key}", f"one photo, beam {beam}, {key}", "ms", values, alone, "encoder alone")
        if exact and key == "median":
            what = "the same, beside the encoder in float32"
            yield figure("latency.beside_float32", what, "ms", values, exact, "encoder alone, float32")


def start_up(
    model: str | None, photo: Path, repeats: int, precision: Precision = "auto", device: Wanted = "cpu"
) -> Iterator[Figure]:
    """Seconds from a fresh process to the caption printed, beside `python -c "import onnxruntime"`."""
    command = [sys.executable, "-m", "seesay", "caption", str(photo), "--precision", precision, "--device", device]
    command += ["--model", model] if model else []

    def run(*command: str) -> Callable[[], object]:
        return lambda: subprocess.run(command, check=True, capture_output=True)

    tasks = {"caption": run(*command), "engine": run(sys.executable, "-c", "import onnxruntime")}
    interleaved(1, **tasks)  # files come from the disk, bytecode is written
    seconds = interleaved(repeats, **tasks)
    what = "fresh process to printed caption"
    yield figure("startup", what, "s", seconds["caption"], seconds["engine"], "python -c 'import onnxruntime'")


class Timed:
    """Something that is called, and the (start, end) of each call."""

    def __init__(self, timed: Callable[..., Any]) -> None:
        self.timed = timed
        self.calls: list[tuple[float, float]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return self.timed(*args, **kwargs)
        finally:
            self.calls.append((started, time.perf_counter()))

    @property
    def last(self) -> float:
        """When the last call ended."""
        return max(end for _, end in self.calls)

    @property
    def total(self) -> float:
        """Seconds of all calls."""
        return sum(end - start for start, end in self.calls)


STAGES = {
    "decode": "reading, decoding, resizing",
    "encode": "encoder",
    "decoder": "decoder, all words",
    "search": "search and captions",
    "rest": "rest",
}


def stages(model: CaptionModel, photos: Sequence[Path], repeats: int, beam: int = 3) -> Iterator[Figure]:
    """The mean share of each stage in the time of one batch, which runs through them one by one; they sum to 1."""
    batches = [photos[start : start + BATCH] for start in range(0, len(photos), BATCH)]
    measured = [_stage_shares(model, batch, beam) for _ in range(repeats) for batch in batches]
    means = {name: statistics.mean(shares[name] for shares in measured) for name in STAGES}
    for name, what in STAGES.items():
        each = [shares[name] for shares in measured]
        yield Figure(f"stages.{name}", what, "", means[name], min(each), max(each), len(each))


def _stage_shares(model: CaptionModel, batch: Sequence[Path], beam: int) -> dict[str, float]:
    encoder, decoder, read = map(Timed, (model.engine.encoder, model.engine.decoder, model.bundle.transform.read))
    engine = replace(model.engine, encoder=encoder, decoder=decoder)
    bundle = replace(model.bundle, transform=SimpleNamespace(read=read))  # pyright: ignore[reportArgumentType]
    timed = CaptionModel(bundle, model.threads, engines=lambda threads: engine)
    started = time.perf_counter()
    list(timed.caption_many(batch, batch_size=len(batch), beam=beam))
    ended = time.perf_counter()
    seconds = {
        "decode": read.total,
        "encode": encoder.total,
        "decoder": decoder.total,
        "search": ended - encoder.last - decoder.total,
    }
    whole = ended - started
    seconds["rest"] = whole - sum(seconds.values())
    return {name: each / whole for name, each in seconds.items()}


def memory(
    model: str | None,
    photos: Sequence[Path],
    beam: int = 3,
    precision: Precision = "auto",
    device: Wanted = "cpu",
) -> Iterator[Figure]:
    """The most memory that a process of its own takes while it captions the photos."""
    _, peak = in_fresh_process(caption_all, model, photos, beam, precision, device)
    if peak is not None:
        yield figure("memory", f"peak of a process that captions, beam {beam}", "MB", [peak / 1e6])


def linear(
    model: str | None,
    photos: Sequence[Path],
    beam: int = 3,
    times: int = 7,
    precision: Precision = "auto",
    device: Wanted = "cpu",
) -> Iterator[Figure]:
    """Photos a second, and peak memory, of all photos taken several times over, beside those of taking them once.

    Nothing is kept from photo to photo, so a photo that comes again costs what a new one does.
    """
    seconds, peak = in_fresh_process(caption_all, model, photos, beam, precision, device)
    seconds_all, peak_all = in_fresh_process(caption_all, model, [*photos] * times, beam, precision, device)
    many, few = f"{times * len(photos):,} photos", f"{len(photos):,} photos"
    speed, speed_all = len(photos) / seconds, times * len(photos) / seconds_all
    yield figure("linear.speed", f"{many}, beam {beam}", "photos/s", [speed_all], [speed], few)
    if peak is not None and peak_all is not None:
        yield figure("linear.memory", f"{many}, peak", "MB", [peak_all / 1e6], [peak / 1e6], few)


def in_fresh_process(call: Callable[..., Any], *args: Any) -> Any:
    """What `call(*args)` gives in a process that has loaded nothing else."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(call, *args).result()


def caption_all(
    model: str | None, photos: Sequence[Path], beam: int, precision: Precision, device: Wanted
) -> tuple[float, int | None]:
    """Caption the photos: (seconds, model loaded and warm, and the peak memory of this process in bytes)."""
    captioner = CaptionModel.load(model, precision=precision, device=device)
    list(captioner.caption_many(photos[:WARM], beam=beam))
    seconds = timed(lambda: sum(1 for _ in captioner.caption_many(photos, beam=beam)))
    return seconds, peak_memory()
