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
        regions: of each photo (P, D), from the encoder.
        ids: of each sentence, without start and end.
        positions: of each sentence the tokens to look at.
        photos: their names.
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
        captioner: in eval mode, in float32.
        tokenizer: of its vocabulary.
        records: the photos.
        captions: one of each photo.
        words: of each caption, those to look at; of several tokens the first is taken.
    """
    regions, ids, positions = [], [], []
    for record, caption, named in zip(records, captions, words, strict=True):
        pixels = torch.from_numpy(captioner.encoder.transform(record.image)).unsqueeze(0)
        regions.append(captioner.encoder(pixels).regions[0])
        ids.append(tokenizer.encode(caption.text))
        spans = tokenizer.words(ids[-1])
        positions.append([spans[word.position].start for word in named])
    return TorchSentences(regions, ids, positions, [record.id for record in records])
