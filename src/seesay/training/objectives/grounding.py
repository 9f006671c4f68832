"""Supervised attention: look at the thing that is being named (`train.grounding`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from seesay.data.boxes import boxes_named
from seesay.data.records import BoxedObject, CaptionRecord
from seesay.data.tokens import EOS, PAD, CaptionTokenizer
from seesay.geometry import WHOLE, Box, box_coverage, crop_box
from seesay.training.processes import global_mean

TINY_MASS = 1e-6  # keeps the logarithm of no mass at all, and its gradient, finite

Boxes = tuple[Box, ...]


class Grounding(nn.Module):
    """Minus the log of the attention inside the boxes of the word being written.

        L = -w / N  sum over the N words that have boxes  log sum_i alpha_ti c_i / max_i c_i

    c_i is the fraction of region i inside the boxes of word t. The loss follows Liu et al. 2017
    (https://arxiv.org/abs/1605.09553), with the log of the summed attention for their
    cross-entropy. Dividing by the largest c_i makes 0 the lowest loss even for boxes smaller than a
    region. Where the data link phrases of a caption to boxes, a phrase's head word has the phrase's
    boxes. Any other word, also in sentences that the model generates, has the boxes of the thing
    that it names (`seesay.data.boxes.boxes_named`).

    Args:
        records: the training photos, in the order of `CaptionBatch.photos`.
        tokenizer: the decoder's.
        grid: (rows, cols) of the regions.
        weight: w (`train.grounding`).
    """

    def __init__(
        self,
        records: Sequence[CaptionRecord],
        tokenizer: CaptionTokenizer,
        grid: tuple[int, int],
        weight: float,
    ) -> None:
        super().__init__()
        self.objects = [record.objects for record in records]
        self.tokenizer = tokenizer
        self.grid = grid
        self.weight = weight
        self._mentioned: dict[tuple[int, tuple[int, ...]], dict[int, Boxes]] = {}
        for photo, record in enumerate(records):
            for number, caption in enumerate(record.captions):
                heads = _heads(record.objects, number)
                if heads:
                    ids = tuple(tokenizer.encode(caption))
                    words = tokenizer.word_numbers(caption)
                    by_token = {t: heads[word] for t, word in enumerate(words) if word in heads}
                    self._mentioned[photo, ids] = by_token

    def forward(
        self, attention: Tensor, sentences: Tensor, photos: Tensor, crops: Tensor, counts: Tensor | int = 1
    ) -> Tensor:
        """The loss of a batch, a scalar; 0 where no word has boxes.

        Args:
            attention: (B, K, L, P), rows summing to 1.
            sentences: (B, K, L) ids of the words being written; padding and everything after an end
                token do not count.
            photos: (B,) numbers of the photos.
            crops: (B, 4) the visible part of each photo, as in `CaptionBatch`; empty: all of it.
            counts: as in `CaptionBatch`.
        """
        steps: list[tuple[int, int, int]] = []  # (b, k, t) of each word with boxes
        coverage: list[np.ndarray] = []  # its c / max c, (P,)
        visible = crops.tolist() or [WHOLE] * len(photos)
        for b, (photo, crop) in enumerate(zip(photos.tolist(), visible, strict=True)):
            if self.objects[photo]:
                for k, t, share in self._covered(photo, sentences[b].tolist(), tuple(crop)):
                    steps.append((b, k, t))
                    coverage.append(share)
        if not steps:
            return global_mean(attention.new_zeros(()), 0)
        inside = torch.from_numpy(np.stack(coverage)).to(attention.device)  # (N, P)
        mass = (attention[tuple(zip(*steps, strict=True))].float() * inside).sum(dim=-1)  # (N,)
        return -self.weight * global_mean(mass.clamp_min(TINY_MASS).log().mean(), counts * len(steps))

    def _covered(
        self, photo: int, sentences: Sequence[Sequence[int]], crop: Box
    ) -> Iterator[tuple[int, int, np.ndarray]]:
        """(k, t, c / max c) of each word with visible boxes in the sentences of a photo."""
        known: dict[Boxes, np.ndarray | None] = {}  # words of a photo often share boxes
        for k, tokens in enumerate(sentences):
            for t, boxes in self.boxes(photo, _real(tokens)).items():
                if boxes not in known:
                    known[boxes] = self._coverage(boxes, crop)
                if (share := known[boxes]) is not None:
                    yield k, t, share

    def boxes(self, photo: int, ids: Sequence[int]) -> dict[int, Boxes]:
        """The boxes of each token that names something: {the token's index: boxes}.

        Args:
            photo: the photo's number.
            ids: a sentence without start and end.
        """
        named: dict[int, Boxes] = {}
        for span in self.tokenizer.words(ids):
            if boxes := boxes_named(span.text, self.objects[photo]):
                named |= dict.fromkeys(range(span.start, span.stop), boxes)
        return named | self._mentioned.get((photo, tuple(ids)), {})

    def _coverage(self, boxes: Boxes, crop: Box) -> np.ndarray | None:
        """c / max c, (P,) float32; None where the crop shows nothing of the boxes."""
        visible = [cropped for box in boxes if (cropped := crop_box(box, crop))]
        share = box_coverage(visible, self.grid).ravel()
        return (share / share.max()).astype(np.float32) if visible and share.max() > 0 else None


def _heads(objects: Sequence[BoxedObject], caption: int) -> dict[int, Boxes]:
    """{word number of a phrase's head: boxes of the phrase} for one of the photo's captions."""
    heads: dict[int, Boxes] = {}
    for thing in objects:
        for number, word in thing.mentions:
            if number == caption:
                heads[word] = (*heads.get(word, ()), *thing.boxes)
    return heads


def _real(tokens: Sequence[int]) -> list[int]:
    """The tokens before the end or the padding."""
    end = next((t for t, token in enumerate(tokens) if token in (EOS, PAD)), len(tokens))
    return list(tokens[:end])
