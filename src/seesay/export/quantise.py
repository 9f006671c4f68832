"""A bundle's graphs in 8 bits, for processors that multiply these faster.

A tensor x that products read is rounded by one step for all of it, one 255th of the range that it was seen to have
(`seesay.export.calibrate`), and a weight by a step of its own row, or of its matrix:

    q = clip(round(x / s) + z, 0, 255),    s = (high - low) / 255,    z = round(-low / s)
    p = round(W / t),    t = max(|W_k|, |W_k + W_k+1|) / 127,    y = s t sum (q - z) p + bias

(Jacob et al. 2018, https://arxiv.org/abs/1712.05877, with their ranges of a trained model.) Neighbours are in t since
x86 without VNNI adds two products in 16 bits, and 255 (p_k + p_k+1) <= 255 * 128 < 2**15. So sums are exact on every
processor, and what becomes of one photo depends on no other. The weights stay what they are on the disk: the
graph rounds them, which ONNX Runtime does once, when it opens it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from seesay.export.calibrate import Range
from seesay.export.onnx_module import replace_all

LARGE = 4096  # elements; smaller matrices are read as quickly as they are
ROUGH = 0.02  # of the weights' root mean square: where one step for a matrix errs by more, each row has its own
SPARE = 1.1  # what other sentences may have beyond the range that was seen
TINY = 1e-30
FIRST = 6  # convolutions that stay: what they err is in all that follows, and their few channels gain little
ACTIVATIONS = ("Relu", "Clip")  # their limits are those of the range, so ONNX Runtime leaves them out
JOINS = ("Add", "MaxPool")  # done in 8 bits as well, where their inputs are


def multiplied(step: onnx.ModelProto) -> set[str]:
    """The tensors of a word's graph that large matrices of weights multiply: `step_in_8_bits` rounds them."""
    return {node.input[0] for node, _ in _products(step.graph)}


def step_in_8_bits(step: onnx.ModelProto, ranges: Mapping[str, Range]) -> onnx.ModelProto:
    """A copy in which every `MatMul` with a large matrix of weights, and the bias after it, is one of 8 bits.

    Args:
        step: from `seesay.export.onnx_module.export_graph`, its weights inside.
        ranges: of all that is `multiplied`.
    """
    model = copy.deepcopy(step)
    graph = model.graph
    products = {node.output[0]: rows for node, rows in _products(graph)}
    biases = _biases(graph, products)
    nodes: list[NodeProto] = []
    rounded: set[str] = set()
    biased: set[str] = set()  # what the products give themselves, with their bias
    for name in {node.input[0]: None for node in graph.node if node.output[0] in products}:
        low, high = ranges[name]
        graph.initializer.extend(_step_of(name, Range(SPARE * low, SPARE * high)))
    for node in graph.node:
        if (y := node.output[0]) in biased:
            continue
        if (rows := products.get(y)) is None:
            nodes.append(node)
            continue
        x, weight = node.input[0], f"{y}.weight"
        add, bias = biases.get(y, (node, ""))
        if x not in rounded:
            nodes.append(helper.make_node("QuantizeLinear", [x, f"{x}.step", f"{x}.zero"], [f"{x}.8"]))
        nodes += _matrix(graph, weight, rows)
        inputs = [f"{x}.8", f"{weight}.8", f"{x}.step", f"{weight}.step", f"{x}.zero"]
        inputs += ["", bias] if bias else []
        nodes.append(helper.make_node("MatMulIntegerToFloat", inputs, [add.output[0]], domain="com.microsoft"))
        rounded.add(x)
        biased.add(add.output[0])
    if products:
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        replace_all(graph.node, nodes)
        _forget_unread(graph)
    return model


def convolved(photo: onnx.ModelProto) -> set[str]:
    """The tensors that `photo_in_8_bits` rounds; none where the encoder is no plain network of convolutions.

    Plain is what has only sums, maxima and limits between the convolutions (VGG, ResNet, EfficientNet-Lite). Others
    would be rounded at every step and gain little.
    """
    graph = photo.graph
    readers = _readers(graph)
    late = _late(graph)
    found = {name for node in late for name in (node.input[0], _activated(node, readers))}
    for node in graph.node:
        if node.op_type in JOINS and found.issuperset(node.input):
            found.add(_activated(node, readers))
    inner = {"Conv", *JOINS}
    read_by = [{reader.op_type for reader in readers[name]} for name in found]
    ends = [kinds for kinds in read_by if not kinds & inner]
    plain = len(ends) == 1 and all(kinds <= inner or not kinds & inner for kinds in read_by)
    return found if plain and graph.input[0].name not in found else set()


def photo_in_8_bits(
    photo: onnx.ModelProto, ranges: Mapping[str, Range], means: Mapping[str, np.ndarray]
) -> onnx.ModelProto:
    """A copy whose convolutions but the first few, and what joins their results, are of 8 bits.

    Rounded filters give another mean where what they read has one. The bias takes it back (Nagel et al. 2019,
    https://arxiv.org/abs/1906.04721, section 4.2):

        bias' = bias - sum (t p - W) E x

    ONNX Runtime makes one operation of what stands between two roundings (its QDQ format).

    Args:
        photo: from `seesay.export.onnx_module.export_graph`, its weights inside.
        ranges: of all that is `convolved`.
        means: of the channels of the same.
    """
    model = copy.deepcopy(photo)
    graph = model.graph
    arrays = _initializers(graph)
    late = {node.output[0] for node in _late(graph)}
    steps = {name: _step_of(name, range_) for name, range_ in ranges.items()}
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.output[0] in late:
            of_input, _ = map(numpy_helper.to_array, steps[node.input[0]])
            nodes += _convolution(graph, node, arrays, float(of_input), means[node.input[0]])
        nodes.append(node)
        if (result := node.output[0]) in ranges:
            node.output[0] = f"{result}.exact"
            step = [f"{result}.step", f"{result}.zero"]
            nodes += [
                helper.make_node("QuantizeLinear", [f"{result}.exact", *step], [f"{result}.8"]),
                helper.make_node("DequantizeLinear", [f"{result}.8", *step], [result]),
            ]
    graph.initializer.extend(tensor for pair in steps.values() for tensor in pair)
    replace_all(graph.node, nodes)
    _forget_unread(graph)
    return model


def _late(graph: onnx.GraphProto) -> list[NodeProto]:
    """The convolutions that are rounded."""
    return [node for node in graph.node if node.op_type == "Conv"][FIRST:]


def _matrix(graph: onnx.GraphProto, name: str, rows: np.ndarray) -> list[NodeProto]:
    """Rounding of a matrix (N, K), which a product reads as (K, N)."""
    steps = _steps(rows, per_row=_error(rows, _steps(rows, per_row=False)) > ROUGH)
    graph.initializer.extend([numpy_helper.from_array(rows, name), *_weight_steps(name, steps)])
    return [
        helper.make_node("QuantizeLinear", [name, f"{name}.step", f"{name}.zero"], [f"{name}.turned"], axis=0),
        helper.make_node("Transpose", [f"{name}.turned"], [f"{name}.8"], perm=[1, 0]),
    ]


def _convolution(
    graph: onnx.GraphProto, node: NodeProto, arrays: Mapping[str, np.ndarray], of_input: float, means: np.ndarray
) -> list[NodeProto]:
    """Roundings of the filters (N, C / groups, ...) and biases of a `Conv`, which reads them from now on."""
    name, filters = f"{node.output[0]}.weight", arrays[node.input[1]]
    rows = filters.reshape(*filters.shape[:2], -1)
    bias = arrays[node.input[2]] if len(node.input) > 2 else np.zeros(len(rows), np.float32)
    least = np.abs(bias) / of_input / 2**30  # a bias is of 32 bits, with the step of what it is added to
    orders = (order.reshape(len(rows), -1) for order in (rows, rows.swapaxes(1, 2)))  # channels last, or not
    steps = np.maximum.reduce([least, *(_steps(order, per_row=True) for order in orders)]).astype(np.float32)
    errors = (np.rint(rows / steps[:, None, None]) * steps[:, None, None] - rows).sum(axis=2)
    groups = len(means) // rows.shape[1]
    bias = bias - np.einsum("gnc,gc->gn", errors.reshape(groups, -1, rows.shape[1]), means.reshape(groups, -1)).ravel()
    of_bias = steps * np.float32(of_input)
    whole = np.rint(bias / of_bias.astype(np.float64)).astype(np.int32)
    graph.initializer.extend(_weight_steps(name, steps))
    graph.initializer.append(numpy_helper.from_array(of_bias, f"{name}.bias.step"))
    graph.initializer.append(numpy_helper.from_array(whole, f"{name}.bias.32"))
    make, step = helper.make_node, [f"{name}.step", f"{name}.zero"]
    nodes = [
        make("QuantizeLinear", [node.input[1], *step], [f"{name}.8"], axis=0),
        make("DequantizeLinear", [f"{name}.8", *step], [f"{name}.near"], axis=0),
        make("DequantizeLinear", [f"{name}.bias.32", f"{name}.bias.step"], [f"{name}.bias"], axis=0),
    ]
    node.input[1:] = [f"{name}.near", f"{name}.bias"]
    return nodes


def _products(graph: onnx.GraphProto) -> Iterator[tuple[NodeProto, np.ndarray]]:
    """Each `MatMul` with a large matrix of weights, and the matrix (N, K): a row makes one number of the result."""
    arrays = _initializers(graph)
    turned = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Transpose"}
    for node in graph.node:
        if node.op_type != "MatMul":
            continue
        saved = turned.get(node.input[1], node.input[1])
        matrix = arrays.get(saved)
        if matrix is not None and matrix.ndim == 2 and matrix.size >= LARGE:
            yield node, matrix if saved != node.input[1] else np.ascontiguousarray(matrix.T)


def _biases(graph: onnx.GraphProto, products: Mapping[str, np.ndarray]) -> dict[str, tuple[NodeProto, str]]:
    """Of products that only an `Add` with a vector of weights reads: that node, and the vector."""
    vectors = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    readers = _readers(graph)
    found: dict[str, tuple[NodeProto, str]] = {}
    for name in products.keys() - {output.name for output in graph.output}:
        if [node.op_type for node in readers[name]] == ["Add"]:
            [add] = readers[name]
            [other] = set(add.input) - {name} or {name}
            if vectors.get(other) == (len(products[name]),):
                found[name] = (add, other)
    return found


def _readers(graph: onnx.GraphProto) -> dict[str, list[NodeProto]]:
    readers: dict[str, list[NodeProto]] = {name: [] for node in graph.node for name in (*node.input, *node.output)}
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    return readers


def _activated(node: NodeProto, readers: Mapping[str, list[NodeProto]]) -> str:
    """What a node gives, behind its activation if it has one."""
    after = readers[node.output[0]]
    return after[0].output[0] if len(after) == 1 and after[0].op_type in ACTIVATIONS else node.output[0]


def _initializers(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def _steps(rows: np.ndarray, per_row: bool) -> np.ndarray:
    """t of (N, K), its columns in the order in which they are summed: (N,), or one number."""
    pairs = np.abs(rows[:, :-1] + rows[:, 1:]).max(axis=1, initial=0.0)
    largest = np.maximum(np.abs(rows).max(axis=1), pairs)
    return np.maximum((largest if per_row else largest.max()) / 127, TINY).astype(np.float32)


def _error(rows: np.ndarray, step: np.ndarray) -> float:
    """Of rounding by one step, beside the root mean square of what is rounded."""
    errors = np.rint(rows / step) * step - rows
    return float(np.sqrt((errors**2).mean() / max((rows**2).mean(), TINY)))


def _step_of(name: str, range_: Range) -> list[TensorProto]:
    """s and z of a tensor."""
    step = np.float32(max(range_.high - range_.low, TINY) / 255)
    zero = np.uint8(np.clip(np.rint(-range_.low / step), 0, 255))
    return [
        numpy_helper.from_array(np.asarray(value), f"{name}.{kind}") for value, kind in ((step, "step"), (zero, "zero"))
    ]


def _weight_steps(name: str, steps: np.ndarray) -> list[TensorProto]:
    """t of weights, and the zeros that tell that they are signed."""
    zeros = np.zeros(steps.shape, np.int8)
    return [numpy_helper.from_array(steps, f"{name}.step"), numpy_helper.from_array(zeros, f"{name}.zero")]


def _forget_unread(graph: onnx.GraphProto) -> None:
    """Nodes and weights that nothing reads any more."""
    while True:
        before = len(graph.node)
        for items in (graph.node, graph.initializer):
            read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
            replace_all(items, [item for item in items if not read.isdisjoint(getattr(item, "output", [item.name]))])
        if len(graph.node) == before:
            return
