"""Calibration: the ranges of the activations to quantise, over photos and sentences."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from seesay.data.tokens import BOS, EOS

BEAMS, WORDS = 16, 12  # calibration sentences of each photo, and their words


class Range(NamedTuple):
    """The smallest and the largest value that a tensor had; 0 always lies between them."""

    low: float
    high: float


def encoder_ranges(encoder: onnx.ModelProto, tensors: Iterable[str], images: np.ndarray) -> dict[str, Range]:
    """Ranges of tensors in the encoder's graph.

    Args:
        encoder: a graph from `seesay.export.onnx_module.export_graph`, with its weights.
        tensors: names of tensors of the graph, or of its input.
        images: (N, 3, size, size) float32, preprocessed.
    """
    names = set(tensors)
    observer = Observer(encoder, names)
    return _ranges(names, (observer({"images": image[None]}) for image in images))


def channel_means(encoder: onnx.ModelProto, tensors: Iterable[str], images: np.ndarray) -> dict[str, np.ndarray]:
    """Means (C,) of the channels of tensors (1, C, ...); arguments as for `encoder_ranges`."""
    names = sorted(tensors)
    observer = Observer(encoder, names)
    means: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for image in images:
        values = observer({"images": image[None]})
        for name in names:
            channels = values[name].reshape(values[name].shape[1], -1)  # (C, rows * cols)
            means[name].append(channels.mean(axis=1))
    return {name: np.mean(of_images, axis=0) for name, of_images in means.items()}


def decoder_ranges(
    encoder: onnx.ModelProto, decoder: onnx.ModelProto, tensors: Iterable[str], images: np.ndarray
) -> dict[str, Range]:
    """Ranges of tensors in the decoder's graph, while it reads the same sentences about each photo.

    Args:
        encoder, decoder: both graphs, their weights inside.
        tensors: names of tensors of the decoder's graph, or of its inputs.
        images: as for `encoder_ranges`.
    """
    names = set(tensors)
    return _ranges(names, _decoder_steps(Observer(encoder), Observer(decoder, names), images))


class Observer:
    """Runs a graph and returns its inputs, its outputs and any other tensors by name.

    Args:
        model: a graph with its weights.
        tensors: the other tensors.
        optimise: whether ONNX Runtime may fuse operations. If not, quantisation is simulated in
            float32, with the same result on every CPU.
    """

    def __init__(self, model: onnx.ModelProto, tensors: Iterable[str] = (), optimise: bool = True) -> None:
        model = copy.deepcopy(model)
        known = {value.name for value in (*model.graph.output, *model.graph.input)}
        more = [name for name in tensors if name not in known]
        model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in more)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only
        if not optimise:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = map(np.asarray, self._session.run(self._outputs, dict(inputs)))
        return {**inputs, **dict(zip(self._outputs, outputs, strict=True))}


def _decoder_steps(encoder: Observer, decoder: Observer, images: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    """The decoder's tensors at each step of BEAMS sentences about each photo."""
    random = np.random.default_rng(0)
    for image in images:
        encoded = encoder({"images": image[None]})
        memory = {name: part for name, part in encoded.items() if name.startswith("memory.")}
        state = {name: np.repeat(part, BEAMS, 1) for name, part in encoded.items() if name.startswith("state.")}
        tokens = np.full((1, BEAMS), BOS)
        for _ in range(WORDS):
            values = decoder({"tokens": tokens, **state, **memory})
            yield values
            state = {name: values[f"next.{name.removeprefix('state.')}"] for name in state}
            tokens = _next_tokens(values["logprobs"], random)


def _next_tokens(logprobs: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The next tokens, (1, K, V) -> (1, K).

    They are sampled from the model for every second sentence and uniformly for the others.
    """
    sampled = (logprobs + random.gumbel(size=logprobs.shape)).argmax(-1)
    return np.where(np.arange(BEAMS) % 2, sampled, random.integers(EOS, logprobs.shape[-1], sampled.shape))


def _ranges(names: Iterable[str], runs: Iterable[Mapping[str, np.ndarray]]) -> dict[str, Range]:
    ranges = {name: Range(0.0, 0.0) for name in names}
    for values in runs:
        for name, (low, high) in ranges.items():
            ranges[name] = Range(min(low, float(values[name].min())), max(high, float(values[name].max())))
    return ranges
