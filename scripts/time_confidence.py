"""How long confidence takes of one photo: `python scripts/time_confidence.py PHOTO_OR_FOLDER...`.

Captions 100 photos six times, in changing order without confidence, with the confidence of the likeliest
sentence, with the choice of the sentence by it, and cautiously. Prints the median time of each, and
the median difference from the first for the same photo.
"""

from __future__ import annotations

import sys
from random import Random
from time import perf_counter
from typing import Any

import numpy as np

import seesay
from seesay.data.images import find_photos

PHOTOS, ROUNDS = 100, 6
WAYS: dict[str, dict[str, Any]] = {
    "no confidence": {},
    "likeliest": {"likeliest": True},
    "chosen": {},
    "cautious": {"cautious": True},
}


def main() -> None:
    """Caption the photos and print the times."""
    photos = [str(photo) for photo in find_photos(sys.argv[1:])][:PHOTOS]
    model = seesay.load()
    judge, times, order = model.judge, {way: [] for way in WAYS}, Random(0)
    for photo in photos * ROUNDS:
        for way in order.sample(list(WAYS), len(WAYS)):
            model.judge = None if way == "no confidence" else judge
            start = perf_counter()
            model.caption(photo, **WAYS[way])
            times[way].append(1e3 * (perf_counter() - start))
    base = np.array(times["no confidence"])
    for way, measured in times.items():
        print(f"{way}: {np.median(measured):.2f} ms, {np.median(np.array(measured) - base):+.2f} ms")


if __name__ == "__main__":
    main()
