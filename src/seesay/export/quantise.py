"""Static 8-bit quantisation of a bundle's graphs, which is faster on most CPUs.

An activation x is quantised with one step s for the whole tensor, given by the range that
calibration found (`seesay.export.calibrate`). A weight W_k is quantised with a step t for each row
or for the whole matrix:

    q = clip(round(x / s) + z, 0, 255),    s = (high - low) / 255,    z = round(-low / s)
    p = round(W / t),    t = max(|W_k|, |W_k + W_k+1|) / 127,    y = s t sum (q - z) p + bias

(Jacob et al. 2018, https://arxiv.org/abs/1712.05877, with their post-training ranges.) x86 CPUs
without VNNI add two products in 16 bits. Because t takes the sums of neighbours into account, 255
(p_k + p_k+1) <= 255 * 128 < 2**15, so that sums are exact on every CPU and the result for one photo
does not depend on others in the batch. The file has the weights in float16: the graph quantises
them, which ONNX Runtime does once, when it loads the graph.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from seesay.export.calibrate import Range
from seesay.export.onnx_module import replace_all

MIN_ELEMENTS = 4096  # smaller matrices gain no speed
# relative to the weights' root mean square; above it each row gets a step of its own
MAX_STEP_ERROR = 0.02
# calibrated ranges are widened by this factor, as other sentences may exceed them
RANGE_MARGIN = 1.1
SMALLEST_STEP = 1e-30
# the first convolutions stay in float32, because their error spreads to everything after them
FLOAT_CONVS = 3
ACTIVATIONS = ("Relu", "Clip")  # ONNX Runtime drops these, since the quantised range implies them
JOINS = ("Add", "MaxPool")  # quantised as well where all their inputs are


def matmul_inputs(model: onnx.ModelProto) -> set[str]:
    """Names of the activations that `quantise_products` quantises.

    They are the inputs of products with large weight matrices.
    """
    return {node.input[0] for node, _ in _matmuls(model.graph)}


def quantise_products(model: onnx.ModelProto, ranges: Mapping[str, Range]) -> onnx.ModelProto:
    """A copy of the graph whose products with large weight matrices run in 8 bits.

    The biases that are added to the products are fused into them.

    Args:
        model: a graph from `seesay.export.onnx_module.export_graph`, with its weights.
        ranges: the ranges of all `matmul_inputs`.
    """
    model = copy.deepcopy(model)
    graph = model.graph
    matrices = {node.output[0]: matrix for node, matrix in _matmuls(graph)}
    biases = _biases(graph, matrices)
    nodes: list[NodeProto] = []
    quantised: set[str] = set()  # inputs whose QuantizeLinear has been added
    # outputs of the new nodes; the old nodes of these outputs are left out
    written: set[str] = set()
    for name in {node.input[0]: None for node in graph.node if node.output[0] in matrices}:
        low, high = ranges[name]
        graph.initializer.extend(_activation_step(name, Range(RANGE_MARGIN * low, RANGE_MARGIN * high)))
    for node in graph.node:
        if (y := node.output[0]) in written:
            continue
        if (matrix := matrices.get(y)) is None:
            nodes.append(node)
            continue
        x, weight = node.input[0], f"{y}.weight"
        last, bias = biases.get(y, (node, ""))  # the Add, or the MatMul itself
        if x not in quantised:
            nodes.append(helper.make_node("QuantizeLinear", [x, f"{x}.step", f"{x}.zero"], [f"{x}.8"]))
        nodes += _quantise_matrix(graph, weight, matrix)
        inputs = [f"{x}.8", f"{weight}.8", f"{x}.step", f"{weight}.step", f"{x}.zero"]
        inputs += ["", bias] if bias else []
        nodes.append(helper.make_node("MatMulIntegerToFloat", inputs, [last.output[0]], domain="com.microsoft"))
        quantised.add(x)
        written.add(last.output[0])
    if matrices:
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        replace_all(graph.node, nodes)
        _remove_unused(graph)
    return model


def conv_inputs(encoder: onnx.ModelProto) -> set[str]:
    """Names of the activations that `quantise_convs` quantises; empty if it should not be used.

    An encoder is worth quantising if there are only sums, maxima and clipping between its
    convolutions (VGG, ResNet, EfficientNet-Lite); what is made of its feature maps does not matter.
    Any other would need conversions around each operation and gain little.
    """
    graph = encoder.graph
    readers = _readers(graph)
    names = {name for node in _quantised_convs(graph) for name in (node.input[0], _after_activation(node, readers))}
    for node in graph.node:
        if node.op_type in JOINS and names.issuperset(node.input):
            names.add(_after_activation(node, readers))
    inner, before_convs = {"Conv", *JOINS}, _before_convs(graph)
    leaves = (reader for name in names for reader in readers[name] if reader.op_type not in inner)
    plain = before_convs.isdisjoint(output for reader in leaves for output in reader.output)
    return names if plain and graph.input[0].name not in names else set()


def _before_convs(graph: onnx.GraphProto) -> set[str]:
    """The tensors that a convolution is computed from."""
    found: set[str] = set()
    for node in reversed(graph.node):  # a node comes after those that it reads
        if node.op_type == "Conv" or not found.isdisjoint(node.output):
            found.update(node.input)
    return found


def quantise_convs(
    encoder: onnx.ModelProto, ranges: Mapping[str, Range], means: Mapping[str, np.ndarray]
) -> onnx.ModelProto:
    """A copy whose convolutions after the first few, and the joins of their outputs, run in 8 bits.

    Quantised filters shift the mean of their output where their input has a mean; the bias corrects
    that (Nagel et al. 2019, https://arxiv.org/abs/1906.04721, section 4.2):

        bias' = bias - sum (t p - W) E x

    The graph is in QDQ format: ONNX Runtime fuses the operations between a DequantizeLinear and a
    QuantizeLinear.

    Args:
        encoder: a graph from `seesay.export.onnx_module.export_graph`, with its weights.
        ranges: the ranges of all `conv_inputs`.
        means: (C,) channel means of the same activations.
    """
    model = copy.deepcopy(encoder)
    graph = model.graph
    arrays = _initializers(graph)
    convs = {node.output[0] for node in _quantised_convs(graph)}
    steps = {name: _activation_step(name, range_) for name, range_ in ranges.items()}
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.output[0] in convs:
            input_step, _ = map(numpy_helper.to_array, steps[node.input[0]])
            nodes += _quantise_conv(graph, node, arrays, float(input_step), means[node.input[0]])
        nodes.append(node)
        if (output := node.output[0]) in ranges:
            node.output[0] = f"{output}.exact"
            step = [f"{output}.step", f"{output}.zero"]
            nodes += [
                helper.make_node("QuantizeLinear", [f"{output}.exact", *step], [f"{output}.8"]),
                helper.make_node("DequantizeLinear", [f"{output}.8", *step], [output]),
            ]
    graph.initializer.extend(tensor for pair in steps.values() for tensor in pair)
    replace_all(graph.node, nodes)
    _remove_unused(graph)
    return model


def _quantised_convs(graph: onnx.GraphProto) -> list[NodeProto]:
    """The convolutions that are quantised."""
    return [node for node in graph.node if node.op_type == "Conv"][FLOAT_CONVS:]


def _quantise_matrix(graph: onnx.GraphProto, name: str, matrix: np.ndarray) -> list[NodeProto]:
    """Nodes that quantise a matrix (N, K) and transpose it to the (K, N) that a product reads."""
    per_row = _relative_error(matrix, _weight_steps(matrix, per_row=False)) > MAX_STEP_ERROR
    steps = _weight_steps(matrix, per_row)
    graph.initializer.extend([numpy_helper.from_array(matrix, name), *_weight_step_tensors(name, steps)])
    step = [f"{name}.step", f"{name}.zero"]
    return [
        helper.make_node("QuantizeLinear", [name, *step], [f"{name}.rows"], axis=0),
        helper.make_node("Transpose", [f"{name}.rows"], [f"{name}.8"], perm=[1, 0]),
    ]


def _quantise_conv(
    graph: onnx.GraphProto, node: NodeProto, arrays: Mapping[str, np.ndarray], input_step: float, means: np.ndarray
) -> list[NodeProto]:
    """Nodes that quantise filters and bias of a `Conv`, which reads them from now on.

    Args:
        graph: gets the steps as initializers.
        node: the `Conv`.
        arrays: the graph's initializers: filters (N, C / groups, height, width) and bias (N,).
        input_step: s of the convolution's input.
        means: (C,) of the input's channels.
    """
    name, filters = f"{node.output[0]}.weight", arrays[node.input[1]]
    filters = filters.reshape(*filters.shape[:2], -1)  # (N, C / groups, height * width)
    bias = arrays[node.input[2]] if len(node.input) > 2 else np.zeros(len(filters), np.float32)
    # keeps the bias, an int32 with the step s t, in range
    least = np.abs(bias) / input_step / 2**30
    # the CPU's layout, channels first or last, decides which products are neighbours
    layouts = (layout.reshape(len(filters), -1) for layout in (filters, filters.swapaxes(1, 2)))
    steps = np.maximum.reduce([least, *(_weight_steps(layout, per_row=True) for layout in layouts)]).astype(np.float32)
    # (N, C / groups)
    errors = (np.rint(filters / steps[:, None, None]) * steps[:, None, None] - filters).sum(axis=2)
    groups = len(means) // filters.shape[1]
    by_group = errors.reshape(groups, -1, filters.shape[1])
    bias = bias - np.einsum("gnc,gc->gn", by_group, means.reshape(groups, -1)).ravel()
    bias_steps = steps * np.float32(input_step)
    bias_int32 = np.rint(bias / bias_steps.astype(np.float64)).astype(np.int32)
    graph.initializer.extend(_weight_step_tensors(name, steps))
    graph.initializer.append(numpy_helper.from_array(bias_steps, f"{name}.bias.step"))
    graph.initializer.append(numpy_helper.from_array(bias_int32, f"{name}.bias.32"))
    make, step = helper.make_node, [f"{name}.step", f"{name}.zero"]
    nodes = [
        make("QuantizeLinear", [node.input[1], *step], [f"{name}.8"], axis=0),
        make("DequantizeLinear", [f"{name}.8", *step], [f"{name}.near"], axis=0),
        make("DequantizeLinear", [f"{name}.bias.32", f"{name}.bias.step"], [f"{name}.bias"], axis=0),
    ]
    node.input[1:] = [f"{name}.near", f"{name}.bias"]
    return nodes


def _matmuls(graph: onnx.GraphProto) -> Iterator[tuple[NodeProto, np.ndarray]]:
    """Each `MatMul` with a large weight matrix, and the matrix as (N, K): a row for each output."""
    arrays = _initializers(graph)
    transposed = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Transpose"}
    for node in graph.node:
        if node.op_type != "MatMul":
            continue
        saved = transposed.get(node.input[1], node.input[1])
        matrix = arrays.get(saved)
        if matrix is not None and matrix.ndim == 2 and matrix.size >= MIN_ELEMENTS:
            yield node, matrix if saved != node.input[1] else np.ascontiguousarray(matrix.T)


def _biases(graph: onnx.GraphProto, matrices: Mapping[str, np.ndarray]) -> dict[str, tuple[NodeProto, str]]:
    """Outputs of products that only an `Add` of a bias reads -> that node and the bias's name."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    readers = _readers(graph)
    biases: dict[str, tuple[NodeProto, str]] = {}
    for name in matrices.keys() - {output.name for output in graph.output}:
        if [node.op_type for node in readers[name]] == ["Add"]:
            [add] = readers[name]
            [other] = set(add.input) - {name} or {name}
            if shapes.get(other) == (len(matrices[name]),):
                biases[name] = (add, other)
    return biases


def _readers(graph: onnx.GraphProto) -> dict[str, list[NodeProto]]:
    """The nodes that read each tensor."""
    readers: dict[str, list[NodeProto]] = {name: [] for node in graph.node for name in (*node.input, *node.output)}
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    return readers


def _after_activation(node: NodeProto, readers: Mapping[str, list[NodeProto]]) -> str:
    """The name of a node's output, after the activation function if one follows."""
    after = readers[node.output[0]]
    return after[0].output[0] if len(after) == 1 and after[0].op_type in ACTIVATIONS else node.output[0]


def _initializers(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def _weight_steps(matrix: np.ndarray, per_row: bool) -> np.ndarray:
    """t of a matrix (N, K), whose columns are in the order of summation: (N,), or one number."""
    pairs = np.abs(matrix[:, :-1] + matrix[:, 1:]).max(axis=1, initial=0.0)
    largest = np.maximum(np.abs(matrix).max(axis=1), pairs)
    return np.maximum((largest if per_row else largest.max()) / 127, SMALLEST_STEP).astype(np.float32)


def _relative_error(matrix: np.ndarray, step: np.ndarray) -> float:
    """The error of rounding with one step, relative to the matrix, both as root mean squares."""
    errors = np.rint(matrix / step) * step - matrix
    return float(np.sqrt((errors**2).mean() / max((matrix**2).mean(), SMALLEST_STEP)))


def _activation_step(name: str, range_: Range) -> list[TensorProto]:
    """s and z of an activation, as NAME.step and NAME.zero."""
    step = np.float32(max(range_.high - range_.low, SMALLEST_STEP) / 255)
    zero = np.uint8(np.clip(np.rint(-range_.low / step), 0, 255))
    return [
        numpy_helper.from_array(np.asarray(value), f"{name}.{kind}") for value, kind in ((step, "step"), (zero, "zero"))
    ]


def _weight_step_tensors(name: str, steps: np.ndarray) -> list[TensorProto]:
    """t of weights as NAME.step, and zero points, whose type makes the weights int8, as NAME.zero."""
    zeros = np.zeros(steps.shape, np.int8)
    return [numpy_helper.from_array(steps, f"{name}.step"), numpy_helper.from_array(zeros, f"{name}.zero")]


def _remove_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes and initializers that nothing reads any more."""
    while True:
        before = len(graph.node)
        for items in (graph.node, graph.initializer):
            read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
            replace_all(items, [item for item in items if not read.isdisjoint(getattr(item, "output", [item.name]))])
        if len(graph.node) == before:
            return
