"""Supervised attention: look at the thing that is being named (`train.grounding`, `train.reliance`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from seesay.data.boxes import boxes_named
from seesay.data.records import BoxedObject, CaptionRecord
from seesay.data.tokens import EOS, PAD, CaptionTokenizer
from seesay.geometry import WHOLE, Box, box_coverage, crop_box
from seesay.training.inputs.batches import CaptionBatch
from seesay.training.objectives.reading import BoxedWords, Reading
from seesay.training.objectives.reliance import Reliance
from seesay.training.processes import global_mean

SHARED = 0.8  # by how much a region counts less where another thing's boxes cover it
SAME = 0.85  # the part of a thing that another one covers, from which on both have all of it
PLAIN = 0.5  # the coverage that one region of a thing, at least, must keep
TINY_MASS = 1e-6  # keeps the logarithm of no mass at all, and its gradient, finite

Boxes = tuple[Box, ...]


class Grounding(nn.Module):
    """Minus the log of the attention inside the boxes of the word being written.

        L = -w / N  sum over the N words that have boxes  log sum_i alpha_ti c_i / max_i c_i

    c_i is the fraction of region i inside the boxes of word t, less where the sentence names another
    thing there (`apart`): a shirt is in the box of the man, but "man" need not look at it. The loss
    follows Liu et al. 2017
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
        reliance: an additional term for the same words, or None.
    """

    def __init__(
        self,
        records: Sequence[CaptionRecord],
        tokenizer: CaptionTokenizer,
        grid: tuple[int, int],
        weight: float,
        reliance: Reliance | None = None,
    ) -> None:
        super().__init__()
        self.objects = [record.objects for record in records]
        self.tokenizer = tokenizer
        self.grid = grid
        self.weight = weight
        self.reliance = reliance
        self._mentioned: dict[tuple[int, tuple[int, ...]], dict[int, Boxes]] = {}
        for photo, record in enumerate(records):
            for number, caption in enumerate(record.captions):
                heads = _heads(record.objects, number)
                if heads:
                    ids = tuple(tokenizer.encode(caption))
                    words = tokenizer.word_numbers(caption)
                    by_token = {t: heads[word] for t, word in enumerate(words) if word in heads}
                    self._mentioned[photo, ids] = by_token

    def forward(self, reading: Reading, batch: CaptionBatch, progress: float = 0.0) -> Tensor:
        """The loss of a batch with the term of `reliance`, a scalar; 0 where no word has boxes.

        Args:
            reading: the batch's captions, or other sentences for its photos.
            batch: the photos; `crops` may be empty if all of each photo is visible.
            progress: the finished share of the run, 0 to 1.
        """
        words = self.words(reading.targets, batch.photos, batch.crops)
        loss = self.looking(reading.decoded.attention, words, batch.counts)
        if self.reliance:
            loss = loss + self.reliance(reading, words, batch, progress)
        return loss

    def looking(self, attention: Tensor, words: BoxedWords | None, counts: Tensor | int = 1) -> Tensor:
        """L for attention (B, K, L, P), whose rows sum to 1; `counts` as in `CaptionBatch`."""
        if words is None:
            return global_mean(attention.new_zeros(()), 0)
        cost = -words.mass(attention).clamp_min(TINY_MASS).log().mean()
        return self.weight * global_mean(cost, counts * len(words.inside))

    def words(self, sentences: Tensor, photos: Tensor, crops: Tensor) -> BoxedWords | None:
        """The words that have visible boxes, None if there are none.

        Args:
            sentences: (B, K, L) ids, as `Reading.targets`.
            photos: (B,) numbers of the photos.
            crops: (B, 4) the visible part of each photo, as in `CaptionBatch`; empty: all of it.
        """
        steps: list[tuple[int, int, int]] = []
        coverage: list[np.ndarray] = []
        visible = crops.tolist() or [WHOLE] * len(photos)
        for b, (photo, crop) in enumerate(zip(photos.tolist(), visible, strict=True)):
            if self.objects[photo]:
                for k, t, share in self._covered(photo, sentences[b].tolist(), tuple(crop)):
                    steps.append((b, k, t))
                    coverage.append(share)
        if not steps:
            return None
        b, k, t = torch.tensor(steps, device=sentences.device).unbind(dim=1)
        return BoxedWords((b, k, t), torch.from_numpy(np.stack(coverage)).to(sentences.device))

    def _covered(
        self, photo: int, sentences: Sequence[Sequence[int]], crop: Box
    ) -> Iterator[tuple[int, int, np.ndarray]]:
        """(k, t, c / max c) of each word with visible boxes in the sentences of a photo."""
        known: dict[Boxes, np.ndarray] = {}  # words of a photo often share boxes
        for k, tokens in enumerate(sentences):
            named = self.boxes(photo, _real(tokens))
            for boxes in set(named.values()) - known.keys():
                known[boxes] = self._coverage(boxes, crop)
            visible = {t: boxes for t, boxes in named.items() if known[boxes].any()}
            things = {boxes: known[boxes] for boxes in visible.values()}
            weights = {boxes: apart(coverage, [*things.values()]) for boxes, coverage in things.items()}
            for t, boxes in visible.items():
                yield k, t, weights[boxes]

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

    def _coverage(self, boxes: Boxes, crop: Box) -> np.ndarray:
        """(P,) float32, the fraction of each region inside the boxes; 0 where the crop shows nothing of them."""
        visible = [cropped for box in boxes if (cropped := crop_box(box, crop))]
        return box_coverage(visible, self.grid).ravel().astype(np.float32)


def apart(coverage: np.ndarray, named: Sequence[np.ndarray]) -> np.ndarray:
    """c / max c of a thing, where a region counts less the more other named things cover it.

    Other things that cover nearly all of it do not count. A thing that would keep no region that is
    mostly its own keeps all of them.

    Args:
        coverage: (P,) the fraction of each region inside the thing's boxes, not all 0.
        named: the same of all things that the sentence names.

    Returns:
        (P,) float32, at most 1.
    """
    covered = [other for other in named if np.minimum(coverage, other).sum() < SAME * coverage.sum()]
    if covered:
        left = coverage * (1 - SHARED * np.max(covered, axis=0))
        if left.max() >= PLAIN:
            coverage = left
    return (coverage / coverage.max()).astype(np.float32)


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
