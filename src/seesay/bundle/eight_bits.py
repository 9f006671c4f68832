"""The decoder's graph with its matrices in 8 bits: a word reads a quarter of the bytes, and bytes are what it costs."""

from __future__ import annotations

import copy

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from seesay.bundle.onnx_module import SMALL, replace_all

BLOCK = 32  # weights that share a scale; 64 are a little faster and a little rougher (docs/performance.md)


def in_8_bits(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every `MatMul` with a matrix of weights is ONNX Runtime's `MatMulNBits`.

        W_b = s_b (q_b - 128),    s_b = max |W_b| / 127        for each block b of 32 weights of one row

    What multiplies them is rounded to 8 bits too, in blocks of each row, so what becomes of one photo depends on no
    other. The matrices stay what they were: the graph rounds them, which ONNX Runtime does once, when it opens it.

    Args:
        model: from `seesay.bundle.onnx_module.export_graph`, its weights inside.
    """
    model = copy.deepcopy(model)
    graph = model.graph
    matrices = {tensor.name: tensor for tensor in graph.initializer if len(tensor.dims) == 2}
    turned = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "Transpose" and n.input[0] in matrices}
    nodes: list[NodeProto] = []
    products = 0
    for node in graph.node:
        weight = _weight(node, matrices, turned)
        if weight is None:
            nodes.append(node)
            continue
        name = f"{node.output[0]}.int8"
        rows = numpy_helper.to_array(matrices[weight])
        if weight == node.input[1]:  # (K, N); a row that is multiplied is a column
            rows = np.ascontiguousarray(rows.T)
        graph.initializer.append(numpy_helper.from_array(rows, name))
        nodes += [*_rounding(name, rows.shape[1]), _product(node, name, *rows.shape)]
        products += 1
    if products:
        graph.initializer.extend(_constants())
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    replace_all(graph.node, nodes)
    _forget_unread(graph)
    return model


def _weight(node: NodeProto, matrices: dict[str, TensorProto], turned: dict[str, str]) -> str | None:
    """The name of the large matrix that a node multiplies with, None for all other nodes."""
    if node.op_type != "MatMul":
        return None
    name = turned.get(node.input[1], node.input[1])
    return name if name in matrices and int(np.prod(matrices[name].dims)) >= SMALL else None


def _rounding(name: str, columns: int) -> list[NodeProto]:
    """`name` (N, K) -> `name.q` (N, blocks, BLOCK) uint8 and `name.scale` (N, blocks)."""
    blocks = -(-columns // BLOCK)
    missing = blocks * BLOCK - columns
    make = helper.make_node
    padded = f"{name}.padded" if missing else name
    nodes = [make("Constant", [], [f"{name}.shape"], value_ints=[-1, blocks, BLOCK])]
    if missing:
        nodes += [
            make("Constant", [], [f"{name}.pads"], value_ints=[0, 0, 0, missing]),
            make("Pad", [name, f"{name}.pads"], [padded]),
        ]
    return [
        *nodes,
        make("Reshape", [padded, f"{name}.shape"], [f"{name}.blocks"]),
        make("Abs", [f"{name}.blocks"], [f"{name}.abs"]),
        make("ReduceMax", [f"{name}.abs", "int8.last"], [f"{name}.max"], keepdims=1),
        make("Max", [f"{name}.max", "int8.tiny"], [f"{name}.top"]),
        make("Div", [f"{name}.top", "int8.levels"], [f"{name}.each"]),
        make("Div", [f"{name}.blocks", f"{name}.each"], [f"{name}.exact"]),
        make("Round", [f"{name}.exact"], [f"{name}.whole"]),
        make("Add", [f"{name}.whole", "int8.zero"], [f"{name}.shifted"]),
        make("Cast", [f"{name}.shifted"], [f"{name}.q"], to=TensorProto.UINT8),
        make("Squeeze", [f"{name}.each", "int8.last"], [f"{name}.scale"]),
    ]


def _constants() -> list[TensorProto]:
    numbers = {"int8.tiny": 1e-30, "int8.levels": 127.0, "int8.zero": 128.0}
    scalars = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in numbers.items()]
    return [*scalars, numpy_helper.from_array(np.array([2]), "int8.last")]


def _product(node: NodeProto, name: str, rows: int, columns: int) -> NodeProto:
    return helper.make_node(
        "MatMulNBits",
        [node.input[0], f"{name}.q", f"{name}.scale"],
        list(node.output),
        node.name,
        domain="com.microsoft",
        K=columns,
        N=rows,
        bits=8,
        block_size=BLOCK,
        accuracy_level=4,  # what multiplies is rounded to 8 bits as well; without it no fast kernel is used
    )


def _forget_unread(graph: onnx.GraphProto) -> None:
    """Transposes that nothing reads any more, then what they read."""
    for items in (graph.node, graph.initializer):
        read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
        replace_all(items, [item for item in items if not read.isdisjoint(getattr(item, "output", [item.name]))])
