"""Captions from a torch decoder, by the search that the runtime uses too."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from seesay.data.tokens import BOS, EOS, NEVER_WRITTEN
from seesay.models.decoder import Decoder
from seesay.search import Hypothesis, Samples, SearchOptions, beam_search, sample


@torch.inference_mode()
def generate(decoder: Decoder, memory: Any, options: SearchOptions) -> list[list[Hypothesis]]:
    """The best sentence of each photo.

    The decoder is used as it is, so put it in eval mode.

    Args:
        decoder: any decoder with `start` and `step`.
        memory: of B photos, from `prepare`.
        options: width, length, ranking.
    """
    return beam_search(*_search_of(decoder, memory, 1), EOS, NEVER_WRITTEN, options, best_only=True)


@torch.no_grad()
def draw(decoder: Decoder, memory: Any, number: int, max_words: int) -> Samples:
    """`number` sentences drawn for each photo, the longest first; the decoder is used as it is.

    Noise comes from torch's own generator. The samples can be read by `decoder.forward`, which `generate`'s could not
    be: tensors of inference mode have no part in a gradient.

    Args:
        decoder: any decoder with `start` and `step`.
        memory: of B photos, from `prepare`.
        number: K.
        max_words: the end token not counted.
    """
    searched = _search_of(decoder, memory, number)
    device = searched[-1].device
    random = lambda shape: torch.rand(shape, device=device)  # noqa: E731
    drawn = sample(*searched, EOS, random, NEVER_WRITTEN, max_words)
    order = drawn.lengths.argsort(dim=1, descending=True, stable=True)
    each = order.unsqueeze(-1).expand_as(drawn.tokens)
    return Samples(drawn.tokens.gather(1, each), drawn.logprobs.gather(1, each), drawn.lengths.gather(1, order))


def beams(decoder: Decoder, memory: Any, options: SearchOptions) -> Samples:
    """What beam search finds for each photo, the longest sentence first; the decoder is used as it is.

    They can be read by `decoder.forward`, as `draw`'s can. Log-probabilities are the decoder's over all words. Where
    the search found fewer than `options.beam` sentences, the shortest one is there again.

    Args:
        decoder: any decoder with `start` and `step`.
        memory: of B photos, from `prepare`.
        options: K is its width.
    """
    with torch.no_grad():
        searched = _search_of(decoder, memory, 1)
        found = beam_search(*searched, EOS, NEVER_WRITTEN, options)
    ordered = [sorted(photo, key=lambda beam: -len(beam.tokens)) for photo in found]
    each = [beam for photo in ordered for beam in photo + photo[-1:] * (options.beam - len(photo))]
    tokens = pad_sequence([torch.tensor([*beam.tokens, EOS]) for beam in each], batch_first=True, padding_value=EOS)
    logprobs = pad_sequence([torch.tensor(beam.logprobs) for beam in each], batch_first=True)
    lengths = torch.tensor([len(beam.logprobs) for beam in each])
    device, shape = searched[-1].device, (len(found), options.beam)
    return Samples(*(part.unflatten(0, shape).to(device) for part in (tokens, logprobs, lengths)))


def _search_of(decoder: Decoder, memory: Any, beams: int) -> tuple[Any, Any, Any, Tensor]:
    """The decoder as a search sees it: step, first state, memory, start tokens (B, beams)."""

    def step(tokens: Tensor, state: tuple[Tensor, ...], memory: tuple[Any, ...]) -> tuple[Tensor, Any, Tensor]:
        parts = decoder.step(tokens, decoder.State(*state), decoder.Memory(*memory))
        return parts.logprobs.float(), tuple(parts.state), parts.attention.float()  # numpy has no bfloat16

    state = decoder.start(memory, beams)
    start = torch.full((state[0].shape[0], beams), BOS, dtype=torch.int64, device=state[0].device)
    return step, tuple(state), tuple(memory), start
