"""Pointing accuracy on the synthetic shapes: whether attention peaks in the named object's box."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Protocol

import numpy as np

from seesay.caption import Caption, Word
from seesay.geometry import Box, box_coverage
from seesay.metrics.localisation import COVERED, pointing


class Shown(Protocol):
    """An object of a picture, whose `box` is in fractions of the picture's width and height."""

    @property
    def colour(self) -> str: ...
    @property
    def shape(self) -> str: ...
    @property
    def box(self) -> Box: ...


@dataclass(frozen=True)
class Pointing:
    """How often attention points at the objects that captions name.

    Attributes:
        accuracy: share of `nouns` for which the region with the most attention lies in the object's
            box, with at least half of the region's area; 0 if there are no nouns.
        chance: the accuracy of a random region: the mean share of regions that lie in the box.
        nouns: the number of nouns that name exactly one object; accuracy and chance are means over
            these.
        wrong: the number of nouns that name no object of the picture.
        ambiguous: the number of nouns without a colour that fit several objects.
        pictures: the number of pictures with enough objects.
    """

    accuracy: float
    chance: float
    nouns: int
    wrong: int
    ambiguous: int
    pictures: int

    def __str__(self) -> str:
        return (
            f"{self.accuracy:.3f} (chance {self.chance:.3f}) over {self.nouns:,} nouns of {self.pictures:,} pictures; "
            f"{self.wrong:,} nouns name nothing shown, {self.ambiguous:,} are ambiguous"
        )

    def to_dict(self) -> dict[str, float]:
        """Plain values for JSON."""
        return asdict(self)


def pointing_accuracy(
    captions: Mapping[str, Caption], grounding: Mapping[str, Sequence[Shown]], at_least: int = 3
) -> Pointing:
    """How often attention points at what is being named.

    A noun is the name of a shape. The last colour between the preceding noun and this one belongs
    to it.

    Args:
        captions: record id -> words with (rows, cols) attention.
        grounding: the objects of each picture by record id. Their colours and shapes are the words
            that are searched for, so it should cover the whole data set.
        at_least: pictures with fewer objects are left out, because pointing is easy in them.
    """
    objects = list(chain.from_iterable(grounding.values()))
    shapes, colours = {shown.shape for shown in objects}, {shown.colour for shown in objects}
    chosen = [name for name in captions if len(grounding.get(name, ())) >= at_least]
    hits: list[float] = []
    chances: list[float] = []
    wrong = ambiguous = 0
    for name in chosen:
        for word, colour in _nouns(captions[name], shapes, colours):
            shape = word.text.lower()
            named = [s for s in grounding[name] if s.shape == shape and colour in (None, s.colour)]
            wrong += not named
            ambiguous += len(named) > 1
            if len(named) == 1:
                rows, cols = word.attention.shape
                covered = box_coverage([named[0].box], (rows, cols))
                hits.append(pointing(word.attention, covered))
                chances.append(float((covered >= COVERED).mean()))
    accuracy, chance = (float(np.mean(part)) if part else 0.0 for part in (hits, chances))
    return Pointing(accuracy, chance, len(hits), wrong, ambiguous, len(chosen))


def _nouns(caption: Caption, shapes: set[str], colours: set[str]) -> Iterator[tuple[Word, str | None]]:
    """The words of a caption that name shapes, each with its colour."""
    colour: str | None = None
    for word in caption.words:
        text = word.text.lower()
        if text in colours:
            colour = text
        elif text in shapes:
            yield word, colour
            colour = None
