"""Captions as input of the torch model, for tests inside the decoder. [torch]"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seesay.caption import Caption
from seesay.data.records import CaptionRecord
from seesay.data.tokens import CaptionTokenizer
from seesay.metrics.localisation import NamedWord
from seesay.models.captioner import Captioner


@dataclass(frozen=True)
class TorchSentences:
    """Sentences about photos, one each.

    Attributes:
        regions: the regions of each photo, (P, D), from the encoder.
        ids: the tokens of each sentence, without start and end.
        positions: for each sentence, the positions of the tokens to look at.
        photos: the photos' names.
    """

    regions: Sequence[Tensor]
    ids: Sequence[Sequence[int]]
    positions: Sequence[Sequence[int]]
    photos: Sequence[str]


@torch.inference_mode()
def torch_sentences(
    captioner: Captioner,
    tokenizer: CaptionTokenizer,
    records: Sequence[CaptionRecord],
    captions: Sequence[Caption],
    words: Sequence[Sequence[NamedWord]],
) -> TorchSentences:
    """Encode photos and captions.

    Args:
        captioner: the model, in eval mode and float32.
        tokenizer: the model's vocabulary.
        records: the photos.
        captions: one of each photo.
        words: for each caption, the words to look at; of a word's tokens the first one is used.
    """
    regions, ids, positions = [], [], []
    for record, caption, named in zip(records, captions, words, strict=True):
        pixels = torch.from_numpy(captioner.encoder.transform(record.image)).unsqueeze(0)
        regions.append(captioner.encoder(pixels).regions[0])
        ids.append(tokenizer.encode(caption.text))
        spans = tokenizer.words(ids[-1])
        positions.append([spans[word.position].start for word in named])
    return TorchSentences(regions, ids, positions, [record.id for record in records])
