"""The graphs in 8 bits against those in full precision, and their rounding against sums done by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import ONE_LAYER
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from seesay.assets import demo_photos
from seesay.config import Recipe
from seesay.export import graphs, quantise
from seesay.export.calibrate import WORDS, Observer, Range, channel_means, decoder_ranges, encoder_ranges
from seesay.export.fold_norms import norms_as_biases
from seesay.export.onnx_module import export_graph
from seesay.export.quantise import RANGE_MARGIN, conv_inputs, matmul_inputs, quantise_convs, quantise_products
from seesay.models.build import build_decoder
from seesay.models.captioner import Captioner
from seesay.models.encoder_weights import load_encoder

VOCAB = 97
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


# ---- matrices


def product(weight: np.ndarray, turned: bool = True, bias: np.ndarray | None = None) -> onnx.ModelProto:
    """y = x @ weight.T + bias, the weight (N, K) saved so or turned by a node."""
    rows, columns = weight.shape
    nodes = [helper.make_node("MatMul", ["x", "turned" if turned else "w"], ["product"])]
    kept = [numpy_helper.from_array(weight if turned else np.ascontiguousarray(weight.T), "w")]
    if turned:
        nodes.insert(0, helper.make_node("Transpose", ["w"], ["turned"], perm=[1, 0]))
    if bias is None:
        nodes.append(helper.make_node("Relu", ["product"], ["y"]))
    else:
        nodes.append(helper.make_node("Add", ["b", "product"], ["y"]))
        kept.append(numpy_helper.from_array(bias, "b"))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, columns])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, rows])
    graph = helper.make_graph(nodes, "g", [x], [y], kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def rounded(weight: np.ndarray, per_row: bool) -> np.ndarray:
    """What is left of weights (N, K): 127 steps up and down to the largest, alone or with its neighbour, of its row
    or of all."""
    both = np.concatenate([weight, weight[:, :-1] + weight[:, 1:]], axis=1)
    step = np.abs(both).max(axis=1 if per_row else None, keepdims=True) / 127
    return np.rint(weight / step) * step


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("per_row", [True, False])
@pytest.mark.parametrize("turned", [True, False])
def test_numbers_are_rounded_as_said(turned: bool, per_row: bool, with_bias: bool) -> None:
    random = np.random.default_rng(0)
    weight = random.uniform(-1, 1, (67, 71)).astype(np.float32)
    if per_row:
        weight[:60] *= 0.05  # one step for all of them would be too wide
    bias = random.standard_normal(67).astype(np.float32) if with_bias else None
    low, high = -0.5, 2.0
    x = random.uniform(low, high, (5, 71)).astype(np.float32)
    step = RANGE_MARGIN * (high - low) / 255
    zero = np.rint(-RANGE_MARGIN * low / step)
    near = (np.clip(np.rint(x / step) + zero, 0, 255) - zero) * step
    y = near @ rounded(weight, per_row).T
    expected = np.maximum(y, 0) if bias is None else y + bias
    [found] = run(quantise_products(product(weight, turned, bias), {"x": Range(low, high)}), x=x)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    [exact] = run(product(weight, turned, bias), x=x)
    assert 1e-3 < np.abs(found - exact).max() < 0.2


def test_what_lies_beyond_the_range_is_its_end() -> None:
    weight = np.eye(71, dtype=np.float32)
    model = quantise_products(product(weight, bias=np.zeros(71, np.float32)), {"x": Range(-1.0, 1.0)})
    [found] = run(model, x=np.array([[-9, 9] + 69 * [0]], np.float32))
    np.testing.assert_allclose(found[0, :3], [-RANGE_MARGIN, RANGE_MARGIN, 0], atol=0.01)


def test_the_largest_sums_are_exact_on_every_processor() -> None:
    """Two neighbours may be as large as they get: x86 without VNNI adds them in 16 bits first."""
    weight = np.tile(np.array([64, 63], np.float32), (80, 30))
    [found] = run(quantise_products(product(weight), {"x": Range(0.0, 1.0)}), x=np.full((3, 60), 9, np.float32))
    np.testing.assert_allclose(found, 30 * 127 * RANGE_MARGIN, rtol=1e-5)


def test_what_is_small_or_no_matrix_of_weights_stays() -> None:
    small = product(np.ones((3, 5), np.float32))
    assert not matmul_inputs(small)
    made = quantise_products(small, {})
    assert [node.op_type for node in made.graph.node] == ["Transpose", "MatMul", "Relu"]
    assert not any(opset.domain for opset in made.opset_import)
    large = product(np.ones((90, 50), np.float32))
    assert matmul_inputs(large) == {"x"}
    made = quantise_products(large, {"x": Range(0.0, 1.0)})
    assert "w" not in {tensor.name for tensor in made.graph.initializer}, "nothing reads it any more"


def test_a_row_depends_on_no_other() -> None:
    random = np.random.default_rng(1)
    model = product(random.standard_normal((40, 113)).astype(np.float32))
    model = quantise_products(model, {"x": Range(-3.0, 3.0)})
    x = random.standard_normal((7, 113)).astype(np.float32)
    x[2] *= 1000
    [together] = run(model, x=x)
    for row in range(7):
        np.testing.assert_array_equal(run(model, x=x[row : row + 1])[0][0], together[row])


@pytest.mark.parametrize("parts", FAMILY.values(), ids=list(FAMILY))
def test_a_step_in_8_bits_is_nearly_the_step(parts: dict) -> None:
    """Inputs, outputs and, but for the rounding, numbers: one word after the other for a few."""
    torch.manual_seed(0)
    recipe = Recipe.from_dict(
        {"encoder": {**ONE_LAYER, "weights": "none"}, "embedding": {"size": 72}}
        | {"attention": {"size": 64}, "decoder": {**parts, "size": 72}}
    )
    encoder = load_encoder(ONE_LAYER["name"], "none", 32, ONE_LAYER["layer"])
    captioner = Captioner(encoder, build_decoder(recipe, encoder, VOCAB)).eval()
    for matrix in captioner.decoder.parameters():  # so that words and regions differ by more than a rounding
        if matrix.ndim > 1:
            nn.init.normal_(matrix, std=2 * matrix.shape[1] ** -0.5)
    photo, exact = graphs._export_encoder(captioner), graphs._export_decoder(captioner)
    images = np.stack([encoder.transform(photo) for photo in demo_photos()[:3]])
    coarse = quantise_products(exact, decoder_ranges(photo, exact, matmul_inputs(exact), images))
    assert [i.name for i in exact.graph.input] == [i.name for i in coarse.graph.input]
    assert [o.name for o in exact.graph.output] == [o.name for o in coarse.graph.output]
    products = [node for node in coarse.graph.node if node.op_type == "MatMulIntegerToFloat"]
    assert len(products) >= 4
    encoded = Observer(photo, ())({"images": images[:2]})
    feed = {name: part for name, part in encoded.items() if name.startswith("memory.")}
    ours = theirs = {name: np.repeat(part, 3, 1) for name, part in encoded.items() if name.startswith("state.")}
    outputs = [o.name for o in exact.graph.output]
    for word in (4, 17, 9):
        tokens = np.full((2, 3), word)
        ours, theirs = (
            dict(zip(outputs, run(model, tokens=tokens, **before, **feed), strict=True))
            for model, before in ((coarse, ours), (exact, theirs))
        )
        for part in ("logprobs", "attention"):
            error = np.sqrt(((ours[part] - theirs[part]) ** 2).mean())
            assert error < 0.1 * theirs[part].std(), part
        assert not np.array_equal(ours["logprobs"], theirs["logprobs"]), "nothing was rounded"
        ours, theirs = (
            {name.replace("next", "state"): part for name, part in found.items() if name.startswith("next.")}
            for found in (ours, theirs)
        )


# ---- convolutions


class Residual(nn.Module):
    """Two convolutions beside nothing, as ResNet has them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.second = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(nn.functional.relu6(self.first(x))))


class Net(nn.Module):
    """Images -> memory and a state, by a plain network, or by one that has something else between convolutions."""

    def __init__(self, between: nn.Module) -> None:
        super().__init__()
        start = [nn.Conv2d(3, 16, 3, 2, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)]
        self.layers = nn.Sequential(*start, *(Residual(16) for _ in range(4)), between, nn.Conv2d(16, 32, 1), nn.ReLU())
        self.out = nn.Linear(32, 24)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        regions = self.layers(images).flatten(2).transpose(1, 2)
        return self.out(regions), regions.mean(1, keepdim=True)


def exported(net: nn.Module, side: int = 67) -> onnx.ModelProto:
    batch = ({0: torch.export.Dim.DYNAMIC},)
    return export_graph(net.eval(), (torch.randn(2, 3, side, side),), batch, ["images"], ["memory.values", "state.h"])


@pytest.fixture(scope="module")
def plain() -> bytes:
    torch.manual_seed(0)
    return exported(Net(nn.Identity())).SerializeToString()


@pytest.fixture
def photo(plain: bytes) -> onnx.ModelProto:
    """A plain network."""
    return onnx.load_from_string(plain)


@pytest.mark.parametrize("first", [0, 1, 6])
def test_a_photo_in_8_bits_is_nearly_the_photo(
    first: int, photo: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantise, "FLOAT_CONVS", first)
    images = np.random.default_rng(0).uniform(-2, 2, (5, 3, 67, 67)).astype(np.float32)
    inner = conv_inputs(photo)
    if not first:  # the photo itself is 8 bits already, in its file
        assert not inner
        return
    coarse = quantise_convs(photo, encoder_ranges(photo, inner, images), channel_means(photo, inner, images))
    kinds = [node.op_type for node in coarse.graph.node]
    assert kinds.count("QuantizeLinear") == len(inner) + 10 - first, "each tensor once, and the filters"
    exact, near = run(photo, images=images), run(coarse, images=images)
    for a, b in zip(exact, near, strict=True):
        assert 1e-4 < np.sqrt(((a - b) ** 2).sum() / (a**2).sum()) < 0.05
    for k in range(5):
        for a, b in zip(near, run(coarse, images=images[k : k + 1]), strict=True):
            np.testing.assert_allclose(a[k : k + 1], b, rtol=1e-5, atol=1e-6)


def test_products_with_feature_maps_are_in_8_bits_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the decoder's memory is made of, in the graphs of a whole model."""
    monkeypatch.setattr(graphs, "MAX_ERROR", np.inf)  # of random weights
    recipe = Recipe.from_dict(
        {"encoder": {"name": "tf_efficientnet_lite0", "weights": "none"}, "decoder": {"size": 96}}
    )
    encoder = load_encoder("tf_efficientnet_lite0", "none", 64, 3)
    model = graphs.half_precision(Captioner(encoder, build_decoder(recipe, encoder, VOCAB)))
    graphs.write_graphs(model, tmp_path)
    kinds = [node.op_type for node in onnx.load(tmp_path / "encoder.int8.onnx", load_external_data=False).graph.node]
    assert "MatMulIntegerToFloat" in kinds and "MatMul" not in kinds


def test_the_largest_sums_of_convolutions_are_exact_on_every_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantise, "FLOAT_CONVS", 1)
    net = Net(nn.Identity())
    with torch.no_grad():
        for conv in (module for module in net.modules() if isinstance(module, nn.Conv2d)):
            conv.weight.fill_(1 / conv.weight[0].numel())
            if conv.bias is not None:
                conv.bias.zero_()
    photo, images = exported(net), np.ones((1, 3, 67, 67), np.float32)
    inner = conv_inputs(photo)
    coarse = quantise_convs(photo, encoder_ranges(photo, inner, images), channel_means(photo, inner, images))
    for exact, near in zip(run(photo, images=images), run(coarse, images=images), strict=True):
        np.testing.assert_allclose(near, exact, rtol=0.1, atol=0.03)  # a sum that is cut is half of what it was


def test_onnx_runtime_makes_operations_of_8_bits_of_it(photo: onnx.ModelProto, tmp_path: Path) -> None:
    images = np.random.default_rng(0).uniform(-2, 2, (2, 3, 67, 67)).astype(np.float32)
    inner = conv_inputs(photo)
    coarse = quantise_convs(photo, encoder_ranges(photo, inner, images), channel_means(photo, inner, images))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(coarse.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert kinds.count("QLinearConv") == 10 - quantise.FLOAT_CONVS
    assert kinds.count("QLinearAdd") >= 1


def test_biases_take_back_what_rounded_filters_add(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filters that are all rounded down give too little of what is never negative."""
    monkeypatch.setattr(quantise, "FLOAT_CONVS", 1)
    torch.manual_seed(0)
    net = Net(nn.Identity())
    with torch.no_grad():
        for conv in (module for module in net.modules() if isinstance(module, nn.Conv2d)):
            step = conv.weight.abs().amax((1, 2, 3), keepdim=True) / 127
            conv.weight.copy_((torch.floor(conv.weight / step).clamp(max=126) + 0.45) * step)
    photo = exported(net)
    images = np.random.default_rng(0).uniform(-2, 2, (5, 3, 67, 67)).astype(np.float32)
    inner = conv_inputs(photo)
    ranges, means = encoder_ranges(photo, inner, images), channel_means(photo, inner, images)
    none = {name: np.zeros_like(mean) for name, mean in means.items()}
    exact = run(photo, images=images)
    plain, corrected = (
        np.abs(np.mean(run(quantise_convs(photo, ranges, each), images=images)[1] - exact[1], axis=(0, 1))).mean()
        for each in (none, means)
    )
    assert corrected < 0.3 * plain


@pytest.mark.parametrize("between", [nn.SiLU(), nn.AvgPool2d(2), nn.BatchNorm2d(16)], ids=lambda m: type(m).__name__)
def test_what_is_no_plain_network_is_left_alone(between: nn.Module) -> None:
    assert not conv_inputs(exported(Net(between)))


@pytest.mark.parametrize(
    ("name", "layer", "finer", "plain"),
    [
        ("tf_efficientnet_lite0", 1, False, True),
        ("tf_efficientnet_lite0", 2, True, True),  # a feature map that is an output goes on to convolutions
        ("resnet18", 2, False, True),
        ("vgg11", None, False, True),
        pytest.param("tf_efficientnet_lite0", None, False, True, marks=pytest.mark.slow),
        pytest.param("resnet18", None, False, True, marks=pytest.mark.slow),
        pytest.param("test_efficientnet", None, False, False, marks=pytest.mark.slow),
    ],
)
def test_encoders_that_are_plain(name: str, layer: int | None, finer: bool, plain: bool) -> None:
    recipe = Recipe.from_dict({"encoder": {"name": name, "weights": "none", "finer": finer}, "decoder": {"size": 16}})
    encoder = load_encoder(name, "none", 96, layer, finer)
    model = norms_as_biases(graphs.half_precision(Captioner(encoder, build_decoder(recipe, encoder, VOCAB))))
    assert bool(conv_inputs(graphs._export_encoder(model))) == plain


# ---- ranges


def test_ranges_are_those_of_all_photos_and_hold_zero(photo: onnx.ModelProto) -> None:
    images = np.stack([np.full((3, 67, 67), value, np.float32) for value in (0.5, 2.0, 1.0)])
    found = encoder_ranges(photo, ["images", "state.h"], images)
    assert found["images"] == (0.0, 2.0)
    states = run(photo, images=images)[1]
    np.testing.assert_allclose(found["state.h"], (min(0, states.min()), states.max()), rtol=1e-5)


class Counting(nn.Module):
    """A step whose state is how many words there were."""

    def forward(self, tokens: Tensor, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logprobs = tokens.unsqueeze(-1) + memory.unsqueeze(1) * torch.arange(1.0, 8.0)
        return logprobs, state, state + 1


def test_sentences_go_on_from_their_own_state() -> None:
    class Photo(nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            means = images.mean(dim=(1, 2, 3)).unsqueeze(1)
            return means, torch.zeros_like(means).unsqueeze(1)

    dim = torch.export.Dim.DYNAMIC
    photo = export_graph(Photo(), (torch.ones(2, 3, 5, 5),), ({0: dim},), ["images"], ["memory.x", "state.n"])
    example = torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3, 1), torch.ones(2, 1)
    names = ["tokens", "state.n", "memory.x"], ["logprobs", "attention", "next.n"]
    step = export_graph(Counting(), example, ({0: dim, 1: dim}, {0: dim, 1: dim}, {0: dim}), *names)
    found = decoder_ranges(photo, step, ["state.n", "next.n", "memory.x"], np.full((2, 3, 5, 5), 0.25, np.float32))
    assert found == {"state.n": (0, WORDS - 1), "next.n": (0, WORDS), "memory.x": (0, 0.25)}
