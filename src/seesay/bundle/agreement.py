"""Checks that the graphs of a bundle fit its vocabulary, preprocessing and grid."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from math import prod
from pathlib import Path

from seesay.bundle.confidence_file import TENSORS
from seesay.bundle.errors import cannot_run, refused
from seesay.bundle.format import OPTIONAL, Bundle
from seesay.bundle.graph_file import FLOAT, INT64, GraphFile, Port, read_graph
from seesay.bundle.weights_file import WEIGHTS, check_weights
from seesay.errors import BundleError, shown

EXACT_ENCODER = "encoder.onnx"
GRAPHS = (EXACT_ENCODER, "encoder.int8.onnx", "decoder.onnx", "decoder.int8.onnx")
KINDS = {FLOAT: "float32", INT64: "int64"}

Shape = tuple[int | None, ...]


class NoGraphError(BundleError):
    """A file is not an ONNX graph."""


def check_parts(bundle: Bundle) -> None:
    """Refuse weights that are NaN, and graphs that do not fit vocabulary, preprocessing and grid.

    A quantised file that is not a graph is ignored here; loading it (`read_graph_of`) raises the
    error. The shapes that a graph really returns are checked by `seesay.runtime` when it runs.

    Raises:
        BundleError: the first part that does not fit, with what was expected.
    """
    with ThreadPoolExecutor(1) as pool:  # numpy compares numbers while Python reads the graphs
        weights = pool.submit(check_weights, bundle.folder)
        _check_graphs(bundle)
        weights.result()


def _check_graphs(bundle: Bundle) -> None:
    encoder = read_graph_of(bundle.folder / EXACT_ENCODER)
    for name in GRAPHS:
        path = bundle.folder / name
        try:
            graph = read_graph_of(path)
        except (FileNotFoundError, NoGraphError):
            if name not in OPTIONAL:
                raise
            continue
        if name.startswith("encoder"):
            _check_encoder(path, graph, encoder, bundle.transform.size)
        else:
            _check_decoder(path, graph, encoder, len(bundle.tokenizer), bundle.grid[0] * bundle.grid[1])
    if bundle.confidence:
        _check_features(bundle.folder / TENSORS, len(bundle.confidence.mean), encoder)


def read_graph_of(path: Path) -> GraphFile:
    """Read what a graph of a bundle declares.

    Raises:
        FileNotFoundError: the bundle does not have the graph.
        NoGraphError: the file is no graph.
        BundleError: it reads weights from another file, or has weights that are NaN.
    """
    status = path.stat()
    return _read(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=16)  # called again before the graph is loaded
def _read(path: Path, *_: int) -> GraphFile:
    try:
        graph = read_graph(path.read_bytes())
    except ValueError as error:
        raise NoGraphError(str(cannot_run(path, str(error)))) from None
    for name in sorted(graph.weights - {WEIGHTS}):
        raise refused(path, f"reads weights from {shown(name)}, expected {WEIGHTS}")
    if graph.has_nan:
        raise refused(path, "holds weights that are not numbers (NaN)")
    return graph


def _check_encoder(path: Path, graph: GraphFile, exact: GraphFile, size: int) -> None:
    """Inputs are photos of this size; outputs are those of the float32 encoder."""
    _check_names(path, "inputs", graph.inputs, ["images"])
    _check(path, "images", graph.inputs["images"], FLOAT, (None, 3, size, size))
    _check_names(path, "outputs", graph.outputs, exact.outputs)
    for name, port in graph.outputs.items():
        if not name.startswith(("memory.", "state.")):
            raise refused(path, f"output {shown(name)}: expected memory.* and state.*")
        per_beam = (1,) if name.startswith("state.") else ()
        _check(path, name, port, FLOAT, (None, *per_beam, *exact.outputs[name].shape[1 + len(per_beam) :]))


def _check_features(path: Path, features: int, encoder: GraphFile) -> None:
    """Three figures of each number that the memory has for a region; see `seesay.runtime.confidence.pooled`."""
    shapes = [port.shape for name, port in encoder.outputs.items() if name.startswith("memory.")]
    if not all(len(shape) in (3, 4) for shape in shapes):
        raise refused(path, f"is for a memory of regions, the encoder's has the shapes {shown(shapes)}")
    regions = shapes[0][-2] or 0
    shapes = [shape for shape in shapes if (shape[-2] or 0) == regions]
    expected = 3 * sum(prod(length or 0 for length in (*shape[1:-2], shape[-1])) for shape in shapes)
    if features != expected:
        raise refused(path, f"is for {features:,} features of a photo, expected {expected:,}")


def _check_decoder(path: Path, graph: GraphFile, encoder: GraphFile, words: int, regions: int) -> None:
    memory, states = ([name for name in encoder.outputs if name.startswith(kind)] for kind in ("memory.", "state."))
    after = [f"next.{name.removeprefix('state.')}" for name in states]
    _check_names(path, "inputs", graph.inputs, ["tokens", *states, *memory])
    _check_names(path, "outputs", graph.outputs, ["logprobs", "attention", *after])
    _check(path, "tokens", graph.inputs["tokens"], INT64, (None, None))
    _check(path, "logprobs", graph.outputs["logprobs"], FLOAT, (None, None, words), "of the vocabulary")
    _check(path, "attention", graph.outputs["attention"], FLOAT, (None, None, regions), "of the grid")
    for name in memory:
        _check(path, name, graph.inputs[name], FLOAT, (None, *encoder.outputs[name].shape[1:]))
    for name, then in zip(states, after, strict=True):
        # an axis of length 0 grows by one with each word
        shape = (None, None, *(length or None for length in encoder.outputs[name].shape[2:]))
        _check(path, name, graph.inputs[name], FLOAT, shape)
        _check(path, then, graph.outputs[then], FLOAT, shape)


def _check_names(path: Path, what: str, ports: Iterable[str], expected: Iterable[str]) -> None:
    names, wanted = list(ports), list(expected)
    if names != wanted:
        raise refused(path, f"has the {what} {shown(names)}, expected {shown(wanted)}")


def _check(path: Path, name: str, port: Port, dtype: int, shape: Shape, of: str = "of the other parts") -> None:
    fits = len(port.shape) == len(shape) and all(
        wanted is None or length == wanted for length, wanted in zip(port.shape, shape, strict=True)
    )
    if port.dtype != dtype or not fits:
        declared, wanted = _described(port), _described(Port(dtype, shape))
        raise refused(path, f"{shown(name)} is {declared}, expected {wanted} {of}")


def _described(port: Port) -> str:
    axes = " x ".join("any" if length is None else str(length) for length in port.shape)
    return f"{KINDS.get(port.dtype, f'of type {port.dtype}')} {axes}".rstrip()
