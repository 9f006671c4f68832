"""Measure the early end of searches: `python scripts/search_to_the_end.py PHOTO_OR_FOLDER...`.

Captions the photos with the early end, and with searches until every beam has ended. Prints the
decoder's steps per photo for both, and how many captions differ.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

import seesay
from seesay.caption import Caption
from seesay.data.images import find_photos
from seesay.runtime import CaptionModel, Engine
from seesay.runtime.sessions import Encoded
from seesay.search import BeamOptions, Hypothesis

Step = tuple[np.ndarray, tuple[np.ndarray, ...], np.ndarray]


class ToTheEnd(Engine):
    """An engine whose searches end when all of their sentences have ended."""

    def search(
        self, photos: Sequence[Encoded], options: BeamOptions, finish_all: bool = False
    ) -> list[list[Hypothesis]]:
        """All sentences of each photo, best first."""
        return super().search(photos, options, finish_all=True)


def captions_and_steps(photos: list[str], kind: type[Engine]) -> tuple[list[str], float]:
    """The captions of the photos, one photo at a time, and the decoder's steps per photo."""
    steps = 0

    def counting(engine: Engine) -> Engine:
        def step(*arguments: object) -> Step:
            nonlocal steps
            steps += 1
            return engine.decoder(*arguments)

        return kind(**vars(replace(engine, decoder=step)))

    model: CaptionModel = seesay.load().with_engines(counting)
    captions = list(model.caption_many(photos, batch_size=1, likeliest=True))
    texts = [caption.text for caption in captions if isinstance(caption, Caption)]
    return texts, steps / len(captions)


def main() -> None:
    """Compare the two searches."""
    photos = [str(photo) for photo in find_photos(sys.argv[1:])]
    early, fewer = captions_and_steps(photos, Engine)
    late, more = captions_and_steps(photos, ToTheEnd)
    different = sum(one != other for one, other in zip(early, late, strict=True))
    print(f"{len(photos)} photos: {fewer:.1f} steps a photo instead of {more:.1f},", end=" ")
    print(f"{different} captions differ")


if __name__ == "__main__":
    main()
