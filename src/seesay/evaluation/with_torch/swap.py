"""Is the map that is shown the one that the word is made of? Each step's weights are replaced by others.  [torch]"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seesay.data.tokens import BOS
from seesay.evaluation.with_torch.sentences import TorchSentences
from seesay.metrics.localisation import Share
from seesay.models.decoder import Decoder

Weights = list[Tensor]  # of one photo, for each step those of every head: whatever the module gives


@dataclass(frozen=True)
class Swap:
    """What happens to words when the context is made from other weights than the model's own.

    Attributes:
        falls: "uniform", "other_word", "other_photo" -> mean fall of the log-probability, over the words
            that have such weights.
        own: the largest change by the model's own weights, which should be none (1e-4 at most).
    """

    falls: dict[str, Share]
    own: float


@torch.inference_mode()
def swap(decoder: Decoder, sentences: TorchSentences) -> Swap:
    """Replace the weights of the attention that is shown, step by step, by `step` itself.

    Every step starts from the state of the untouched model, so each fall is that of one replaced
    map. Another word's weights are those of the next of the sentence's `positions`, another
    photo's those at the same step of the next sentence that is long enough.

    Args:
        decoder: in eval mode.
        sentences: with the words to look at.
    """
    positions = sentences.positions
    runs = [_run(decoder, part, ids) for part, ids in zip(sentences.regions, sentences.ids, strict=True)]
    falls: dict[str, list[float]] = {"uniform": [], "other_word": [], "other_photo": []}
    photos: dict[str, list[str]] = {kind: [] for kind in falls}
    own = 0.0
    for number, (run, name) in enumerate(zip(runs, sentences.photos, strict=True)):
        for t in positions[number]:
            others = [p for p in positions[number] if p != t]
            later = [p for p in others if p > t] or others
            further = [runs[(number + n) % len(runs)].weights for n in range(1, len(runs))]
            foreign = next((weights[t] for weights in further if len(weights) > t), None)
            replaced = {
                "uniform": torch.full_like(run.weights[t], 1 / run.weights[t].shape[-1]),
                "other_word": run.weights[later[0]] if later else None,
                "other_photo": foreign,
            }
            own = max(own, abs(run.again(t, run.weights[t]) - run.logprobs[t]))
            for kind, weights in replaced.items():
                if weights is not None:
                    falls[kind].append(run.logprobs[t] - run.again(t, weights))
                    photos[kind].append(name)
    return Swap({kind: Share.of(values, photos[kind]) for kind, values in falls.items()}, own)


@dataclass
class _Run:
    """One pass over a sentence: each word's log-probability, weights and a way to make the step again."""

    logprobs: list[float]
    weights: Weights
    again: Callable[[int, Tensor], float]


def _run(decoder: Decoder, regions: Tensor, ids: Sequence[int]) -> _Run:
    memory = decoder.prepare(regions.unsqueeze(0))
    states, logprobs, seen = [decoder.start(memory, 1)], [], []
    read = [BOS, *ids]
    keep = decoder.region_weights.register_forward_hook(lambda *call: seen.append(call[-1].clone()))
    try:
        for t, target in enumerate(ids):
            step = decoder.step(torch.tensor([[read[t]]]), states[t], memory)
            states.append(step.state)
            logprobs.append(float(step.logprobs[0, 0, target]))
    finally:
        keep.remove()

    def again(t: int, weights: Tensor) -> float:
        put = decoder.region_weights.register_forward_hook(lambda *_: weights)
        try:
            return float(decoder.step(torch.tensor([[read[t]]]), states[t], memory).logprobs[0, 0, ids[t]])
        finally:
            put.remove()

    return _Run(logprobs, seen, again)
