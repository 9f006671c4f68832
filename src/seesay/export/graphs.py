"""The ONNX graphs of a bundle, made from the torch model, with their weights left in the safetensors file."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from safetensors.torch import save
from torch import Tensor, nn

from seesay.assets import demo_photos
from seesay.errors import BundleError
from seesay.export.calibrate import Watched, channel_means, photo_ranges, step_ranges
from seesay.export.external_data import point_into
from seesay.export.fold_norms import fold_batch_norms, norms_as_biases
from seesay.export.onnx_module import export_graph
from seesay.export.quantise import convolved, multiplied, photo_in_8_bits, step_in_8_bits
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
    fold_batch_norms(model)
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
    exported = norms_as_biases(model)
    photo, step = _export_photo(exported), _export_step(exported)
    made = {"encoder.onnx": photo, "decoder.onnx": step, **_in_8_bits(photo, step, _demo_images(model))}
    for name, graph in made.items():
        point_into(graph, weights)
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
