"""Compare precisions by CIDEr: `python scripts/precisions.py FLICKR8K COCO_PART BUNDLE...`.

Prints for each bundle CIDEr (x100, beam 5, seesay's own tokeniser) on the dev photos of both sets:
in float32, with the decoder in 8 bits, and with both in 8 bits.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np

from seesay.bundle.format import open_bundle
from seesay.caption import Caption
from seesay.data.readers import read_dataset
from seesay.data.tokens import split_words
from seesay.metrics import CiderD
from seesay.runtime import CaptionModel, Engine
from seesay.runtime.sessions import Precision


def mixed(folder: str, encoder: Precision, decoder: Precision) -> CaptionModel:
    """A model whose encoder and decoder have different precisions."""
    bundle = open_bundle(folder)

    def engine(threads: int) -> Engine:
        encodes = Engine.open(bundle.folder, threads, encoder)
        writes = Engine.open(bundle.folder, threads, decoder)
        return replace(writes, encoder=encodes.encoder, encoder_precision=encodes.encoder_precision)

    return CaptionModel(bundle, engines=engine)


def main() -> None:
    """Score each bundle three times."""
    sets = [list(read_dataset([path], "auto", "auto", None, 1).split("dev")) for path in sys.argv[1:3]]
    dev = [record for records in sets for record in records]
    cider = CiderD([[split_words(caption) for caption in record.captions] for record in dev])
    precisions: list[tuple[Precision, Precision]] = [("float32", "float32"), ("float32", "int8"), ("int8", "int8")]
    for bundle in sys.argv[3:]:
        for encoder, decoder in precisions:
            model = mixed(bundle, encoder, decoder)
            captions = list(model.caption_many([record.image for record in dev], beam=5, likeliest=True))
            said = [split_words(caption.text) for caption in captions if isinstance(caption, Caption)]
            scores = 100 * cider.score(said, range(len(dev)))
            print(bundle, model.precisions, *(f"{part.mean():.1f}" for part in np.split(scores, [len(sets[0])])))


if __name__ == "__main__":
    main()
