"""Captions from a torch decoder, by the searches that the runtime uses too."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from seesay.data.tokens import BOS, EOS, NEVER_WRITTEN
from seesay.models.decoder import Decoder
from seesay.search import BeamOptions, Hypothesis, SampleOptions, StepModel, beam_search, sample


class Sentences(NamedTuple):
    """K sentences of each of B photos, the longest first, as `decoder.forward` reads them.

    Attributes:
        tokens: (B, K, L) ids without the start; after its end token a sentence is filled up with end tokens.
        logprobs: (B, K, L) the decoder's natural log-probability of each token over all tokens; 0 after the end.
        lengths: (B, K) tokens of each sentence, its end token counted: 1 to L.
    """

    tokens: Tensor
    logprobs: Tensor
    lengths: Tensor


@torch.inference_mode()
def generate(decoder: Decoder, memory: Any, options: BeamOptions) -> list[list[Hypothesis]]:
    """The best sentence of each photo.

    The decoder is used as it is, so put it in eval mode.

    Args:
        decoder: any decoder with `start` and `step`.
        memory: of B photos, from `prepare`.
        options: width, length, ranking.
    """
    return beam_search(step_model(decoder, memory), options, number=1)


@torch.no_grad()
def sample_sentences(decoder: Decoder, memory: Any, options: SampleOptions) -> Sentences:
    """Sentences drawn for each photo; the decoder is used as it is.

    Noise comes from torch's own generator (the seed of the options is not used). Unlike `generate`'s, the sentences
    can be read by `decoder.forward`: tensors of inference mode have no part in a gradient.

    Args:
        decoder: any decoder with `start` and `step`.
        memory: of B photos, from `prepare`.
        options: how many of each photo, and how they are drawn.
    """
    model = step_model(decoder, memory)

    def noise(photos: np.ndarray, shape: tuple[int, int]) -> Tensor:
        return torch.rand((len(photos), *shape), device=model.start.device)

    return _padded(sample(model, options, noise), options.n, model.start.device)


@torch.no_grad()
def beam_sentences(decoder: Decoder, memory: Any, options: BeamOptions) -> Sentences:
    """What beam search finds for each photo; the decoder is used as it is.

    They can be read by `decoder.forward`, as those of `sample_sentences` can. Where the search found fewer than
    `options.beam` sentences, the shortest one is there again.

    Args:
        decoder: any decoder with `start` and `step`.
        memory: of B photos, from `prepare`.
        options: K is its width.
    """
    model = step_model(decoder, memory)
    return _padded(beam_search(model, options), options.beam, model.start.device)


def _padded(found: list[list[Hypothesis]], number: int, device: torch.device) -> Sentences:
    ordered = [sorted(photo, key=lambda sentence: -len(sentence.tokens)) for photo in found]
    flat = [sentence for photo in ordered for sentence in photo + photo[-1:] * (number - len(photo))]
    tokens = [torch.tensor([*sentence.tokens, EOS]) for sentence in flat]
    logprobs = [torch.tensor(sentence.logprobs) for sentence in flat]
    parts = (
        pad_sequence(tokens, batch_first=True, padding_value=EOS),
        pad_sequence(logprobs, batch_first=True),
        torch.tensor([len(sentence.logprobs) for sentence in flat]),
    )
    return Sentences(*(part.unflatten(0, (len(found), number)).to(device) for part in parts))


def step_model(decoder: Decoder, memory: Any) -> StepModel:
    """A torch decoder as a search sees it.

    Args:
        decoder: any decoder with `start` and `step`.
        memory: of B photos, from `prepare`.
    """

    def step(tokens: Tensor, state: tuple[Tensor, ...], memory: tuple[Any, ...]) -> tuple[Tensor, Any, Tensor]:
        parts = decoder.step(tokens, decoder.State(*state), decoder.Memory(*memory))
        return parts.logprobs.float(), tuple(parts.state), parts.attention.float()  # numpy has no bfloat16

    state = decoder.start(memory, 1)
    start = torch.full((state[0].shape[0], 1), BOS, dtype=torch.int64, device=state[0].device)
    return StepModel(step, tuple(state), tuple(memory), start, EOS, NEVER_WRITTEN)
