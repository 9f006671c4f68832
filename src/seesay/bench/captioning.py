"""The speed of captioning: throughput, latency, start-up and memory, and how the time is spent."""

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
from seesay.runtime.threads import BATCH
from seesay.search import BeamOptions, Hypothesis

# photos captioned before the measurement; several batches run in parallel, one does not
WARM_UP = 3 * BATCH


class EncoderOnly(Engine):
    """An engine that encodes photos and gives each an empty sentence."""

    def search(
        self, photos: Sequence[Encoded], options: BeamOptions, keep_ended: bool = False
    ) -> list[list[Hypothesis]]:
        """An empty sentence for each photo."""
        return [[Hypothesis((), (0.0,), np.zeros((0, 1), np.float32), 0.0)] for _ in photos]  # the end alone


def encoder_only(model: CaptionModel) -> CaptionModel:
    """A model that decodes and encodes photos but has no decoder: the limit of any captioner."""
    return model.with_engines(lambda engine: EncoderOnly(**vars(engine)))


def throughput(model: CaptionModel, photos: Sequence[Path], repeats: int) -> Iterator[Figure]:
    """Photos per second from file to caption for each of `BEAMS`.

    The limit is decoding and encoding the photos alone.
    """

    def run(captioner: CaptionModel, beam: int) -> Callable[[], object]:
        return lambda: list(captioner.caption_many(photos, beam=beam))

    tasks = {"limit": run(encoder_only(model), 1), **{f"beam_{beam}": run(model, beam) for beam in BEAMS}}
    list(model.caption_many(photos[:WARM_UP], beam=max(BEAMS)))  # the first run allocates
    seconds = interleaved(repeats, **tasks)
    yield from by_beam("captioning", "photos of 500x375", len(photos), seconds, "decoding + encoder alone")


def latency(model: CaptionModel, photos: Sequence[Path], repeats: int, beam: int = 3) -> Iterator[Figure]:
    """Milliseconds from one file to its caption after warm-up.

    The limits are the encoder alone, as used and in float32.
    """
    pixels = model.bundle.transform(photos[0])
    model.caption(photos[0], beam)
    engine, in_float32 = model.engine, None
    if model.encoder_precision != "float32":
        in_float32 = Engine.open(model.bundle.folder, model.threads, "float32", model.device)

    def encode(engine: Engine) -> float:
        return timed(lambda: engine.encode(pixels))

    total, encoder_alone, encoder_float32 = [], [], []
    for _ in range(repeats):
        pairs = [(timed(lambda p=p: model.caption(p, beam)), encode(engine)) for p in photos]
        total.append([1000 * caption for caption, _ in pairs])
        encoder_alone.append(statistics.median(1000 * encoder for _, encoder in pairs))
        if in_float32:  # after the captions, because it would evict their weights from the cache
            encoder_float32.append(statistics.median(1000 * encode(in_float32) for _ in photos))
    for key, share in (("median", 50), ("p95", 95)):
        values = [float(np.percentile(times, share)) for times in total]
        yield figure(f"latency.{key}", f"one photo, beam {beam}, {key}", "ms", values, encoder_alone, "encoder alone")
        if encoder_float32 and key == "median":
            what = "the same, beside the encoder in float32"
            yield figure("latency.beside_float32", what, "ms", values, encoder_float32, "encoder alone, float32")


def start_up(
    model: str | None, photo: Path, repeats: int, precision: Precision = "auto", device: Wanted = "cpu"
) -> Iterator[Figure]:
    """Seconds from starting a process to the printed caption.

    The limit is `python -c "import onnxruntime"`.
    """
    command = [sys.executable, "-m", "seesay", "caption", str(photo), "--precision", precision, "--device", device]
    command += ["--model", model] if model else []

    def run(*command: str) -> Callable[[], object]:
        return lambda: subprocess.run(command, check=True, capture_output=True)

    tasks = {"caption": run(*command), "engine": run(sys.executable, "-c", "import onnxruntime")}
    interleaved(1, **tasks)  # the first run reads files from the disk and writes bytecode
    seconds = interleaved(repeats, **tasks)
    what = "fresh process to printed caption"
    yield figure("startup", what, "s", seconds["caption"], seconds["engine"], "python -c 'import onnxruntime'")


class Timed:
    """Wraps a callable and records the (start, end) of each call."""

    def __init__(self, wrapped: Callable[..., Any]) -> None:
        self.wrapped = wrapped
        self.calls: list[tuple[float, float]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return self.wrapped(*args, **kwargs)
        finally:
            self.calls.append((started, time.perf_counter()))

    @property
    def last(self) -> float:
        """The end of the last call."""
        return max(end for _, end in self.calls)

    @property
    def total(self) -> float:
        """Seconds of all calls together."""
        return sum(end - start for start, end in self.calls)


STAGES = {
    "decode": "reading, decoding, resizing",
    "encode": "encoder",
    "decoder": "decoder, all words",
    "search": "search and captions",
    "rest": "rest",
}


def stages(model: CaptionModel, photos: Sequence[Path], repeats: int, beam: int = 3) -> Iterator[Figure]:
    """The mean share of each stage in the time of a batch, which runs them one after the other."""
    batches = [photos[start : start + BATCH] for start in range(0, len(photos), BATCH)]
    measured = [_stage_shares(model, batch, beam) for _ in range(repeats) for batch in batches]
    means = {name: statistics.mean(shares[name] for shares in measured) for name in STAGES}
    for name, what in STAGES.items():
        values = [shares[name] for shares in measured]
        yield Figure(f"stages.{name}", what, "", means[name], min(values), max(values), len(values))


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
    total = ended - started
    seconds["rest"] = total - sum(seconds.values())
    return {name: duration / total for name, duration in seconds.items()}


def memory(
    model: str | None,
    photos: Sequence[Path],
    beam: int = 3,
    precision: Precision = "auto",
    device: Wanted = "cpu",
) -> Iterator[Figure]:
    """The peak memory of a fresh process that captions the photos."""
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
    """Speed and peak memory for several times as many photos, beside those for all photos once.

    Nothing is cached between photos, so a photo that comes again costs as much as a new one.
    """
    seconds, peak = in_fresh_process(caption_all, model, photos, beam, precision, device)
    seconds_all, peak_all = in_fresh_process(caption_all, model, [*photos] * times, beam, precision, device)
    many, few = f"{times * len(photos):,} photos", f"{len(photos):,} photos"
    speed, speed_all = len(photos) / seconds, times * len(photos) / seconds_all
    yield figure("linear.speed", f"{many}, beam {beam}", "photos/s", [speed_all], [speed], few)
    if peak is not None and peak_all is not None:
        yield figure("linear.memory", f"{many}, peak", "MB", [peak_all / 1e6], [peak / 1e6], few)


def in_fresh_process(call: Callable[..., Any], *args: Any) -> Any:
    """The result of `call(*args)` in a new process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(call, *args).result()


def caption_all(
    model: str | None, photos: Sequence[Path], beam: int, precision: Precision, device: Wanted
) -> tuple[float, int | None]:
    """Caption the photos after warm-up: (seconds, peak memory of this process in bytes)."""
    captioner = CaptionModel.load(model, precision=precision, device=device)
    list(captioner.caption_many(photos[:WARM_UP], beam=beam))
    seconds = timed(lambda: sum(1 for _ in captioner.caption_many(photos, beam=beam)))
    return seconds, peak_memory()
