"""The ONNX graphs of a bundle, made from the torch model, with their weights left in the safetensors file."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save
from torch import Tensor, nn

from seesay.assets import demo_photos
from seesay.bundle.eight_bits import convolved, multiplied, photo_in_8_bits, step_in_8_bits
from seesay.bundle.onnx_module import SMALL, export_graph, replace_all
from seesay.bundle.ranges import Watched, channel_means, photo_ranges, step_ranges
from seesay.errors import BundleError
from seesay.models.captioner import Captioner

LARGEST = 2**31 - 2**24  # bytes of a graph with its weights inside
TOO_ROUGH = 0.12  # of a memory's length: an encoder whose 8 bits are further from what it was is left alone


class PhotoGraph(nn.Module):
    """images -> memory, first state: once a photo."""

    def __init__(self, captioner: Captioner) -> None:
        super().__init__()
        self.captioner = captioner

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        memory = self.captioner.prepare(images)
        return (*_flat(memory), *self.captioner.decoder.start(memory, 1))


class StepGraph(nn.Module):
    """tokens, state, memory -> log-probabilities, attention, next state: once a word."""

    def __init__(self, captioner: Captioner) -> None:
        super().__init__()
        self.decoder = captioner.decoder

    def forward(self, tokens: Tensor, state: tuple[Tensor, ...], memory: tuple[Any, ...]) -> tuple[Tensor, ...]:
        parts = self.decoder.step(tokens, self.decoder.State(*state), self.decoder.Memory(*memory))
        return (parts.logprobs, parts.attention, *parts.state)


def half_precision(captioner: Captioner) -> Captioner:
    """A copy in eval mode with batch norms folded and matrices rounded to float16 values: what a bundle holds."""
    model = copy.deepcopy(captioner).float().cpu().eval()
    _fold_batch_norms(model)
    for name, tensor in model.state_dict().items():
        if _is_halved(tensor):
            tensor.copy_(tensor.half())
            if not tensor.isfinite().all():
                raise BundleError(f"{name}: holds values that are not finite in half precision; did training diverge?")
    return model


def _is_halved(tensor: Tensor) -> bool:
    """Matrices and filters make up the size; vectors are few, and folded norms need their precision."""
    return tensor.is_floating_point() and tensor.ndim > 1


def write_graphs(model: Captioner, folder: Path) -> None:
    """Write weights.safetensors and the graphs of a model that `half_precision` made."""
    weights = folder / "weights.safetensors"
    state = {name: tensor.half() if _is_halved(tensor) else tensor for name, tensor in model.state_dict().items()}
    # `save_file` would make a file that only its owner reads
    weights.write_bytes(save({name: tensor.contiguous() for name, tensor in sorted(state.items())}))
    exported = _norms_as_biases(model)
    photo, step = _export_photo(exported), _export_step(exported)
    made = {"encoder.onnx": photo, "decoder.onnx": step, **_in_8_bits(photo, step, _demo_images(model))}
    for name, graph in made.items():
        _point_into(graph, weights)
        (folder / name).write_bytes(graph.SerializeToString())


def _demo_images(model: Captioner) -> np.ndarray:
    """The packaged photos and their mirror images, as the encoder reads them."""
    images = np.stack([model.encoder.transform(photo) for photo in demo_photos()])
    return np.concatenate([images, images[..., ::-1]])


def _in_8_bits(photo: onnx.ModelProto, step: onnx.ModelProto, images: np.ndarray) -> dict[str, onnx.ModelProto]:
    """The graphs in 8 bits by file name: a word's, a photo's where the encoder allows it; none of too large models."""
    if sum(len(tensor.raw_data) for tensor in photo.graph.initializer) > LARGEST:
        return {}
    made = {"decoder.int8.onnx": step_in_8_bits(step, step_ranges(photo, step, multiplied(step), images))}
    if inner := convolved(photo):
        coarse = photo_in_8_bits(photo, photo_ranges(photo, inner, images), channel_means(photo, inner, images))
        if _difference(photo, coarse, images) < TOO_ROUGH:
            made["encoder.int8.onnx"] = coarse
    return made


def _difference(exact: onnx.ModelProto, coarse: onnx.ModelProto, images: np.ndarray) -> float:
    """How far the memory of the second graph is from the first one's, beside how long that is."""
    graphs = [Watched(exact), Watched(coarse, as_written=True)]
    found = [[graph({"images": image[None]}) for graph in graphs] for image in images]
    pairs = [(a[name], b[name]) for a, b in found for name in a if name.startswith("memory.")]
    return float(np.sqrt(sum(((a - b) ** 2).sum() for a, b in pairs) / sum((a**2).sum() for a, _ in pairs)))


def _conv_norm_pairs(model: Captioner) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Each batch norm whose input is just the output of a convolution, by watching a photo pass through."""
    made_by: dict[int, nn.Conv2d] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    alive: list[Tensor] = []  # keeps ids unique while we watch

    def watch(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, nn.Conv2d):
            made_by[id(output)] = module
            alive.append(output)
        elif isinstance(module, nn.BatchNorm2d) and module.affine and id(inputs[0]) in made_by:
            pairs.append((made_by[id(inputs[0])], module))

    hooks = [module.register_forward_hook(watch) for module in model.encoder.modules()]
    _regions(model)
    for hook in hooks:
        hook.remove()
    return pairs


@torch.no_grad()
def _regions(model: Captioner) -> Tensor:
    return model.encoder(model.encoder.noise()).regions


@torch.no_grad()
def _fold_batch_norms(model: Captioner) -> None:
    """Move each batch norm's scale into the convolution before it; the norm stays, as a plain bias, so that the
    names and the structure that torch loads are the model's own."""
    _fold(model, _conv_norm_pairs(model), _regions(model))


def _fold(model: Captioner, pairs: Sequence[tuple[nn.Conv2d, nn.BatchNorm2d]], expected: Tensor) -> None:
    """Fold the pairs, but for those that would change the regions: their convolution feeds something else too."""
    before = copy.deepcopy(model.encoder.state_dict())
    for conv, norm in pairs:
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        offset = conv.bias if conv.bias is not None else torch.zeros_like(norm.bias)
        conv.weight.mul_(scale.reshape(-1, 1, 1, 1))
        norm.bias.add_((offset - norm.running_mean) * scale)
        norm.weight.fill_(1.0)
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0 - norm.eps)
        if conv.bias is not None:
            conv.bias.zero_()
    if float((_regions(model) - expected).norm() / expected.norm()) < 1e-3:
        return
    model.encoder.load_state_dict(before)
    if len(pairs) > 1:
        middle = len(pairs) // 2
        _fold(model, pairs[:middle], expected)
        _fold(model, pairs[middle:], expected)


def _is_bias(norm: nn.BatchNorm2d) -> bool:
    """Whether `_fold` left nothing of a norm but its bias."""
    left = ((norm.weight, 1.0), (norm.running_mean, 0.0), (norm.running_var, 1.0 - norm.eps))
    return all(tensor is not None and bool((tensor == torch.tensor(value)).all()) for tensor, value in left)


@torch.no_grad()
def _norms_as_biases(model: Captioner) -> Captioner:
    """A copy for export: folded batch norms become the bias of their convolution."""
    model = copy.deepcopy(model)
    parents = {id(child): (parent, name) for parent in model.modules() for name, child in parent.named_children()}
    for conv, norm in _conv_norm_pairs(model):
        if _is_bias(norm):
            conv.bias = nn.Parameter(norm.bias.detach().clone())
            parent, name = parents[id(norm)]
            # timm's BatchNormAct2d carries the activation that follows it
            setattr(parent, name, getattr(norm, "act", nn.Identity()))
    return model.eval()


def _export_photo(model: Captioner) -> onnx.ModelProto:
    images, dynamic = model.encoder.noise(2), ({0: torch.export.Dim.DYNAMIC},)
    with torch.inference_mode():
        memory = model.prepare(images)
        outputs = [*_names("memory", memory), *_names("state", model.decoder.start(memory, 1))]
    return export_graph(PhotoGraph(model), (images,), dynamic, ["images"], outputs)


def _export_step(model: Captioner) -> onnx.ModelProto:
    decoder, dim = model.decoder, torch.export.Dim.DYNAMIC
    tokens = torch.zeros(2, 3, dtype=torch.int64)
    with torch.inference_mode():
        memory = model.prepare(model.encoder.noise(2))
        state = decoder.start(memory, 3)
        for _ in range(2):  # a cache that grows must neither be empty nor hold one word: these sizes are taken as fixed
            state = decoder.step(tokens, state, memory).state
    inputs = ["tokens", *_names("state", state), *_names("memory", memory)]
    outputs = ["logprobs", "attention", *_names("next", state)]
    memory, state = _each(memory, Tensor.clone), _each(state, Tensor.clone)  # none of inference mode can be exported
    grows = {3: dim} if state[0].ndim > 3 else {}  # (B, K, H), or (B, K, 2 heads, words so far, ...)
    dynamic = ({0: dim, 1: dim}, tuple({0: dim, 1: dim, **grows} for _ in state), _each(memory, lambda _: {0: dim}))
    return export_graph(StepGraph(model), (tokens, state, memory), dynamic, inputs, outputs)


def _flat(parts: Any) -> list[Tensor]:
    """The tensors of nested tuples."""
    return [tensor for part in parts for tensor in _flat(part)] if isinstance(parts, tuple) else [parts]


def _each(parts: Any, change: Callable[[Tensor], Any]) -> Any:
    """Something of every tensor, in tuples nested alike."""
    return tuple(_each(part, change) for part in parts) if isinstance(parts, tuple) else change(parts)


def _names(prefix: str, parts: Any) -> list[str]:
    """PREFIX.FIELD for each tensor of a NamedTuple, PREFIX.FIELD.0 and so on where a field has several; of a plain
    tuple PREFIX.0 and so on."""
    if isinstance(parts, Tensor):
        return [prefix]
    keys = getattr(parts, "_fields", range(len(parts)))
    return [name for key, part in zip(keys, parts, strict=True) for name in _names(f"{prefix}.{key}", part)]


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


def _point_into(model: onnx.ModelProto, weights: Path) -> None:
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


def _external(name: str, shape: Sequence[int], location: str, offset: int, length: int) -> TensorProto:
    tensor = TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT16, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    return tensor
