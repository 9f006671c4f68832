"""The ONNX graphs of a bundle, exported from the torch model.

Their weights are in the bundle's safetensors file.
"""

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
from seesay.export.calibrate import Observer, channel_means, decoder_ranges, encoder_ranges
from seesay.export.external_data import point_into
from seesay.export.fold_norms import fold_batch_norms, norms_as_biases
from seesay.export.onnx_module import export_graph
from seesay.export.quantise import conv_inputs, matmul_inputs, quantise_convs, quantise_products
from seesay.models.captioner import Captioner

# of a graph with its weights inside: protobuf's limit, less a margin
MAX_GRAPH_BYTES = 2**31 - 2**24
MAX_ERROR = 0.12  # relative error of the memory above which the encoder is not quantised


class EncoderGraph(nn.Module):
    """images -> memory and initial state; runs once for each photo."""

    def __init__(self, captioner: Captioner) -> None:
        super().__init__()
        self.captioner = captioner

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        memory = self.captioner.prepare(images)
        return (*_flat(memory), *self.captioner.decoder.start(memory, 1))


class DecoderGraph(nn.Module):
    """tokens, state, memory -> log-probabilities, attention, next state; runs once per word."""

    def __init__(self, captioner: Captioner) -> None:
        super().__init__()
        self.decoder = captioner.decoder

    def forward(self, tokens: Tensor, state: tuple[Tensor, ...], memory: tuple[Any, ...]) -> tuple[Tensor, ...]:
        step = self.decoder.step(tokens, self.decoder.State(*state), self.decoder.Memory(*memory))
        return (step.logprobs, step.attention, *step.state)


def half_precision(captioner: Captioner) -> Captioner:
    """A copy as a bundle stores it: batch norms folded, matrices rounded to float16 values.

    It is in eval mode and still has float32 tensors.

    Raises:
        BundleError: a weight is not finite in half precision.
    """
    model = copy.deepcopy(captioner).float().cpu().eval()
    fold_batch_norms(model)
    for name, tensor in model.state_dict().items():
        if _is_halved(tensor):
            tensor.copy_(tensor.half())
            if not tensor.isfinite().all():
                raise BundleError(f"{name}: holds values that are not finite in half precision; did training diverge?")
    return model


def _is_halved(tensor: Tensor) -> bool:
    """Whether a weight is saved in half precision.

    Matrices and filters are, because they make up nearly all of the size. Vectors are not, because
    folded norms need the precision.
    """
    return tensor.is_floating_point() and tensor.ndim > 1


def write_graphs(model: Captioner, folder: Path) -> None:
    """Write weights.safetensors and the graphs of a model from `half_precision`."""
    weights = folder / "weights.safetensors"
    state = {name: tensor.half() if _is_halved(tensor) else tensor for name, tensor in model.state_dict().items()}
    # `save_file` would make a file that only its owner can read
    weights.write_bytes(save({name: tensor.contiguous() for name, tensor in sorted(state.items())}))
    exported = norms_as_biases(model)
    encoder, decoder = _export_encoder(exported), _export_decoder(exported)
    graphs = {"encoder.onnx": encoder, "decoder.onnx": decoder}
    graphs |= _quantised(encoder, decoder, _demo_images(model))
    for name, graph in graphs.items():
        point_into(graph, weights)
        (folder / name).write_bytes(graph.SerializeToString())


def _demo_images(model: Captioner) -> np.ndarray:
    """The packaged photos and their mirror images, preprocessed, (N, 3, size, size)."""
    images = np.stack([model.encoder.transform(photo) for photo in demo_photos()])
    return np.concatenate([images, images[..., ::-1]])


def _quantised(encoder: onnx.ModelProto, decoder: onnx.ModelProto, images: np.ndarray) -> dict[str, onnx.ModelProto]:
    """The quantised graphs by file name.

    The encoder's is included if it can be quantised with a small error. Models that are too large
    have none.
    """
    if sum(len(tensor.raw_data) for tensor in encoder.graph.initializer) > MAX_GRAPH_BYTES:
        return {}
    ranges = decoder_ranges(encoder, decoder, matmul_inputs(decoder), images)
    graphs = {"decoder.int8.onnx": quantise_products(decoder, ranges)}
    if tensors := conv_inputs(encoder):
        ranges = encoder_ranges(encoder, tensors | matmul_inputs(encoder), images)
        of_convs = {name: ranges[name] for name in tensors}
        quantised = quantise_convs(encoder, of_convs, channel_means(encoder, tensors, images))
        quantised = quantise_products(quantised, ranges)
        if _relative_error(encoder, quantised, images) < MAX_ERROR:
            graphs["encoder.int8.onnx"] = quantised
    return graphs


def _relative_error(encoder: onnx.ModelProto, quantised: onnx.ModelProto, images: np.ndarray) -> float:
    """The error of the quantised encoder's memory, relative to the memory's norm."""
    observers = Observer(encoder), Observer(quantised, optimise=False)
    runs = [[observer({"images": image[None]}) for observer in observers] for image in images]
    pairs = [(a[name], b[name]) for a, b in runs for name in a if name.startswith("memory.")]
    return float(np.sqrt(sum(((a - b) ** 2).sum() for a, b in pairs) / sum((a**2).sum() for a, _ in pairs)))


def _export_encoder(model: Captioner) -> onnx.ModelProto:
    images, dynamic = model.encoder.example_images(2), ({0: torch.export.Dim.DYNAMIC},)
    with torch.inference_mode():
        memory = model.prepare(images)
        outputs = [*_names("memory", memory), *_names("state", model.decoder.start(memory, 1))]
    return export_graph(EncoderGraph(model), (images,), dynamic, ["images"], outputs)


def _export_decoder(model: Captioner) -> onnx.ModelProto:
    decoder, dim = model.decoder, torch.export.Dim.DYNAMIC
    tokens = torch.zeros(2, 3, dtype=torch.int64)  # (B, K)
    with torch.inference_mode():
        memory = model.prepare(model.encoder.example_images(2))
        state = decoder.start(memory, 3)
        for _ in range(2):  # torch.export would treat a cache length of 0 or 1 as a constant
            state = decoder.step(tokens, state, memory).state
    inputs = ["tokens", *_names("state", state), *_names("memory", memory)]
    outputs = ["logprobs", "attention", *_names("next", state)]
    # inference tensors cannot be exported
    memory, state = _map(Tensor.clone, memory), _map(Tensor.clone, state)
    # a cache (B, K, 2 heads, T, ...), not a state (B, K, H)
    grows = {3: dim} if state[0].ndim > 3 else {}
    of_state = tuple({0: dim, 1: dim, **grows} for _ in state)
    of_memory = _map(lambda _: {0: dim}, memory)
    dynamic = ({0: dim, 1: dim}, of_state, of_memory)
    return export_graph(DecoderGraph(model), (tokens, state, memory), dynamic, inputs, outputs)


def _flat(tensors: Any) -> list[Tensor]:
    """The tensors of nested tuples."""
    return [tensor for part in tensors for tensor in _flat(part)] if isinstance(tensors, tuple) else [tensors]


def _map(function: Callable[[Tensor], Any], tensors: Any) -> Any:
    """Apply a function to each tensor of nested tuples."""
    return tuple(_map(function, part) for part in tensors) if isinstance(tensors, tuple) else function(tensors)


def _names(prefix: str, tensors: Any) -> list[str]:
    """Names of the tensors of a (nested) tuple: PREFIX.FIELD, or PREFIX.INDEX in a plain tuple."""
    if isinstance(tensors, Tensor):
        return [prefix]
    keys = getattr(tensors, "_fields", range(len(tensors)))
    return [name for key, part in zip(keys, tensors, strict=True) for name in _names(f"{prefix}.{key}", part)]
