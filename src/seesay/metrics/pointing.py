"""Pointing accuracy: whether attention peaks in an object's box at the object's noun."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np

from seesay.caption import Caption
from seesay.geometry import Box, box_coverage
from seesay.metrics.localisation import COVERED, pointing


class Shown(Protocol):
    """An object of a picture; `box` is (left, top, right, bottom) in fractions of its width and height."""

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
        accuracy: share of `nouns` at which the region with the most attention lies in the object's box, by at least
            half of its area; 0 where there are none.
        chance: the same for a region drawn at random: the mean share of regions that lie in the box.
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

    A noun is the name of a shape. The last colour between it and the noun before belongs to it.

    Args:
        captions: by record id, words with (rows, cols) attention.
        grounding: the objects of each picture by record id, best of the whole data set: the colours and shapes in it
            are the words that are looked for.
        at_least: pictures with fewer objects are left out, because pointing is easy in them.
    """
    shapes = {shown.shape for objects in grounding.values() for shown in objects}
    colours = {shown.colour for objects in grounding.values() for shown in objects}
    chosen = [name for name in captions if len(grounding.get(name, ())) >= at_least]
    hits: list[float] = []
    chances: list[float] = []
    misnamed = {"wrong": 0, "ambiguous": 0}
    for name in chosen:
        colour: str | None = None
        for word in captions[name].words:
            text = word.text.lower()
            if text in colours:
                colour = text
            elif text in shapes:
                named = [s for s in grounding[name] if s.shape == text and colour in (None, s.colour)]
                if len(named) == 1:
                    rows, cols = word.attention.shape
                    covered = box_coverage([named[0].box], (rows, cols))
                    hits.append(pointing(word.attention, covered))
                    chances.append(float((covered >= COVERED).mean()))
                else:
                    misnamed["ambiguous" if named else "wrong"] += 1
                colour = None
    mean = [float(np.mean(values)) if values else 0.0 for values in (hits, chances)]
    return Pointing(mean[0], mean[1], len(hits), misnamed["wrong"], misnamed["ambiguous"], len(chosen))
