"""Score an ensemble of models: `python scripts/ensemble.py FLICKR8K COCO_PART BUNDLE...`.

A single search takes the mean of the models' probabilities at every word. Prints CIDEr (x100,
seesay's own tokeniser) on the dev photos of both sets. The models must have the same vocabulary.
"""

from __future__ import annotations

import sys
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

import seesay
from seesay.data.readers import read_dataset
from seesay.data.tokens import split_words
from seesay.metrics import CiderD
from seesay.runtime import CaptionModel, Engine
from seesay.runtime.sessions import Encoded
from seesay.search import Hypothesis

BATCH = 25


class Ensemble:
    """Several models, whose states and memories are concatenated as tuples."""

    def __init__(self, models: list[CaptionModel]) -> None:
        self.models = models
        # of the state and of the memory: the arrays of each model
        self.parts: list[list[slice]] = []

    def encode(self, photo: Path) -> Encoded:
        """The states and memories of a photo from all models."""
        encoded = [model.encode(photo).input.arrays for model in self.models]
        kinds = list(zip(*encoded, strict=True))
        self.parts = [[slice(*ends) for ends in pairwise(accumulate(map(len, kind), initial=0))] for kind in kinds]
        state, memory = (sum(kind, ()) for kind in kinds)
        return Encoded(state, memory)

    def step(self, tokens: np.ndarray, state: Any, memory: Any) -> tuple[np.ndarray, Any, np.ndarray]:
        """The mean of the models' probabilities; the attention is the last model's."""
        total, after, attention = 0.0, (), None
        for model, own_state, own_memory in zip(self.models, *self.parts, strict=True):
            logprobs, grown, attention = model.engine.decoder(tokens, state[own_state], memory[own_memory])
            total, after = total + np.exp(logprobs), (*after, *grown)
        assert attention is not None
        return np.log(total / len(self.models) + 1e-12).astype(np.float32), after, attention

    def search(self, photos: list[Path]) -> list[Hypothesis]:
        """The best sentence of each photo, from searches without early end."""
        engine = Engine(self.models[0].engine.encoder, self.step)
        found = engine.search([self.encode(photo) for photo in photos], self.models[0].bundle.search, keep_ended=True)
        return [best for best, *_ in found]


def main() -> None:
    """Score the ensemble on both data sets."""
    ensemble = Ensemble([seesay.load(folder, precision="float32") for folder in sys.argv[3:]])
    tokenizer = ensemble.models[0].bundle.tokenizer
    for path in sys.argv[1:3]:
        dev = list(read_dataset([path], "auto", "auto", None, 1).split("dev"))
        photos = [record.image for record in dev]
        found = [best for n in range(0, len(photos), BATCH) for best in ensemble.search(photos[n : n + BATCH])]
        said = [split_words(tokenizer.decode(best.tokens)) for best in found]
        cider = CiderD([[split_words(caption) for caption in record.captions] for record in dev])
        print(path, f"{100 * cider.score(said, range(len(dev))).mean():.2f}")


if __name__ == "__main__":
    main()
