"""The decoder's graph in 8 bits against the one in full precision, and its rounding against sums done by hand."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from seesay.bundle import graphs
from seesay.bundle.eight_bits import BLOCK, in_8_bits
from seesay.config import Recipe
from seesay.models.build import build_decoder
from seesay.models.captioner import Captioner
from seesay.models.encoder import load_encoder

VOCAB = 53
pytestmark = pytest.mark.skipif(
    tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 22),
    reason="ONNX Runtime multiplies 8 bits since 1.22",
)
FAMILY = {
    "lstm": {"kind": "lstm"},
    "gru, two layers": {"kind": "gru", "layers": 2},
    "up-down": {"kind": "lstm", "design": "up_down"},
    "transformer": {"kind": "transformer", "layers": 2},
}


def run(model: onnx.ModelProto, **feed: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(part) for part in session.run(None, feed)]


def product(weight: np.ndarray, turned: bool) -> onnx.ModelProto:
    """y = x @ weight.T, the weight (N, K) saved so or turned by a node."""
    rows, columns = weight.shape
    nodes = [helper.make_node("MatMul", ["x", "turned" if turned else "w"], ["y"])]
    if turned:
        nodes.insert(0, helper.make_node("Transpose", ["w"], ["turned"], perm=[1, 0]))
    kept = numpy_helper.from_array(weight if turned else np.ascontiguousarray(weight.T), "w")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, columns])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, rows])
    graph = helper.make_graph(nodes, "g", [x], [y], [kept])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def rounded(weight: np.ndarray) -> np.ndarray:
    """What is left of weights (N, K): in each block of a row 127 steps up and down to its largest."""
    rows, columns = weight.shape
    padded = np.pad(weight, ((0, 0), (0, -columns % BLOCK))).reshape(rows, -1, BLOCK)
    step = np.maximum(np.abs(padded).max(-1, keepdims=True) / 127, 1e-30)
    return (np.rint(padded / step) * step).reshape(rows, -1)[:, :columns]


@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize(("rows", "columns"), [(17, 64), (11, 41), (300, 7)])
def test_weights_are_rounded_as_said(turned, rows, columns):
    """The identity shows the matrix: ones and zeros are whole in 8 bits."""
    weight = np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)
    weight[3] = 0
    [found] = run(in_8_bits(product(weight, turned)), x=np.eye(columns, dtype=np.float32))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.T, rounded(weight), atol=1e-5)
    assert 1e-3 < np.abs(found.T - weight).max() < 0.02


def test_what_is_small_or_no_matrix_of_weights_stays():
    small = np.ones((3, 5), np.float32)
    assert [node.op_type for node in in_8_bits(product(small, turned=False)).graph.node] == ["MatMul"]
    assert not any(opset.domain for opset in in_8_bits(product(small, turned=False)).opset_import)
    large = np.ones((30, 50), np.float32)
    made = in_8_bits(product(large, turned=True))
    assert "Transpose" not in {node.op_type for node in made.graph.node}, "nothing reads it any more"
    assert "w" not in {tensor.name for tensor in made.graph.initializer}


def test_a_row_depends_on_no_other():
    random = np.random.default_rng(1)
    model = in_8_bits(product(random.standard_normal((40, 96)).astype(np.float32), turned=True))
    x = random.standard_normal((7, 96)).astype(np.float32)
    x[2] *= 1000
    [together] = run(model, x=x)
    for row in range(7):
        [alone] = run(model, x=x[row : row + 1])
        np.testing.assert_allclose(alone[0], together[row], rtol=1e-5, atol=1e-4)  # sums in another order, if anything


@pytest.mark.parametrize("parts", FAMILY.values(), ids=list(FAMILY))
def test_a_step_in_8_bits_is_nearly_the_step(parts):
    """Inputs, outputs and, but for the rounding, numbers: one word after the other for a few."""
    torch.manual_seed(0)
    recipe = Recipe.from_dict(
        {"encoder": {"name": "test_efficientnet", "weights": "none"}, "embedding": {"size": 48}}
        | {"attention": {"size": 24}, "decoder": {**parts, "size": 48}}
    )
    encoder = load_encoder("test_efficientnet", "none", 96)
    captioner = Captioner(encoder, build_decoder(recipe, encoder, VOCAB)).eval()
    for matrix in captioner.decoder.parameters():  # so that words and regions differ by more than a rounding
        if matrix.ndim > 1:
            torch.nn.init.normal_(matrix, std=2 * matrix.shape[1] ** -0.5)
    exact = graphs._export_step(captioner)
    coarse = in_8_bits(exact)
    assert [i.name for i in exact.graph.input] == [i.name for i in coarse.graph.input]
    assert [o.name for o in exact.graph.output] == [o.name for o in coarse.graph.output]
    products = [node for node in coarse.graph.node if node.op_type == "MatMulNBits"]
    assert len(products) >= 5
    with torch.inference_mode():
        memory = captioner.prepare(encoder.noise(2))
        state = captioner.decoder.start(memory, 3)
    names = [i.name for i in exact.graph.input]
    named = zip(graphs._names("memory", memory), graphs._flat(memory), strict=True)
    feed = {name: part.numpy() for name, part in named}
    named = zip(graphs._names("state", state), state, strict=True)
    ours = theirs = {name: part.numpy() for name, part in named}
    outputs = [o.name for o in exact.graph.output]
    for word in (4, 17, 9):
        tokens = np.full((2, 3), word)
        ours, theirs = (
            dict(zip(outputs, run(model, tokens=tokens, **before, **feed), strict=True))
            for model, before in ((coarse, ours), (exact, theirs))
        )
        for part in ("logprobs", "attention"):
            spread = theirs[part].std()
            assert np.abs(ours[part] - theirs[part]).max() < 0.1 * spread, part
        assert not np.array_equal(ours["logprobs"], theirs["logprobs"]), "nothing was rounded"
        ours, theirs = (
            {name: part[name.replace("state", "next")] for name in names if name.startswith("state.")}
            for part in (ours, theirs)
        )
