"""Validation: captions of the dev photos are generated and scored after each epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from seesay.caption import BY_LOGPROB
from seesay.data.tokens import CaptionTokenizer, split_words
from seesay.metrics import CiderD, basic_scores, score_captions
from seesay.models.captioner import Captioner
from seesay.models.frozen import FrozenPart
from seesay.search import BeamOptions
from seesay.training.generate import generate
from seesay.training.inputs.photos import PhotoFiles, Photos
from seesay.training.processes import all_items, rank_and_count

BATCH = 100  # photos searched together


class Validator:
    """Generates captions for the dev photos as the finished model will, and scores their text.

    Args:
        captioner: the model in training; each call uses its current weights.
        tokenizer: ids -> text.
        dev: photos with references.
        search: the bundle's search options.
        device: the captioner's device.
        frozen: the frozen part of its encoder, if `dev` has cached features.
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
        """Caption the dev photos.

        Returns:
            CIDEr-D and BLEU-4 of the captions, with `split_words` as tokeniser, and three of the
            captions to print.
        """
        captions = self.captions(*rank_and_count())
        words = [split_words(caption) for caption in captions]
        figures = {
            "cider": float(np.mean(self.cider.score(words))),
            "bleu4": basic_scores(words, self.references).bleu[3],
        }
        shown = np.linspace(0, len(captions) - 1, num=min(3, len(captions)), dtype=int)
        return figures, [f"{self.dev.records[i].image.name}: {captions[i]}" for i in shown]

    def captions(self, rank: int = 0, processes: int = 1) -> list[str]:
        """The best caption of each dev photo; processes share the work, and all get all captions."""
        numbers = np.arange(len(self.dev.records))[rank::processes]
        captions: list[str] = []
        for memory in self._memories(numbers):
            best = [hypotheses[0] for hypotheses in generate(self.captioner.decoder, memory, self.search)]
            captions += [self.tokenizer.decode(hypothesis.tokens) for hypothesis in best]
        return all_items(captions) if processes > 1 else captions

    @torch.inference_mode()
    def _memories(self, numbers: np.ndarray) -> Iterator[Any]:
        """The decoder's memory of the dev photos with these numbers, batch by batch."""
        features = self.dev.features
        groups = [numbers[start : start + BATCH] for start in range(0, len(numbers), BATCH)]
        if isinstance(features, PhotoFiles):
            for images in features.read(groups):
                yield self.captioner.prepare(torch.from_numpy(images).to(self.device))
            return
        for group in groups:
            regions = torch.from_numpy(features.take(group).astype(np.float32)).to(self.device)
            yield self.captioner.decoder.prepare(self.frozen.run_trained_part(regions) if self.frozen else regions)

    def scores(self, captioner: Captioner) -> dict[str, Any]:
        """Dev scores of a captioner; the official ones if the extra `eval` is installed."""
        self.captioner = captioner.eval().to(self.device)
        self.frozen = FrozenPart(captioner.encoder, self.frozen.length) if self.frozen else None
        hypotheses = {r.id: caption for r, caption in zip(self.dev.records, self.captions(), strict=True)}
        references = {r.id: list(r.captions) for r in self.dev.records}
        scores = score_captions(hypotheses, references, split_words).to_dict()
        return {"dev": {"chosen_by": BY_LOGPROB, **scores}}
