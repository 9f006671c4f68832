"""A bundle's two graphs on ONNX Runtime, as functions of arrays."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import onnxruntime

from seesay.errors import BundleError

Precision = Literal["auto", "int8", "float32"]
ENCODERS: dict[Precision, str] = {"int8": "encoder.int8.onnx", "float32": "encoder.onnx"}
DECODERS: dict[Precision, str] = {"int8": "decoder.int8.onnx", "float32": "decoder.onnx"}
# Whether ONNX Runtime is told for how long; one that is older would spin for milliseconds.
SPIN_DURATION = tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= (1, 26)
FAST_INT8 = ("x86_64", "AMD64")  # where 8 bits were measured to be faster (docs/performance.md)

Arrays = tuple[np.ndarray, ...]


class Encoded(NamedTuple):
    """What the decoder needs of some photos.

    Attributes:
        state: arrays (B, 1, ...), before the first word.
        memory: arrays (B, ...).
    """

    state: Arrays
    memory: Arrays


class Encoder:
    """Pixels of one photo -> what the decoder needs of it."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]

    def __call__(self, pixels: np.ndarray) -> Encoded:
        """One photo, (3, size, size): alone, since its activations then stay in the processor's cache."""
        arrays = _run(self._session, self._outputs, {"images": pixels[None]})
        named = list(zip(self._outputs, arrays, strict=True))
        state, memory = (tuple(a for name, a in named if name.startswith(kind)) for kind in ("state.", "memory."))
        return Encoded(state, memory)


class Decoder:
    """One step of the decoder, as the searches ask for it (`seesay.search.StepModel.step`)."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._outputs = [output.name for output in session.get_outputs()]
        inputs = [part.name for part in session.get_inputs()]
        self._parts = [name for kind in ("state.", "memory.") for name in inputs if name.startswith(kind)]

    def __call__(self, tokens: np.ndarray, state: Arrays, memory: Arrays) -> tuple[np.ndarray, Arrays, np.ndarray]:
        feed = {"tokens": tokens, **dict(zip(self._parts, (*state, *memory), strict=True))}
        logprobs, attention, *after = _run(self._session, self._outputs, feed)
        return logprobs, tuple(after), attention


def open_encoder(folder: Path, threads: int, precision: Precision) -> tuple[Encoder, Precision]:
    """The encoder of a bundle, and the precision that "auto" took; raises BundleError: it cannot be run."""
    session, taken = _open(folder, ENCODERS, threads, precision)
    return Encoder(session), taken


def open_decoder(folder: Path, threads: int, precision: Precision) -> tuple[Decoder, Precision]:
    """The decoder of a bundle, and the precision that "auto" took.

    Raises:
        BundleError: it cannot be run, or the bundle does not have it in this precision.
    """
    if precision == "int8" and not (folder / DECODERS[precision]).is_file():
        raise BundleError(f"bundle {folder}: has no {DECODERS[precision]}, an earlier seesay wrote it; use float32")
    session, taken = _open(folder, DECODERS, threads, precision)
    return Decoder(session), taken


def _open(
    folder: Path, graphs: dict[Precision, str], threads: int, precision: Precision
) -> tuple[onnxruntime.InferenceSession, Precision]:
    """The graph in 8 bits where it is wanted and there, else the one in float32, which "auto" takes too where the
    former cannot be run."""
    fast = platform.machine() in FAST_INT8
    if (precision == "int8" or (precision == "auto" and fast)) and (folder / graphs["int8"]).is_file():
        try:
            return _session(folder / graphs["int8"], threads), "int8"
        except BundleError:
            if precision == "int8":
                raise
    return _session(folder / graphs["float32"], threads), "float32"


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


def _run(session: onnxruntime.InferenceSession, outputs: list[str], feed: dict[str, Any]) -> list[np.ndarray]:
    return cast(list[np.ndarray], session.run(outputs, feed))  # our graphs have no sequences, maps or sparse tensors
