"""ONNX external data: a graph refers to its large weights in the bundle's safetensors file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from seesay.export.onnx_module import SMALL, replace_all


def point_into(model: onnx.ModelProto, weights: Path) -> None:
    """Replace each large initializer by float16 external data in `weights`.

    The graph casts and, if necessary, transposes these tensors, which ONNX Runtime does once, when
    it loads the graph. Tensors that the export computed from several weights, such as standardised
    convolutions, are not in the file and stay in the graph.
    """
    in_file = _tensors_in(weights)
    nodes, initializers = [], []
    for initializer in model.graph.initializer:
        values = numpy_helper.to_array(initializer)
        if values.dtype != np.float32 or values.size < SMALL or values.ndim < 2:
            initializers.append(initializer)
            continue
        half = values.astype(np.float16)
        transposed = half.tobytes() not in in_file
        saved = np.ascontiguousarray(half.T) if transposed else half
        if saved.tobytes() not in in_file:
            initializers.append(initializer)
            continue
        name = initializer.name
        initializers.append(_external(f"{name}.half", saved.shape, weights.name, *in_file[saved.tobytes()]))
        cast_to = f"{name}.saved" if transposed else name
        nodes.append(helper.make_node("Cast", [f"{name}.half"], [cast_to], to=TensorProto.FLOAT))
        if transposed:
            # without `perm` it reverses all axes
            nodes.append(helper.make_node("Transpose", [cast_to], [name]))
    replace_all(model.graph.initializer, initializers)
    replace_all(model.graph.node, [*nodes, *model.graph.node])


def _tensors_in(weights: Path) -> dict[bytes, tuple[int, int]]:
    """The bytes of each float16 tensor of a safetensors file -> (offset, length) in the file."""
    data = weights.read_bytes()
    header_bytes = int.from_bytes(data[:8], "little")
    places: dict[bytes, tuple[int, int]] = {}
    for name, entry in json.loads(data[8 : 8 + header_bytes]).items():
        if name != "__metadata__" and entry["dtype"] == "F16":
            start, stop = (8 + header_bytes + offset for offset in entry["data_offsets"])
            places[data[start:stop]] = (start, stop - start)
    return places


def _external(name: str, shape: Sequence[int], location: str, offset: int, length: int) -> TensorProto:
    """A float16 tensor whose values lie in another file."""
    tensor = TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT16, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    return tensor
