"""Reading what an ONNX file declares: inputs, outputs, and the files that hold its weights.

The base install lacks the package `onnx`, and ONNX Runtime should not load an untrusted file before
its external references are known. So this module parses the few protobuf messages that matter, by
their field numbers in https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, and skips everything
else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from seesay.errors import shown

FLOAT, INT64 = 1, 7  # TensorProto.DataType
DEEPEST = 32  # nested messages; a tensor in a graph inside a node has a depth of 8


def _text(number: int) -> int:
    """The tag of a field that holds text, bytes or a message."""
    return number << 3 | 2


def _number(number: int) -> int:
    """The tag of a field that holds an integer."""
    return number << 3


# For each kind of message, the fields that may contain tensors at any depth.
INNER: dict[str, dict[int, str]] = {
    kind: {_text(number): inner for number, inner in fields.items()}
    for kind, fields in {
        "model": {7: "graph", 20: "training", 25: "function"},
        "training": {1: "graph", 2: "graph"},
        "function": {7: "node", 11: "attribute"},
        "graph": {1: "node", 5: "tensor", 15: "sparse"},
        "node": {5: "attribute"},
        "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
        "sparse": {1: "tensor", 2: "tensor"},
        "tensor": {13: "external"},
    }.items()
}
GRAPH = _text(7)  # of a model
INITIALIZER, INPUT, OUTPUT = _text(5), _text(11), _text(12)  # of a graph
DATA_TYPE, CONTENT = _number(2), (_text(4), _text(9))  # of a tensor: `float_data`, `raw_data`
INFINITY = 0x7F80 << 16  # the bits of a float32


class Port(NamedTuple):
    """An input or output.

    Attributes:
        dtype: FLOAT, INT64 or another number of `TensorProto.DataType`; 0 if it is no tensor.
        shape: None for axes of variable length.
    """

    dtype: int
    shape: tuple[int | None, ...]


class GraphFile(NamedTuple):
    """What a graph declares.

    Attributes:
        inputs, outputs: name -> port, in the graph's order.
        weights: names of the files with external weights.
        has_nan: whether a float32 weight inside the graph is NaN.
    """

    inputs: dict[str, Port]
    outputs: dict[str, Port]
    weights: set[str]
    has_nan: bool


def read_graph(data: bytes) -> GraphFile:
    """Read what an ONNX file declares.

    Raises:
        ValueError: it is no ONNX file.
    """
    ports: dict[int, dict[str, Port]] = {INPUT: {}, OUTPUT: {}}
    floats: list[bytes] = []
    for tag, start, stop in _fields(data, 0, len(data)):
        for inner, first, last in _fields(data, start, stop) if tag == GRAPH else ():
            if inner in ports:
                name, port = _port(data, first, last)
                if name in ports[inner]:
                    raise ValueError(f"two of its inputs or outputs are called {shown(name)}")
                ports[inner][name] = port
            elif inner == INITIALIZER:
                floats += _floats(data, first, last)
    weights = set(_locations(data, 0, len(data), "model", 0))
    return GraphFile(ports[INPUT], ports[OUTPUT], weights, _has_nan(b"".join(floats)))


def _floats(data: bytes, start: int, stop: int) -> list[bytes]:
    """The content of a `TensorProto` if it is float32."""
    dtype, content = 0, []
    for tag, first, last in _fields(data, start, stop):
        if tag == DATA_TYPE:
            dtype = first
        elif tag in CONTENT:
            content.append(data[first : first + (last - first) // 4 * 4])
    return content if dtype == FLOAT else []


def _has_nan(floats: bytes) -> bool:
    """Whether any float32 is NaN: its bits, compared as integers, exceed those of infinity."""
    bits = np.frombuffer(floats, "<i4")
    return bool(len(bits)) and (int(bits.max()) > INFINITY or int(bits.view("<u4").max()) > INFINITY + 2**31)


def _locations(data: bytes, start: int, stop: int, kind: str, depth: int) -> Iterator[str]:
    """The names of the external files of the tensors in a message."""
    if data.find(b"location", start, stop) < 0:  # the key of such an entry, which few messages contain
        return
    if depth > DEEPEST:
        raise ValueError("its graphs are nested too deeply")
    if kind == "external":
        entry = {tag: data[first:last] for tag, first, last in _fields(data, start, stop)}
        if entry.get(_text(1)) == b"location":
            yield entry.get(_text(2), b"").decode("utf-8", "replace")
        return
    for tag, first, last in _fields(data, start, stop):
        if (inner := INNER[kind].get(tag)) is not None:
            yield from _locations(data, first, last, inner, depth + 1)


def _port(data: bytes, start: int, stop: int) -> tuple[str, Port]:
    """Name and type from a `ValueInfoProto`."""
    name, port = "", Port(0, ())
    for tag, first, last in _fields(data, start, stop):
        if tag == _text(1):
            name = data[first:last].decode("utf-8", "replace")
        elif tag == _text(2):  # a `TypeProto`, whose field 1 is a tensor's
            inside = [part for part in _fields(data, first, last) if part[0] == _text(1)]
            port = _tensor_type(data, *inside[-1][1:]) if inside else port
    return name, port


def _tensor_type(data: bytes, start: int, stop: int) -> Port:
    dtype, shape = 0, ()
    for tag, first, last in _fields(data, start, stop):
        if tag == _number(1):
            dtype = first
        elif tag == _text(2):
            shape = tuple(_length(data, *axis) for inner, *axis in _fields(data, first, last) if inner == _text(1))
    return Port(dtype, shape)


def _length(data: bytes, start: int, stop: int) -> int | None:
    """The length of an axis; None if it is variable."""
    lengths = [value for tag, value, _ in _fields(data, start, stop) if tag == _number(1)]
    return lengths[-1] if lengths else None


def _fields(data: bytes, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """(tag, start, stop) of each field of a message; for integer fields (tag, value, 0)."""
    at = start
    try:
        while at < stop:
            tag = data[at]
            at += 1
            if tag > 127:
                tag, at = _varint(data, at - 1)
            wire, first, last = tag & 7, at, 0
            if wire == 0:
                first, at = _varint(data, at)
            elif wire == 2:
                length = data[at]  # most lengths fit into one byte
                first = at + 1
                if length > 127:
                    length, first = _varint(data, at)
                at = last = first + length
            elif wire in (1, 5):
                at += 8 if wire == 1 else 4
            else:
                raise ValueError("not an ONNX file")
            if at > stop or tag >= 1 << 32:
                raise ValueError("not an ONNX file, or cut short")
            yield tag, first, last
    except IndexError:
        raise ValueError("not an ONNX file, or cut short") from None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Decode an integer of seven bits a byte, lowest first; returns it and the index after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("not an ONNX file")
