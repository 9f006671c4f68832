"""A torch module as an ONNX graph, or run by ONNX Runtime."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

SMALL = 256  # matrices of fewer elements stay inside the graph, as they are


def run_on_onnx(module: nn.Module, example: Tensor) -> Callable[[np.ndarray], np.ndarray]:
    """A module as a function on numpy arrays, (B, ...) float32 -> (B, ...), computed by ONNX Runtime on the CPU.

    Args:
        module: in eval mode, one tensor in and one out, B of any length.
        example: of its input, B at least 2.
    """
    graph = export_graph(module, (example,), ({0: torch.export.Dim.DYNAMIC},), ["input"], ["output"])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda batch: np.asarray(session.run(["output"], {"input": batch})[0])


def export_graph(
    graph: nn.Module, args: tuple, dynamic: tuple, inputs: list[str], outputs: list[str]
) -> onnx.ModelProto:
    """A module as an ONNX graph that says nothing of the machine that made it.

    Args:
        graph: tensors in, a tensor or a tuple of tensors out.
        args: an example of its inputs.
        dynamic: for each input its axes of any length, as `torch.export` takes them.
        inputs, outputs: their names.
    """
    program = torch.onnx.export(
        graph.eval(),
        args,
        dynamo=True,
        verbose=False,
        dynamic_shapes=dynamic,
        input_names=inputs,
        output_names=outputs,
    )
    assert program is not None
    model = program.model_proto
    model.producer_name, model.producer_version = "seesay", ""
    del model.metadata_props[:], model.graph.metadata_props[:]
    for node in model.graph.node:  # stack traces of the exporting machine
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    return model


def replace_all(repeated: Any, items: Iterable[Any]) -> None:
    """Give a graph's nodes or initializers (a repeated field) other content."""
    items = [copy.deepcopy(item) for item in items]
    del repeated[:]
    repeated.extend(items)
