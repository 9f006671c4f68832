"""Swapping attention weights: how much each word depends on the map that is shown. [torch]"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seesay.data.tokens import BOS
from seesay.evaluation.with_torch.sentences import TorchSentences
from seesay.metrics.localisation import Share
from seesay.models.decoder import Decoder

# for each step the weights of all heads, as `Decoder.region_weights` returns them
Weights = list[Tensor]


@dataclass(frozen=True)
class Swap:
    """The effect on words when the context is computed from other attention weights.

    Attributes:
        falls: "uniform", "other_word", "other_photo" -> mean fall of the log-probability, over the
            words that have such weights.
        own: the largest change when the weights are replaced by themselves, a check that should be
            at most 1e-4.
    """

    falls: dict[str, Share]
    own: float


@torch.inference_mode()
def swap(decoder: Decoder, sentences: TorchSentences) -> Swap:
    """Repeat each step with other weights in place of the attention that is shown.

    Every step starts from the state of the original model, so each fall is the effect of a single
    replaced map. "other_word" takes the weights at the next of the sentence's `positions`, and
    "other_photo" those at the same step of the next sentence that is long enough.

    Args:
        decoder: the decoder, in eval mode.
        sentences: sentences with the words to look at.
    """
    pairs = zip(sentences.regions, sentences.ids, strict=True)
    runs = [_run(decoder, regions, ids) for regions, ids in pairs]
    falls: dict[str, list[float]] = {"uniform": [], "other_word": [], "other_photo": []}
    photos: dict[str, list[str]] = {kind: [] for kind in falls}
    own = 0.0
    for number, (run, positions) in enumerate(zip(runs, sentences.positions, strict=True)):
        following = [*runs[number + 1 :], *runs[:number]]
        for t in positions:
            own = max(own, abs(run.again(t, run.weights[t]) - run.logprobs[t]))
            for kind, weights in _others(run, t, positions, following).items():
                if weights is not None:
                    falls[kind].append(run.logprobs[t] - run.again(t, weights))
                    photos[kind].append(sentences.photos[number])
    return Swap({kind: Share.of(values, photos[kind]) for kind, values in falls.items()}, own)


def _others(run: _Run, t: int, positions: Sequence[int], following: Sequence[_Run]) -> dict[str, Tensor | None]:
    """The weights that replace those of step t; None where there are none."""
    others = [p for p in positions if p != t]
    later = [p for p in others if p > t] or others
    own = run.weights[t]
    return {
        "uniform": torch.full_like(own, 1 / own.shape[-1]),
        "other_word": run.weights[later[0]] if later else None,
        "other_photo": next((r.weights[t] for r in following if len(r.weights) > t), None),
    }


@dataclass
class _Run:
    """A pass over a sentence.

    Attributes:
        logprobs: the log-probability of each word.
        weights: the attention weights of each word.
        again: (step, weights) -> the word's log-probability with these attention weights.
    """

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
