"""Rerank beams by the captions of similar training photos.

    python scripts/neighbours.py FLICKR8K COCO_PART

After Devlin et al. 2015 (https://arxiv.org/abs/1505.04467): a sentence's CIDEr-D against the
captions of the 200 most similar training photos, weighted by their similarity, is added to its rank
by log-probability. The similarity of two photos is that of the means of the decoder's keys and
values. Prints, for 5, 10 and 20 beams, CIDEr (x100, seesay's own tokeniser) of the dev photos,
without and with reranking.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np

import seesay
from seesay.data.readers import read_dataset
from seesay.data.tokens import split_words
from seesay.metrics import CiderD

BATCH, NEAREST, DIRECTIONS = 25, 200, 128


def main() -> None:
    """Score both choices on both data sets."""
    model = seesay.load()
    sets = [read_dataset([path], "auto", "auto", None, 1) for path in sys.argv[1:3]]
    training = [record for dataset in sets for record in dataset.split("train")]
    points = np.stack([means(model.encode(record.image).input.arrays.memory) for record in training])
    centre = points.mean(0)
    spread, axes = np.linalg.eigh(np.cov(points.T, bias=True))
    whiten = axes[:, -DIRECTIONS:] / spread[-DIRECTIONS:] ** 0.25

    def directions(points: np.ndarray) -> np.ndarray:
        turned = (points - centre) @ whiten
        return turned / np.linalg.norm(turned, axis=-1, keepdims=True)

    known = directions(points)
    said_of = CiderD([[split_words(caption) for caption in record.captions] for record in training])
    for path, dataset in zip(sys.argv[1:3], sets, strict=True):
        dev = list(dataset.split("dev"))
        photos = [model.encode(record.image).input.arrays for record in dev]
        alike = directions(np.stack([means(photo.memory) for photo in photos])) @ known.T
        judge = CiderD([[split_words(caption) for caption in record.captions] for record in dev])
        for beam in (5, 10, 20):
            options = replace(model.bundle.search, beam=beam)
            batches = (photos[n : n + BATCH] for n in range(0, len(photos), BATCH))
            found = [beams for batch in batches for beams in model.engine.search(batch, options, keep_ended=True)]
            plain, judged = [], []
            for sentences, cosine in zip(found, alike, strict=True):
                words = [split_words(model.bundle.tokenizer.decode(sentence.tokens)) for sentence in sentences]
                near = np.argpartition(-cosine, NEAREST)[:NEAREST]
                weight = np.exp(12 * (cosine[near] - cosine.max()))
                asked = [sentence for sentence in words for _ in near], np.tile(near, len(words))
                agreed = said_of.score(*asked).reshape(-1, NEAREST) @ weight / weight.sum()
                rank = [s.score / len(s.logprobs) ** options.length_penalty for s in sentences]
                plain.append(words[0])
                judged.append(words[int(np.argmax(rank + agreed))])
            scores = [judge.score(said, range(len(dev))).mean() for said in (plain, judged)]
            print(path, beam, *(f"{100 * score:.1f}" for score in scores))


def means(memory: tuple[np.ndarray, ...]) -> np.ndarray:
    """The mean over the regions of each array of a photo's memory, one after the other."""
    return np.concatenate([array[0].mean(-2).ravel() for array in memory])


if __name__ == "__main__":
    main()
