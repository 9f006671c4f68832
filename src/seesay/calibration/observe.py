"""What is learnt from: a model's sentences with the features of their photos and people's references."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from seesay.data.boxes.support import things_on
from seesay.data.images import find_photos
from seesay.data.records import CaptionRecord
from seesay.data.tokens import split_words
from seesay.errors import DataError, PhotoError
from seesay.runtime import CaptionModel
from seesay.runtime.confidence import Said, pooled


@dataclass(frozen=True, eq=False)
class Observation:
    """What a model could say of one photo.

    Attributes:
        features: (F,) of the photo, see `seesay.runtime.confidence.pooled`.
        sentences: of the search, among which the caption is chosen; the likeliest first.
        references: tokenised, see `split_words`.
        supported: the things on the photo, see `seesay.data.boxes.support.things_on`.
    """

    features: np.ndarray
    sentences: tuple[Said, ...]
    references: tuple[tuple[str, ...], ...]
    supported: frozenset[str]


def observe(
    model: CaptionModel, records: Iterable[CaptionRecord], advance: Callable[[], None] | None = None
) -> list[Observation]:
    """Caption photos; those that cannot be read are left out."""
    observations = []
    for record in records:
        try:
            photo = model.encode(record.image)
        except PhotoError:
            continue
        finally:
            if advance:
                advance()
        [sentences] = model.engine.search([photo.input.arrays], model.bundle.search)
        observations.append(
            Observation(
                features=pooled(photo.input.arrays.memory),
                sentences=tuple(Said.of(model.bundle.tokenizer, sentence) for sentence in sentences),
                references=tuple(tuple(split_words(caption)) for caption in record.captions),
                supported=things_on(record),
            )
        )
    return observations


def features_of(
    model: CaptionModel, photos: Iterable[Path], advance: Callable[[], None] | None = None
) -> Iterator[np.ndarray]:
    """The features of pictures; those that cannot be read are left out."""
    for path in photos:
        try:
            yield pooled(model.encode(path).input.arrays.memory)
        except PhotoError:
            continue
        finally:
            if advance:
                advance()


def pictures_by_kind(folder: Path) -> dict[str, list[Path]]:
    """Pictures that are no photos, by the names of the folders that they are in.

    Raises:
        DataError: there is no folder with pictures in it, or one is called "photo".
    """
    kinds = {path.name: list(find_photos([path])) for path in sorted(folder.glob("*/"))} if folder.is_dir() else {}
    kinds = {kind: [Path(picture) for picture in pictures] for kind, pictures in kinds.items() if pictures}
    if not kinds or "photo" in kinds:
        raise DataError(
            f"{folder}: expected folders of pictures that are no photos, named by kind (text, chart, ...); "
            f"found {', '.join(kinds) or 'none'}"
        )
    return kinds


def halves(records: Iterable[CaptionRecord]) -> tuple[list[CaptionRecord], list[CaptionRecord]]:
    """A split's records in two halves that depend on their ids alone: one to calibrate on, one to report."""
    ordered = sorted(records, key=lambda record: record.id)
    Random(0).shuffle(ordered)
    middle = (len(ordered) + 1) // 2
    return ordered[:middle], ordered[middle:]
