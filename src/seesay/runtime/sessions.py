"""A bundle's two graphs on ONNX Runtime, as functions of arrays."""

from __future__ import annotations

import platform
from contextlib import nullcontext
from pathlib import Path
from threading import Lock
from typing import Literal, NamedTuple, cast

import numpy as np
import onnxruntime

from seesay.bundle.agreement import read_graph_of
from seesay.bundle.fields import cannot_run, refused
from seesay.bundle.weights_file import WEIGHTS
from seesay.errors import BundleError, DeviceError, shown
from seesay.runtime.device import PROVIDERS, Device, active_device

Precision = Literal["auto", "int8", "float32"]
ENCODERS: dict[Precision, str] = {"int8": "encoder.int8.onnx", "float32": "encoder.onnx"}
DECODERS: dict[Precision, str] = {"int8": "decoder.int8.onnx", "float32": "decoder.onnx"}
# Whether ONNX Runtime is told for how long; one that is older would spin for milliseconds.
SPIN_DURATION = tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= (1, 26)
FAST_INT8 = ("x86_64", "AMD64")  # where 8 bits were measured to be faster (docs/performance.md)

# Errors are raised as exceptions. That they are also written to the terminal, in red, helps no user; it is switched off
# for each session below, and here for what belongs to none.
FATAL = 4
onnxruntime.set_default_logger_severity(FATAL)
LINKED = f" ({WEIGHTS} is a link, which is followed inside the folder only: copy the bundle, with `cp -rL`, say)"
LONGEST_REASON = 240  # characters of what ONNX Runtime says

Arrays = tuple[np.ndarray, ...]


class Encoded(NamedTuple):
    """What the decoder needs of some photos.

    Attributes:
        state: arrays (B, 1, ...), before the first word.
        memory: arrays (B, ...).
    """

    state: Arrays
    memory: Arrays


class Graph:
    """A graph of a bundle on ONNX Runtime: a function of arrays.

    What it computes is checked for what `seesay.bundle.agreement` cannot know beforehand.

    Args:
        path: the file.
        threads: that work on one call.
        device: where it runs; see `seesay.runtime.device`.

    Attributes:
        inputs: their names.
        outputs: name -> length of the last axis as the graph declares it.

    Raises:
        BundleError: ONNX Runtime cannot open it; or, when it is called, it fails, or an output has another shape.
    """

    def __init__(self, path: Path, threads: int, device: Device = "cpu") -> None:
        self.path, self._session = path, _session(path, threads, device)
        self._one_at_a_time = Lock() if device == "directml" else nullcontext()  # its sessions are not safe for threads
        self.inputs = [each.name for each in self._session.get_inputs()]
        self.outputs: dict[str, int | str | None] = {
            each.name: (each.shape or [None])[-1] for each in self._session.get_outputs()
        }
        self._names = list(self.outputs)

    def __call__(self, feed: dict[str, np.ndarray], leading: tuple[int, ...]) -> list[np.ndarray]:
        """All outputs, whose first axes are `leading`."""
        try:
            with self._one_at_a_time:
                found = cast(list[np.ndarray], self._session.run(self._names, feed))  # arrays all of them
        except Exception as error:  # ONNX Runtime's errors have no common class
            raise refused(self.path, f"fails when it runs ({_brief(error)})") from None
        count = len(leading)
        for name, array in zip(self._names, found, strict=True):
            if array.shape[:count] != leading:
                raise self.unexpected(name, array, leading)
        return found

    def unexpected(self, name: str, array: np.ndarray, leading: tuple[int, ...], *rest: object) -> BundleError:
        """The error about an output of another shape than (*leading, *rest)."""
        expected = ", ".join(map(str, (*leading, *(rest or ("...",)))))
        return refused(self.path, f"gives {shown(name)} of {shown(list(array.shape))}, expected [{expected}]")


class Encoder:
    """Pixels of one photo -> what the decoder needs of it."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def __call__(self, pixels: np.ndarray) -> Encoded:
        """One photo, (3, size, size): alone, since its activations then stay in the processor's cache."""
        named = list(zip(self._graph.outputs, self._graph({"images": pixels[None]}, (1,)), strict=True))
        for name, array in named:
            if name.startswith("state.") and array.shape[:2] != (1, 1):
                raise self._graph.unexpected(name, array, (1, 1))
            if not np.isfinite(array).all():
                raise refused(self._graph.path, f"gives {shown(name)} that is no number (NaN or infinite)")
        state, memory = (tuple(a for name, a in named if name.startswith(kind)) for kind in ("state.", "memory."))
        return Encoded(state, memory)


class Decoder:
    """One step of the decoder, as the searches ask for it (`seesay.search.StepModel.step`)."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._parts = [name for kind in ("state.", "memory.") for name in graph.inputs if name.startswith(kind)]
        self._words, self._regions = (graph.outputs.get(name) for name in ("logprobs", "attention"))

    def __call__(self, tokens: np.ndarray, state: Arrays, memory: Arrays) -> tuple[np.ndarray, Arrays, np.ndarray]:
        feed = {"tokens": tokens, **dict(zip(self._parts, (*state, *memory), strict=True))}
        logprobs, attention, *after = self._graph(feed, tokens.shape)
        if logprobs.shape[2:] != (self._words,):
            raise self._graph.unexpected("logprobs", logprobs, tokens.shape, self._words)
        if attention.shape[2:] != (self._regions,):
            raise self._graph.unexpected("attention", attention, tokens.shape, self._regions)
        return logprobs, tuple(after), attention


def open_encoder(folder: Path, threads: int, precision: Precision, device: Device = "cpu") -> tuple[Encoder, Precision]:
    """The encoder of a bundle, and the precision that "auto" took.

    Raises:
        BundleError: it cannot be run.
        DeviceError: not on this device.
    """
    graph, taken = _open(folder, ENCODERS, threads, precision, device)
    return Encoder(graph), taken


def open_decoder(folder: Path, threads: int, precision: Precision, device: Device = "cpu") -> tuple[Decoder, Precision]:
    """The decoder of a bundle, and the precision that "auto" took.

    Raises:
        BundleError: it cannot be run, or the bundle does not have it in this precision.
        DeviceError: it cannot be run on this device.
    """
    if precision == "int8" and not (folder / DECODERS[precision]).is_file():
        raise BundleError(f"bundle {folder}: has no {DECODERS[precision]}, an earlier seesay wrote it; use float32")
    graph, taken = _open(folder, DECODERS, threads, precision, device)
    return Decoder(graph), taken


def _open(
    folder: Path, graphs: dict[Precision, str], threads: int, precision: Precision, device: Device
) -> tuple[Graph, Precision]:
    """The graph in 8 bits where it is wanted and there, else the one in float32, which "auto" takes too where the
    former cannot be run, and on accelerators, which would leave the operations in 8 bits to the processor."""
    fast = device == "cpu" and platform.machine() in FAST_INT8
    if (precision == "int8" or (precision == "auto" and fast)) and (folder / graphs["int8"]).is_file():
        try:
            return Graph(folder / graphs["int8"], threads, device), "int8"
        except BundleError:
            if precision == "int8":
                raise
    return Graph(folder / graphs["float32"], threads, device), "float32"


def _session(graph: Path, threads: int, device: Device) -> onnxruntime.InferenceSession:
    read_graph_of(graph)  # ONNX Runtime opens no file that this refuses
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    options.intra_op_num_threads = threads
    # Threads without work spin on cores that others need. Those of a decoder go on spinning while the search thinks
    # about a word (some 140 microseconds): to wake them for the next one would take as long as their share of it.
    spins_on = graph.name in DECODERS.values() and SPIN_DURATION
    options.add_session_config_entry("session.force_spinning_stop", "0" if spins_on else "1")
    options.add_session_config_entry("session.intra_op.spin_duration_us", "200" if spins_on else "50")
    if device == "directml":  # which has its own memory
        options.enable_mem_pattern = False
    providers = list(dict.fromkeys((PROVIDERS[device], PROVIDERS["cpu"])))  # the processor does what is left over
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=providers)
    except Exception as error:  # ONNX Runtime's errors have no common class
        if device != "cpu":
            raise DeviceError(f"device={device}: {graph.name} cannot be run on it: {_brief(error)}") from None
        linked = (graph.parent / WEIGHTS).is_symlink()
        raise cannot_run(graph, f"{_brief(error)}{LINKED if linked else ''}") from None
    if active_device(session) != device:
        raise DeviceError(f"device={device}: ONNX Runtime could not start it (its driver or its libraries are missing)")
    return session


def _brief(error: Exception) -> str:
    """The message of another library on one line."""
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST_REASON else f"{text[: LONGEST_REASON - 3]}..."
