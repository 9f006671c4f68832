"""Rerank beams by their agreement with samples: `python scripts/consensus.py FLICKR8K [BUNDLE]`.

For each dev photo, takes the candidate with the highest CIDEr-D against 20 samples, with document
frequencies of the training captions. Prints CIDEr (x100, seesay's own tokeniser) of the first beam,
and of the best candidate among the beams, among the samples and among both.
"""

from __future__ import annotations

import argparse

import seesay
from seesay.data.readers import read_dataset
from seesay.data.tokens import split_words
from seesay.metrics import CiderD

BEAM, SAMPLES = 5, 20


def main() -> None:
    """Score the four choices."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("bundle", nargs="?")
    parser.add_argument("--photos", type=int, default=500)
    options = parser.parse_args()
    model = seesay.load(options.bundle)
    data = read_dataset(options.data)
    training, dev = ([r.captions for r in data.split(name)] for name in ("train", "dev"))
    photos = [model.encode(record.image) for record in data.split("dev")[: options.photos]]
    beams = [[split_words(c.text) for c in model.alternatives(photo, BEAM, likeliest=True)] for photo in photos]
    samples = [[split_words(c.text) for c in model.sample(photo, SAMPLES, temperature=1, top_p=1)] for photo in photos]
    jury = CiderD(samples, corpus=[[split_words(c) for c in captions] for captions in training])
    judge = CiderD([[split_words(c) for c in captions] for captions in dev[: len(photos)]])

    def choose(candidates: list[list[list[str]]]) -> list[list[str]]:
        scores = [jury.score(c, [photo] * len(c)) for photo, c in enumerate(candidates)]
        return [c[int(s.argmax())] for c, s in zip(candidates, scores, strict=True)]

    choices = {
        "beam": [sentences[0] for sentences in beams],
        "best of the beams": choose(beams),
        "best of the samples": choose(samples),
        "best of both": choose([b + s for b, s in zip(beams, samples, strict=True)]),
    }
    for name, sentences in choices.items():
        print(f"{name}: {100 * judge.score(sentences, range(len(photos))).mean():.1f}")


if __name__ == "__main__":
    main()
