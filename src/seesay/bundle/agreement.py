"""Whether the parts of a bundle fit each other: vocabulary, preprocessing and grid on one side, graphs on the other."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from seesay.bundle.fields import damaged, refused
from seesay.bundle.format import Bundle
from seesay.bundle.graph_file import FLOAT, INT64, GraphFile, Port, read_graph
from seesay.bundle.weights_file import WEIGHTS, check_weights
from seesay.errors import shown

LARGEST_GRAPH = 2**31  # bytes; protobuf has no larger messages
ENCODERS, DECODERS = ("encoder.onnx", "encoder.int8.onnx"), ("decoder.onnx", "decoder.int8.onnx")
KINDS = {FLOAT: "float32", INT64: "int64"}

Shape = tuple[int | None, ...]


def check_parts(bundle: Bundle) -> None:
    """Refuse weights that are no numbers, and graphs that are not made for this vocabulary, photo and grid.

    What a graph computes is not known before it runs: `seesay.runtime` checks that it gives what it declares.

    Raises:
        BundleError: the first part that does not fit, and what was expected.
    """
    check_weights(bundle.folder)
    graphs = {name: bundle.folder / name for name in (*ENCODERS, *DECODERS) if (bundle.folder / name).is_file()}
    read = {name: _read(path) for name, path in graphs.items()}
    encoder = read[ENCODERS[0]]
    for name, graph in read.items():
        if name in ENCODERS:
            _check_encoder(graphs[name], graph, encoder, bundle.transform.size)
        else:
            _check_decoder(graphs[name], graph, encoder, len(bundle.tokenizer), bundle.grid[0] * bundle.grid[1])


def _read(path: Path) -> GraphFile:
    if (size := path.stat().st_size) > LARGEST_GRAPH:
        raise refused(path, f"has {size:,} bytes, expected at most {LARGEST_GRAPH:,}")
    try:
        graph = read_graph(path.read_bytes())
    except ValueError as error:
        raise damaged(path, str(error)) from None
    for name in sorted(graph.weights - {WEIGHTS}):
        raise refused(path, f"reads weights from {shown(name)}, expected {WEIGHTS}")
    return graph


def _check_encoder(path: Path, graph: GraphFile, exact: GraphFile, size: int) -> None:
    """Of both encoders the outputs are those of the exact one."""
    _check_names(path, "inputs", graph.inputs, ["images"])
    _check(path, "images", graph.inputs["images"], FLOAT, (None, 3, size, size))
    _check_names(path, "outputs", graph.outputs, exact.outputs)
    for name, port in graph.outputs.items():
        if not name.startswith(("memory.", "state.")):
            raise refused(path, f"output {shown(name)}: expected memory.* and state.*")
        per_beam = (1,) if name.startswith("state.") else ()
        _check(path, name, port, FLOAT, (None, *per_beam, *exact.outputs[name].shape[1 + len(per_beam) :]))


def _check_decoder(path: Path, graph: GraphFile, encoder: GraphFile, words: int, regions: int) -> None:
    states = [name.removeprefix("state.") for name in encoder.outputs if name.startswith("state.")]
    _check_names(path, "inputs", graph.inputs, ["tokens", *encoder.outputs], ordered=False)
    _check_names(path, "outputs", graph.outputs, ["logprobs", "attention", *(f"next.{name}" for name in states)])
    _check(path, "tokens", graph.inputs["tokens"], INT64, (None, None))
    _check(path, "logprobs", graph.outputs["logprobs"], FLOAT, (None, None, words), "of the vocabulary")
    _check(path, "attention", graph.outputs["attention"], FLOAT, (None, None, regions), "of the grid")
    for name, given in encoder.outputs.items():
        if name.startswith("memory."):
            _check(path, name, graph.inputs[name], FLOAT, (None, *given.shape[1:]))
            continue
        # a state that starts empty grows by a word each time
        shape = (None, None, *(length or None for length in given.shape[2:]))
        for which in (graph.inputs[name], graph.outputs[f"next.{name.removeprefix('state.')}"]):
            _check(path, name, which, FLOAT, shape)


def _check_names(path: Path, what: str, ports: Iterable[str], expected: Iterable[str], ordered: bool = True) -> None:
    found, wanted = list(ports), list(expected)
    if found != wanted and (ordered or sorted(found) != sorted(wanted)):
        raise refused(path, f"has the {what} {shown(found)}, expected {shown(wanted)}")


def _check(path: Path, name: str, port: Port, dtype: int, shape: Shape, of: str = "of the other parts") -> None:
    fits = len(port.shape) == len(shape) and all(
        wanted is None or length == wanted for length, wanted in zip(port.shape, shape, strict=True)
    )
    if port.dtype != dtype or not fits:
        found, wanted = _described(port), _described(Port(dtype, shape))
        raise refused(path, f"{shown(name)} is {found}, expected {wanted} {of}")


def _described(port: Port) -> str:
    axes = " x ".join("any" if length is None else str(length) for length in port.shape)
    return f"{KINDS.get(port.dtype, f'of type {port.dtype}')} {axes}".rstrip()
