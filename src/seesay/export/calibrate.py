"""Between which values the tensors of a graph lie: photos, and words about them, pass through and are watched."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from seesay.data.tokens import BOS, EOS

BEAMS, WORDS = 16, 12  # about each photo


class Range(NamedTuple):
    """The least and the largest value of a tensor that was seen, and zero between them."""

    low: float
    high: float


def photo_ranges(photo: onnx.ModelProto, tensors: Iterable[str], images: np.ndarray) -> dict[str, Range]:
    """Ranges in the graph that reads photos.

    Args:
        photo: from `seesay.export.onnx_module.export_graph`, its weights inside.
        tensors: whose ranges; of the graph or its input.
        images: (N, 3, size, size) float32, as the graph reads them.
    """
    watched = set(tensors)
    graph = Watched(photo, watched)
    return _ranges(watched, (graph({"images": image[None]}) for image in images))


def channel_means(photo: onnx.ModelProto, tensors: Iterable[str], images: np.ndarray) -> dict[str, np.ndarray]:
    """(C,) for each of the tensors, which are (1, C, ...): arguments as for `photo_ranges`."""
    watched = sorted(tensors)
    graph = Watched(photo, watched)
    means: dict[str, list[np.ndarray]] = {name: [] for name in watched}
    for image in images:
        found = graph({"images": image[None]})
        for name, each in means.items():
            each.append(found[name].reshape(found[name].shape[1], -1).mean(axis=1))
    return {name: np.mean(each, axis=0) for name, each in means.items()}


def step_ranges(
    photo: onnx.ModelProto, step: onnx.ModelProto, tensors: Iterable[str], images: np.ndarray
) -> dict[str, Range]:
    """Ranges in the graph of one word, while sentences are written about each photo, always the same ones.

    Args:
        photo, step: both graphs, their weights inside.
        tensors: of the second one or its inputs.
        images: as for `photo_ranges`.
    """
    watched = set(tensors)
    return _ranges(watched, _steps(Watched(photo), Watched(step, watched), images))


class Watched:
    """A graph that shows its inputs and tensors beside its outputs.

    Args:
        model: its weights inside.
        tensors: which.
        as_written: roundings are done apart from what they stand around, in float32 and alike on every processor.
    """

    def __init__(self, model: onnx.ModelProto, tensors: Iterable[str] = (), as_written: bool = False) -> None:
        model = copy.deepcopy(model)
        shown = {value.name for value in (*model.graph.output, *model.graph.input)}
        more = [name for name in tensors if name not in shown]
        model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in more)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only
        if as_written:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._outputs = [output.name for output in self._session.get_outputs()]

    def __call__(self, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = map(np.asarray, self._session.run(self._outputs, dict(feed)))
        return {**feed, **dict(zip(self._outputs, found, strict=True))}


def _steps(photo: Watched, step: Watched, images: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    for image in images:
        encoded = photo({"images": image[None]})
        memory = {name: part for name, part in encoded.items() if name.startswith("memory.")}
        state = {name: np.repeat(part, BEAMS, 1) for name, part in encoded.items() if name.startswith("state.")}
        tokens = np.full((1, BEAMS), BOS)
        for _ in range(WORDS):
            found = step({"tokens": tokens, **state, **memory})
            yield found
            state = {name: found[f"next.{name.removeprefix('state.')}"] for name in state}
            tokens = _words(found["logprobs"], random)


def _words(logprobs: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(1, K, V) -> (1, K): half of the words as the model would choose, half of all alike."""
    drawn = (logprobs + random.gumbel(size=logprobs.shape)).argmax(-1)
    return np.where(np.arange(BEAMS) % 2, drawn, random.integers(EOS, logprobs.shape[-1], drawn.shape))


def _ranges(names: Iterable[str], seen: Iterable[Mapping[str, np.ndarray]]) -> dict[str, Range]:
    found = {name: Range(0.0, 0.0) for name in names}
    for parts in seen:
        for name, (low, high) in found.items():
            found[name] = Range(min(low, float(parts[name].min())), max(high, float(parts[name].max())))
    return found
