"""Compare the two kinds of beam search: `python scripts/fixed_or_refilled.py PHOTO_OR_FOLDER...`.

Searches each photo with a `RefilledBeam` and with a `FixedBeam`. Prints the decoder's steps and the
sentences found per photo for both, and how many of the likeliest sentences differ.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import seesay
from seesay.data.images import find_photos
from seesay.search import Hypothesis


def main() -> None:
    """Search each photo twice."""
    photos = [str(photo) for photo in find_photos(sys.argv[1:])]
    model, steps = seesay.load(), [0, 0]
    found: list[list[list[Hypothesis]]] = [[], []]
    for photo in photos:
        encoded = model.encode(photo).input.arrays
        for keep_ended in (False, True):

            def step(*arguments: Any, kind: int = keep_ended) -> Any:
                steps[kind] += 1
                return model.engine.decoder(*arguments)

            engine = replace(model.engine, decoder=step)
            found[keep_ended] += engine.search([encoded], model.bundle.search, keep_ended)
    different = sum(one.tokens != other.tokens for [one, *_], [other, *_] in zip(*found, strict=True))
    for name, kind in (("refilled", 0), ("fixed", 1)):
        sentences = sum(map(len, found[kind])) / len(photos)
        print(f"{name}: {steps[kind] / len(photos):.1f} steps a photo, {sentences:.1f} sentences")
    print(f"{different} of {len(photos)} photos: another likeliest sentence")


if __name__ == "__main__":
    main()
