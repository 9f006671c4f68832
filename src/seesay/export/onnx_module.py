"""Exporting a torch module as an ONNX graph, or as a function that ONNX Runtime computes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

SMALL = 256  # matrices with fewer elements stay inside the graph, in float32


def run_on_onnx(module: nn.Module, example: Tensor) -> Callable[[np.ndarray], np.ndarray]:
    """A function, (B, ...) float32 -> (B, ...), that computes a module by ONNX Runtime on the CPU.

    Args:
        module: in eval mode; takes one tensor and returns one, for any B.
        example: an input, with B of at least 2.
    """
    graph = export_graph(module, (example,), ({0: torch.export.Dim.DYNAMIC},), ["input"], ["output"])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda batch: np.asarray(session.run(["output"], {"input": batch})[0])


def export_graph(
    graph: nn.Module, args: tuple, dynamic: tuple, inputs: list[str], outputs: list[str]
) -> onnx.ModelProto:
    """Export a module as an ONNX graph, without metadata of the exporting machine.

    Args:
        graph: takes tensors, returns a tensor or a tuple of tensors.
        args: example inputs.
        dynamic: for each input its axes of variable length, as `torch.export` takes them.
        inputs, outputs: names.
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
    for node in model.graph.node:  # these hold stack traces
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    return model


def replace_all(repeated: Any, items: Iterable[Any]) -> None:
    """Replace the content of a repeated field, such as a graph's nodes or initializers."""
    items = [copy.deepcopy(item) for item in items]
    del repeated[:]
    repeated.extend(items)
