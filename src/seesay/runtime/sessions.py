"""A bundle's two graphs as functions of arrays, run by ONNX Runtime."""

from __future__ import annotations

import platform
from contextlib import nullcontext
from pathlib import Path
from threading import Lock
from typing import Literal, NamedTuple, cast

import numpy as np
import onnxruntime

from seesay.bundle.agreement import read_graph_of
from seesay.bundle.errors import cannot_run, refused
from seesay.bundle.weights_file import WEIGHTS
from seesay.errors import BundleError, DeviceError, shown
from seesay.runtime.device import PROVIDERS, Device, active_device

Precision = Literal["auto", "int8", "float32"]
ENCODERS: dict[Precision, str] = {"int8": "encoder.int8.onnx", "float32": "encoder.onnx"}
DECODERS: dict[Precision, str] = {"int8": "decoder.int8.onnx", "float32": "decoder.onnx"}
# Whether ONNX Runtime has the option for how long idle threads spin; older ones spin for milliseconds.
SPIN_DURATION = tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= (1, 26)
FAST_INT8 = ("x86_64", "AMD64")  # machines on which int8 was measured to be faster (docs/performance.md)

# Errors are raised as exceptions. ONNX Runtime would also print them to the terminal; that is switched off here, and
# for each session below.
FATAL = 4
onnxruntime.set_default_logger_severity(FATAL)
LINKED = f" ({WEIGHTS} is a link, which is followed inside the folder only: copy the bundle, with `cp -rL`, say)"
LONGEST_REASON = 240  # characters of ONNX Runtime's messages

Arrays = tuple[np.ndarray, ...]


class Encoded(NamedTuple):
    """The encoder's output: what the decoder needs of a batch of photos.

    Attributes:
        state: arrays (B, 1, ...), the state before the first word.
        memory: arrays (B, ...).
    """

    state: Arrays
    memory: Arrays


class Graph:
    """A graph of a bundle as a function of arrays.

    Shapes of its outputs are checked, since `seesay.bundle.agreement` knows only the declared ones.

    Args:
        path: the file.
        threads: used by each call.
        device: see `seesay.runtime.device`.

    Attributes:
        inputs: names.
        outputs: name -> declared length of the last axis.

    Raises:
        BundleError: ONNX Runtime cannot open the graph; in calls, it fails or an output has an unexpected shape.
    """

    def __init__(self, path: Path, threads: int, device: Device = "cpu") -> None:
        self.path, self._session = path, _session(path, threads, device)
        self._one_at_a_time = Lock() if device == "directml" else nullcontext()  # its sessions are not thread-safe
        self.inputs = [port.name for port in self._session.get_inputs()]
        self.outputs: dict[str, int | str | None] = {
            port.name: (port.shape or [None])[-1] for port in self._session.get_outputs()
        }
        self._names = list(self.outputs)

    def __call__(self, inputs: dict[str, np.ndarray], leading: tuple[int, ...]) -> list[np.ndarray]:
        """Run the graph; the first axes of all outputs must be `leading`."""
        try:
            with self._one_at_a_time:
                outputs = cast(list[np.ndarray], self._session.run(self._names, inputs))
        except Exception as error:  # ONNX Runtime's errors have no common base class
            raise refused(self.path, f"fails when it runs ({_brief(error)})") from None
        count = len(leading)
        for name, array in zip(self._names, outputs, strict=True):
            if array.shape[:count] != leading:
                raise self.unexpected(name, array, leading)
        return outputs

    def unexpected(self, name: str, array: np.ndarray, leading: tuple[int, ...], *rest: object) -> BundleError:
        """The error for an output whose shape is not (*leading, *rest)."""
        expected = ", ".join(map(str, (*leading, *(rest or ("...",)))))
        return refused(self.path, f"gives {shown(name)} of {shown(list(array.shape))}, expected [{expected}]")


class EncoderSession:
    """Pixels of one photo -> `Encoded`."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def __call__(self, pixels: np.ndarray) -> Encoded:
        """Encode one photo (3, size, size). Photos are not batched: activations of one fit into the CPU's cache."""
        named = list(zip(self._graph.outputs, self._graph({"images": pixels[None]}, (1,)), strict=True))
        for name, array in named:
            if name.startswith("state.") and array.shape[:2] != (1, 1):
                raise self._graph.unexpected(name, array, (1, 1))
            if not np.isfinite(array).all():
                raise refused(self._graph.path, f"gives {shown(name)} that is no number (NaN or infinite)")
        state, memory = (tuple(a for name, a in named if name.startswith(kind)) for kind in ("state.", "memory."))
        return Encoded(state, memory)


class DecoderSession:
    """One step of the decoder: the step function of a `seesay.search.StepModel`."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._state_and_memory = [
            name for kind in ("state.", "memory.") for name in graph.inputs if name.startswith(kind)
        ]
        self._words, self._regions = (graph.outputs.get(name) for name in ("logprobs", "attention"))

    def __call__(self, tokens: np.ndarray, state: Arrays, memory: Arrays) -> tuple[np.ndarray, Arrays, np.ndarray]:
        inputs = {"tokens": tokens, **dict(zip(self._state_and_memory, (*state, *memory), strict=True))}
        logprobs, attention, *next_state = self._graph(inputs, tokens.shape)
        if logprobs.shape[2:] != (self._words,):
            raise self._graph.unexpected("logprobs", logprobs, tokens.shape, self._words)
        if attention.shape[2:] != (self._regions,):
            raise self._graph.unexpected("attention", attention, tokens.shape, self._regions)
        return logprobs, tuple(next_state), attention


def open_encoder(
    folder: Path, threads: int, precision: Precision, device: Device = "cpu"
) -> tuple[EncoderSession, Precision]:
    """Open the encoder of a bundle; returns it with the precision that "auto" chose.

    Raises:
        BundleError: it cannot be run.
        DeviceError: it cannot be run on this device.
    """
    graph, chosen = _open(folder, ENCODERS, threads, precision, device)
    return EncoderSession(graph), chosen


def open_decoder(
    folder: Path, threads: int, precision: Precision, device: Device = "cpu"
) -> tuple[DecoderSession, Precision]:
    """Open the decoder of a bundle; returns it with the precision that "auto" chose.

    Raises:
        BundleError: it cannot be run, or the bundle does not have it in this precision.
        DeviceError: it cannot be run on this device.
    """
    if precision == "int8" and not (folder / DECODERS[precision]).is_file():
        raise BundleError(f"bundle {folder}: has no {DECODERS[precision]}, an earlier seesay wrote it; use float32")
    graph, chosen = _open(folder, DECODERS, threads, precision, device)
    return DecoderSession(graph), chosen


def _open(
    folder: Path, graphs: dict[Precision, str], threads: int, precision: Precision, device: Device
) -> tuple[Graph, Precision]:
    """Open the int8 graph where it is asked for and exists, else the float32 graph.

    "auto" also falls back to float32 where int8 cannot run, and on accelerators, which lack the int8 operations.
    """
    fast = device == "cpu" and platform.machine() in FAST_INT8
    if (precision == "int8" or (precision == "auto" and fast)) and (folder / graphs["int8"]).is_file():
        try:
            return Graph(folder / graphs["int8"], threads, device), "int8"
        except BundleError:
            if precision == "int8":
                raise
    return Graph(folder / graphs["float32"], threads, device), "float32"


def _session(graph: Path, threads: int, device: Device) -> onnxruntime.InferenceSession:
    read_graph_of(graph)  # refuses malicious files before ONNX Runtime opens them
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL
    options.intra_op_num_threads = threads
    # Idle threads that spin take cores from others. Those of a decoder keep spinning while the search chooses a word
    # (some 140 microseconds), since waking them for the next step would take as long as their share of it.
    spins = graph.name in DECODERS.values() and SPIN_DURATION
    options.add_session_config_entry("session.force_spinning_stop", "0" if spins else "1")
    options.add_session_config_entry("session.intra_op.spin_duration_us", "200" if spins else "50")
    if device == "directml":  # it requires this
        options.enable_mem_pattern = False
    providers = list(
        dict.fromkeys((PROVIDERS[device], PROVIDERS["cpu"]))
    )  # the CPU runs what the device does not support
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=providers)
    except Exception as error:  # ONNX Runtime's errors have no common base class
        if device != "cpu":
            raise DeviceError(f"device={device}: {graph.name} cannot be run on it: {_brief(error)}") from None
        linked = (graph.parent / WEIGHTS).is_symlink()
        raise cannot_run(graph, f"{_brief(error)}{LINKED if linked else ''}") from None
    if active_device(session) != device:
        raise DeviceError(f"device={device}: ONNX Runtime could not start it (its driver or its libraries are missing)")
    return session


def _brief(error: Exception) -> str:
    """The message of another library, shortened to one line."""
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST_REASON else f"{text[: LONGEST_REASON - 3]}..."
