"""Print statistics of human captions: `python scripts/human_statistics.py FLICKR8K_FOLDER`.

They are those of the first caption of each dev photo, compared with the training captions.
"""

from __future__ import annotations

import sys

from seesay.data.readers import read_dataset
from seesay.data.tokens import split_words
from seesay.metrics import caption_statistics


def main() -> None:
    """Print the statistics."""
    data = read_dataset(sys.argv[1])
    training = [split_words(caption) for r in data.split("train") for caption in r.captions]
    first_captions = [split_words(record.captions[0]) for record in data.split("dev")]
    statistics = caption_statistics(first_captions, training)
    print(statistics.table(), statistics.to_dict(), sep="\n")


if __name__ == "__main__":
    main()
