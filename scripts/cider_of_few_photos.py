"""How CIDEr depends on the number of photos: `python scripts/cider_of_few_photos.py
FLICKR8K_FOLDER`.

Scores the first caption of each dev photo against its other four, for 20 random draws of each size.
"""

from __future__ import annotations

import random
import sys
from statistics import mean, stdev

from seesay.data.readers import read_dataset
from seesay.data.tokens import split_words
from seesay.metrics import CiderD

SIZES, DRAWS = (1, 2, 5, 10, 20, 50, 100, 200, 500), 20


def cider(photos: list[list[list[str]]]) -> float:
    """CIDEr (x100) of the first captions."""
    references = CiderD([captions[1:] for captions in photos])
    return 100 * references.score([captions[0] for captions in photos]).mean()


def main() -> None:
    """Print mean and standard deviation for each number of photos."""
    records = read_dataset(sys.argv[1]).split("dev")
    dev = [[split_words(caption) for caption in record.captions] for record in records]
    for size in SIZES:
        scores = [cider(random.Random(seed).sample(dev, size)) for seed in range(DRAWS)]
        print(f"{size:4} photos: {mean(scores):5.1f}, standard deviation {stdev(scores):4.1f}")
    print(f"{len(dev)} photos: {cider(dev):.1f}")


if __name__ == "__main__":
    main()
