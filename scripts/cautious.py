"""What --cautious changes on the dev photos of data sets.

python scripts/cautious.py flickr8k-coco PATH/TO/flickr8k PATH/TO/coco_part
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import seesay
from seesay.caption import Caption
from seesay.data.readers import read_dataset
from seesay.data.things import supports, thing_of
from seesay.data.tokens import split_words
from seesay.metrics import CiderD
from seesay.metrics.statistics import FUNCTION_WORDS


def main(name: str, *data: str) -> None:
    """Print CIDEr, named things without support, and content words, without and with the option."""
    model = seesay.load(name)
    for path in data:
        records = read_dataset([Path(path)]).split("dev")
        references = [[split_words(text) for text in record.captions] for record in records]
        supported = [supports(word for sentence in several for word in sentence) for several in references]
        cider = CiderD(references)
        for cautious in (False, True):
            results = model.caption_many([record.image for record in records], cautious=cautious)
            captions = [split_words(result.text) for result in results if isinstance(result, Caption)]
            named = [(thing, i) for i, words in enumerate(captions) for word in words if (thing := thing_of(word))]
            missing = sum(thing not in supported[i] for thing, i in named)
            content = np.mean([sum(word not in FUNCTION_WORDS for word in words) for words in captions])
            score = 100 * cider.score(captions).mean()
            print(
                f"{Path(path).name}, {'cautious' if cautious else 'plain'}: CIDEr {score:.1f}, "
                f"{missing} of {len(named)} things without support, {content:.2f} content words a caption",
                flush=True,
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
