"""A bundle's graphs on ONNX Runtime: pixels -> what the decoder needs of a photo -> sentences."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import onnxruntime

from seesay.data.tokens import BOS, EOS, NEVER_WRITTEN
from seesay.errors import BundleError
from seesay.search import Hypothesis, SearchOptions, beam_search

Precision = Literal["auto", "int8", "float32"]
ENCODERS: dict[Precision, str] = {"int8": "encoder.int8.onnx", "float32": "encoder.onnx"}
DECODERS: dict[Precision, str] = {"int8": "decoder.int8.onnx", "float32": "decoder.onnx"}
# Whether ONNX Runtime is told for how long; one that is older would spin for milliseconds.
SPIN_DURATION = tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= (1, 26)
FAST_INT8 = ("x86_64", "AMD64")  # where 8 bits were measured to be faster (docs/performance.md)

Encoded = list[np.ndarray]  # of one photo, (1, ...) each: memory and first state, in the order of the encoder's outputs


class Engine:
    """The encoder and the decoder of a bundle. Safe to use from several threads.

    Args:
        folder: the bundle's.
        threads: that work on one call.
        precision: "float32", or "int8", which is faster, changes some captions and hardly a score
            (docs/performance.md). "auto" takes "int8" where the bundle has it and it is known to be faster.

    Attributes:
        precision: the decoder's, never "auto".
        encoder_precision: the encoder's.

    Raises:
        BundleError: a graph cannot be run, or the bundle lacks the decoder asked for.
    """

    precision: Precision
    encoder_precision: Precision

    def __init__(self, folder: Path, threads: int, precision: Precision = "auto") -> None:
        if precision not in ("auto", *DECODERS):
            raise ValueError(f"precision={precision}: expected auto, int8 or float32")
        if precision == "int8" and not (folder / DECODERS[precision]).is_file():
            raise BundleError(f"bundle {folder}: has no {DECODERS[precision]}, an earlier seesay wrote it; use float32")
        with ThreadPoolExecutor(1) as pool:  # each graph takes as long as two photos to open, most of it on one core
            encoder = pool.submit(_open, folder, ENCODERS, threads, precision)
            self.precision, self._decoder = _open(folder, DECODERS, threads, precision)
            self.encoder_precision, self._encoder = encoder.result()
        self._photo_outputs = [output.name for output in self._encoder.get_outputs()]
        self._step_outputs = [output.name for output in self._decoder.get_outputs()]

    def encode(self, pixels: np.ndarray) -> Encoded:
        """One photo, (3, size, size): alone, since its activations then stay in the processor's cache."""
        return _run(self._encoder, self._photo_outputs, {"images": pixels[None]})

    def search(self, photos: Sequence[Encoded], options: SearchOptions) -> list[list[Hypothesis]]:
        """The best sentence of each photo."""
        joined = photos[0] if len(photos) == 1 else map(np.concatenate, zip(*photos, strict=True))
        parts = dict(zip(self._photo_outputs, joined, strict=True))
        memory = {name: array for name, array in parts.items() if name.startswith("memory.")}
        state = {name: array for name, array in parts.items() if name.startswith("state.")}

        def step(tokens: np.ndarray, *parts: tuple[np.ndarray, ...]) -> tuple[np.ndarray, Any, np.ndarray]:
            feed = {"tokens": tokens, **dict(zip((*state, *memory), chain(*parts), strict=True))}
            logprobs, attention, *after = _run(self._decoder, self._step_outputs, feed)
            return logprobs, tuple(after), attention

        first = tuple(state.values()), tuple(memory.values()), np.full((len(photos), 1), BOS, dtype=np.int64)
        return beam_search(step, *first, EOS, NEVER_WRITTEN, options, best_only=True)


Opened = tuple[Precision, onnxruntime.InferenceSession]  # the precision in use, and the graph in it


def _open(folder: Path, graphs: dict[Precision, str], threads: int, precision: Precision) -> Opened:
    """The graph in 8 bits where it is wanted and there, else the one in float32, which "auto" takes too where the
    former cannot be run."""
    fast = platform.machine() in FAST_INT8
    if (precision == "int8" or (precision == "auto" and fast)) and (folder / graphs["int8"]).is_file():
        try:
            return "int8", _session(folder / graphs["int8"], threads)
        except BundleError:
            if precision == "int8":
                raise
    return "float32", _session(folder / graphs["float32"], threads)


def _session(graph: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: advice on graph details helps no user
    options.intra_op_num_threads = threads
    # Threads without work spin on cores that others need. Those of a decoder go on spinning while the search thinks
    # about a word (some 140 microseconds): to wake them for the next one would take as long as their share of it.
    spins_on = graph.name in DECODERS.values() and SPIN_DURATION
    options.add_session_config_entry("session.force_spinning_stop", "0" if spins_on else "1")
    options.add_session_config_entry("session.intra_op.spin_duration_us", "200" if spins_on else "50")
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common class
        raise BundleError(f"bundle {graph.parent}: {graph.name} cannot be run: {error}") from error


def _run(session: onnxruntime.InferenceSession, outputs: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    return cast(list[np.ndarray], session.run(outputs, feed))  # our graphs have no sequences, maps or sparse tensors
