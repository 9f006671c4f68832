"""Captions from a torch decoder, by the search that the runtime uses too."""

from __future__ import annotations

import torch

from seesay.data.tokens import BOS, EOS, PAD, UNK
from seesay.models.decoder import Decoder, Memory
from seesay.search import Hypothesis, SearchOptions, beam_search


@torch.inference_mode()
def generate(decoder: Decoder, memory: Memory, options: SearchOptions) -> list[list[Hypothesis]]:
    """The best sentences of each photo, best first; the decoder is used as it is, so put it in eval mode.

    Args:
        decoder: any decoder with `start` and `step`.
        memory: of B photos, from `prepare`.
        options: width, length, ranking.
    """

    def step(tokens, state):
        parts = decoder.step(tokens, decoder.State(*state), memory)
        return parts.logprobs.float(), tuple(parts.state), parts.attention

    state = tuple(decoder.start(memory, options.beam))
    values = memory.values
    start = torch.full((values.shape[0], options.beam), BOS, dtype=torch.int64, device=values.device)
    return beam_search(step, state, start, EOS, (PAD, BOS, UNK), options)
