"""Is the map that is shown the one that the word is made of? Each step's weights are replaced by others.  [torch]"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seesay.bundle.format import Bundle
from seesay.bundle.write import load_captioner
from seesay.caption import Caption
from seesay.data.records import CaptionRecord
from seesay.data.tokens import BOS
from seesay.metrics.localisation import NamedWord, Share
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
def swap(
    decoder: Decoder,
    regions: Sequence[Tensor],
    sentences: Sequence[Sequence[int]],
    positions: Sequence[Sequence[int]],
    names: Sequence[str],
) -> Swap:
    """Replace the weights of the attention that is shown, step by step, by `step` itself.

    Every step starts from the state of the untouched model, so each fall is that of one replaced map. Another
    word's weights are those of the next of the sentence's `positions`, another photo's those at the same
    step of the next sentence that is long enough.

    Args:
        decoder: in eval mode.
        regions: of each photo (P, D).
        sentences: ids of each, without start and end.
        positions: of each sentence the tokens to look at.
        names: of the photos.
    """
    runs = [_run(decoder, part, ids) for part, ids in zip(regions, sentences, strict=True)]
    falls: dict[str, list[float]] = {"uniform": [], "other_word": [], "other_photo": []}
    photos: dict[str, list[str]] = {kind: [] for kind in falls}
    own = 0.0
    for number, (run, name) in enumerate(zip(runs, names, strict=True)):
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


def swap_captions(
    bundle: Bundle,
    records: Sequence[CaptionRecord],
    captions: Sequence[Caption],
    words: Sequence[Sequence[NamedWord]],
) -> Swap:
    """`swap` of a bundle's own captions, at the words that name things.

    Args:
        bundle: its weights are read into torch, in float32.
        records: the photos.
        captions: of the photos.
        words: of each caption.
    """
    captioner = load_captioner(bundle)
    tokenizer = bundle.tokenizer
    regions, sentences, positions = [], [], []
    for record, caption, named in zip(records, captions, words, strict=True):
        pixels = torch.from_numpy(captioner.encoder.transform(record.image)).unsqueeze(0)
        with torch.inference_mode():
            regions.append(captioner.encoder(pixels).regions[0])
        sentences.append(tokenizer.encode(caption.text))
        spans = tokenizer.words(sentences[-1])
        positions.append([spans[word.position].start for word in named])
    return swap(captioner.decoder, regions, sentences, positions, [record.id for record in records])


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
