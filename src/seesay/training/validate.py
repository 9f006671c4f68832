"""Validation: captions of the dev photos, scored as training goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from seesay.data.tokens import CaptionTokenizer, split_words
from seesay.metrics import CiderD, basic_scores, score_captions
from seesay.models.captioner import Captioner
from seesay.models.frozen import FrozenPart
from seesay.search import BeamOptions
from seesay.training.generate import generate
from seesay.training.inputs.photos import PhotoFiles, Photos

DEV_BATCH = 100  # photos searched together


class Validator:
    """Generates captions for the dev photos and scores the text, as whoever uses the model would see it.

    Args:
        captioner: as it is trained; weights are taken as they are when called.
        tokenizer: ids -> text.
        dev: photos with references.
        search: as the bundle will search.
        device: where the captioner is.
        frozen: of its encoder, where features of the dev photos are kept.
    """

    def __init__(
        self,
        captioner: Captioner,
        tokenizer: CaptionTokenizer,
        dev: Photos,
        search: BeamOptions,
        device: torch.device,
        frozen: FrozenPart | None = None,
    ) -> None:
        self.captioner, self.tokenizer, self.dev, self.search, self.device = captioner, tokenizer, dev, search, device
        self.frozen = frozen
        self.references = [[split_words(caption) for caption in record.captions] for record in dev.records]
        self.cider = CiderD(self.references)

    def __call__(self) -> tuple[dict[str, float], list[str]]:
        """(CIDEr-D and BLEU-4 of generated captions, three sample captions); tokens as `split_words` has them."""
        captions = self.captions()
        words = [split_words(caption) for caption in captions]
        figures = {
            "cider": float(np.mean(self.cider.score(words))),
            "bleu4": basic_scores(words, self.references).bleu[3],
        }
        shown = np.linspace(0, len(captions) - 1, num=min(3, len(captions)), dtype=int)
        return figures, [f"{self.dev.records[i].image.name}: {captions[i]}" for i in shown]

    def captions(self) -> list[str]:
        """The best caption of each dev photo."""
        found: list[str] = []
        for memory in self._memories():
            best = [beams[0] for beams in generate(self.captioner.decoder, memory, self.search)]
            found += [self.tokenizer.decode(hypothesis.tokens) for hypothesis in best]
        return found

    @torch.inference_mode()
    def _memories(self) -> Iterator[Any]:
        """What the decoder keeps of the dev photos, some at a time."""
        numbers, features = np.arange(len(self.dev.records)), self.dev.features
        groups = [numbers[start : start + DEV_BATCH] for start in range(0, len(numbers), DEV_BATCH)]
        if isinstance(features, PhotoFiles):
            for images in features.read(groups):
                yield self.captioner.prepare(torch.from_numpy(images).to(self.device))
            return
        for group in groups:
            regions = torch.from_numpy(features.take(group).astype(np.float32)).to(self.device)
            yield self.captioner.decoder.prepare(self.frozen.finish(regions) if self.frozen else regions)

    def scores(self, captioner: Captioner) -> dict[str, Any]:
        """Figures of a captioner's dev captions, official ones where the extra `eval` is installed."""
        self.captioner = captioner.eval().to(self.device)
        self.frozen = FrozenPart(captioner.encoder, self.frozen.length) if self.frozen else None
        hypotheses = {r.id: caption for r, caption in zip(self.dev.records, self.captions(), strict=True)}
        references = {r.id: list(r.captions) for r in self.dev.records}
        return {"dev": score_captions(hypotheses, references, split_words).to_dict()}
