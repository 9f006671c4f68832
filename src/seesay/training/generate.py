"""Captions from a torch decoder, by the same beam search and sampling as in the runtime."""

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
    """K sentences for each of B photos, longest first, as `Decoder.forward` reads them.

    Attributes:
        tokens: (B, K, L) ids without the start token; padded with end tokens.
        logprobs: (B, K, L) the decoder's natural log-probability of each token among all tokens; 0
            after the end.
        lengths: (B, K) tokens of each sentence with its end token, 1 to L.
    """

    tokens: Tensor
    logprobs: Tensor
    lengths: Tensor


@torch.inference_mode()
def generate(decoder: Decoder, memory: Any, options: BeamOptions) -> list[list[Hypothesis]]:
    """The best sentence of each photo, as a list of one hypothesis.

    Args:
        decoder: the decoder, in eval mode unless dropout is wanted.
        memory: the memory of B photos, from `prepare`.
        options: for beam search.
    """
    return [sentences[:1] for sentences in beam_search(step_model(decoder, memory), options)]


@torch.no_grad()
def sample_sentences(decoder: Decoder, memory: Any, options: SampleOptions) -> Sentences:
    """Sentences sampled for each photo.

    The noise comes from torch's generator; the seed in the options is not used. The result is made
    without inference mode, so a later `decoder.forward` over these sentences can have a gradient.

    Args:
        decoder: the decoder, in eval mode unless dropout is wanted.
        memory: the memory of B photos, from `prepare`.
        options: the number of sentences per photo, and how they are sampled.
    """
    model = step_model(decoder, memory)

    def noise(photos: np.ndarray, shape: tuple[int, int]) -> Tensor:
        return torch.rand((len(photos), *shape), device=model.start.device)

    return _padded(sample(model, options, noise), options.n, model.start.device)


@torch.no_grad()
def beam_sentences(decoder: Decoder, memory: Any, options: BeamOptions) -> Sentences:
    """The sentences that beam search finds for each photo.

    As with `sample_sentences`, a later `decoder.forward` over them can have a gradient. Where the
    search finds fewer than `options.beam` sentences, the shortest one is repeated.

    Args:
        decoder: the decoder, in eval mode unless dropout is wanted.
        memory: the memory of B photos, from `prepare`.
        options: for beam search; its width is K.
    """
    model = step_model(decoder, memory)
    return _padded(beam_search(model, options, keep_ended=True), options.beam, model.start.device)


def _padded(hypotheses: list[list[Hypothesis]], number: int, device: torch.device) -> Sentences:
    ordered = [sorted(photo, key=lambda sentence: -len(sentence.tokens)) for photo in hypotheses]
    flat = [sentence for photo in ordered for sentence in photo + photo[-1:] * (number - len(photo))]
    tokens = [torch.tensor([*sentence.tokens, EOS]) for sentence in flat]
    logprobs = [torch.tensor(sentence.logprobs) for sentence in flat]
    padded = (
        pad_sequence(tokens, batch_first=True, padding_value=EOS),
        pad_sequence(logprobs, batch_first=True),
        torch.tensor([len(sentence.logprobs) for sentence in flat]),
    )
    return Sentences(*(tensor.unflatten(0, (len(hypotheses), number)).to(device) for tensor in padded))


def step_model(decoder: Decoder, memory: Any) -> StepModel:
    """Adapt a torch decoder to the interface of the searches.

    Args:
        decoder: its `step` is called in the decoder's current mode.
        memory: the memory of B photos, from `prepare`.
    """

    def step(tokens: Tensor, state: tuple[Tensor, ...], memory: tuple[Any, ...]) -> tuple[Tensor, Any, Tensor]:
        result = decoder.step(tokens, decoder.State(*state), decoder.Memory(*memory))
        # numpy has no bfloat16
        return result.logprobs.float(), tuple(result.state), result.attention.float()

    state = decoder.start(memory, 1)
    start = torch.full((state[0].shape[0], 1), BOS, dtype=torch.int64, device=state[0].device)
    return StepModel(step, tuple(state), tuple(memory), start, EOS, NEVER_WRITTEN)
