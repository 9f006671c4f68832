"""Teacher-forced passes over sentences, and the words in them that name things with boxes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from seesay.models.decoder import Decoded, Decoder


class Reading(NamedTuple):
    """A pass over sentences, which can be repeated.

    Attributes:
        decoder: it read them.
        targets: (B, K, L) ids of the words to predict; padding and everything after an end token do
            not count.
        decoded: the result.
        again: repeats the pass.
    """

    decoder: Decoder
    targets: Tensor
    decoded: Decoded
    again: Callable[[], Decoded]


class BoxedWords(NamedTuple):
    """The N words of a batch that have visible boxes.

    Attributes:
        steps: (b, k, t), the indices of the words, (N,) each.
        inside: (N, P) c / max c, where c is the fraction of a region inside the word's boxes.
    """

    steps: tuple[Tensor, Tensor, Tensor]
    inside: Tensor

    def mass(self, attention: Tensor) -> Tensor:
        """The attention inside each word's boxes: (B, K, L, P) -> (N,), 0 to 1."""
        return (attention[self.steps].float() * self.inside).sum(dim=-1)


def read(decoder: Decoder, targets: Tensor, inputs: Tensor, lengths: Tensor, *memory: Any) -> Reading:
    """Read sentences.

    Args:
        decoder: reads.
        targets: as in `Reading`.
        inputs: (B, K, L) ids, start token first.
        lengths: (B, K) real words of each sentence.
        memory: the photos' memory, and further arguments of the decoder.
    """
    again = partial(decoder, inputs, lengths, *memory)
    return Reading(decoder, targets, again(), again)
