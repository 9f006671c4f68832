"""Cascading randomisation: how similar maps remain when weights are made random. [torch]"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import numpy as np
import torch
from torch import nn

from seesay.data.tokens import BOS
from seesay.evaluation.with_torch.sentences import TorchSentences
from seesay.metrics.localisation import Share
from seesay.metrics.statistics import rank_correlation
from seesay.models.decoder import Decoder


@torch.inference_mode()
def randomised(decoder: Decoder, sentences: TorchSentences, seed: int = 0) -> dict[str, Share]:
    """Cascading randomisation (Adebayo et al. 2018, https://arxiv.org/abs/1810.03292).

    From the output to the input, the parts of the decoder are randomised one after the other, by
    permuting the numbers in each weight. A map that hardly changes does not depend on what the
    model has learnt. Parts after the attention, such as the output layer, cannot change the maps of
    given sentences.

    Args:
        decoder: the decoder, in eval mode; it is not changed.
        sentences: sentences with the words to look at.
        seed: the seed of the permutations.

    Returns:
        The name of the last randomised part -> rank correlation, -1 to 1, of each word's map with
        that of the original decoder.
    """
    random = deepcopy(decoder)
    generator = torch.Generator().manual_seed(seed)
    before = _maps(decoder, sentences)
    owners = [name for name, words in zip(sentences.photos, sentences.positions, strict=True) for _ in words]
    agreement: dict[str, Share] = {}
    for name, part in _parts_from_the_output(random):
        for parameter in part.parameters():
            order = torch.randperm(parameter.numel(), generator=generator)
            parameter.copy_(parameter.flatten()[order].view_as(parameter))
        maps = _maps(random, sentences)
        correlations = [rank_correlation(a, b) for a, b in zip(before, maps, strict=True)]
        agreement[name] = Share.of(correlations, owners)
    return agreement


def _parts_from_the_output(decoder: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules with weights, in the reverse of the order in which a decoder makes them."""
    for name, child in reversed(list(decoder.named_children())):
        if isinstance(child, nn.ModuleList):
            yield from ((f"{name}.{inner}", part) for inner, part in reversed(list(child.named_children())))
        elif any(True for _ in child.parameters()):
            yield name, child


def _maps(decoder: Decoder, sentences: TorchSentences) -> list[np.ndarray]:
    """(P,) of each word to look at, sentence after sentence."""
    maps: list[np.ndarray] = []
    for regions, ids, positions in zip(sentences.regions, sentences.ids, sentences.positions, strict=True):
        memory = decoder.prepare(regions.unsqueeze(0))
        read = torch.tensor([[[BOS, *ids[:-1]]]])  # (1, 1, L): the word before each word
        attention = decoder(read, torch.tensor([[len(ids)]]), memory).attention[0, 0]  # (L, P)
        maps += [attention[t].float().numpy() for t in positions]
    return maps
