"""Weights of a graph as references into the safetensors file, so that they lie on the disk once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from seesay.export.onnx_module import SMALL, replace_all


def point_into(model: onnx.ModelProto, weights: Path) -> None:
    """Replace each large initializer by float16 external data in `weights`, cast (and transposed back) on load.

    ONNX Runtime folds the casts and transposes when it opens the graph, so a step pays nothing for them. What the
    export computed from several weights, as standardised convolutions are, is on no disk and stays in the graph.
    """
    on_disk = _tensors_on_disk(weights)
    nodes, kept = [], []
    for initializer in model.graph.initializer:
        values = numpy_helper.to_array(initializer)
        if values.dtype != np.float32 or values.size < SMALL or values.ndim < 2:
            kept.append(initializer)
            continue
        half = values.astype(np.float16)
        transposed = half.tobytes() not in on_disk
        saved = np.ascontiguousarray(half.T) if transposed else half
        if saved.tobytes() not in on_disk:
            kept.append(initializer)
            continue
        name = initializer.name
        kept.append(_external(f"{name}.half", saved.shape, weights.name, *on_disk[saved.tobytes()]))
        cast_to = f"{name}.saved" if transposed else name
        nodes.append(helper.make_node("Cast", [f"{name}.half"], [cast_to], to=TensorProto.FLOAT))
        if transposed:
            nodes.append(helper.make_node("Transpose", [cast_to], [name]))  # without `perm` it reverses all axes
    replace_all(model.graph.initializer, kept)
    replace_all(model.graph.node, [*nodes, *model.graph.node])


def _tensors_on_disk(weights: Path) -> dict[bytes, tuple[int, int]]:
    """float16 content of each tensor of a safetensors file -> (offset, bytes) in the file."""
    data = weights.read_bytes()
    header_bytes = int.from_bytes(data[:8], "little")
    found = {}
    for name, entry in json.loads(data[8 : 8 + header_bytes]).items():
        if name != "__metadata__" and entry["dtype"] == "F16":
            start, stop = (8 + header_bytes + offset for offset in entry["data_offsets"])
            found[data[start:stop]] = (start, stop - start)
    return found


def _external(name: str, shape: Sequence[int], location: str, offset: int, length: int) -> TensorProto:
    tensor = TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT16, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    return tensor
