"""True sentences about a picture of shapes, from a small grammar.

    caption  = opening thing [relation thing [and relation thing]]   each relation is that of the first thing
    thing    = a|an COLOUR paper SHAPE

Why "paper": Show, Attend and Tell computes attention before it reads the word just written. In "a
red circle" it would
have to choose the circle without knowing that "red" was written; one word later it knows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seesay.data.shapes.picture import ShapeObject

CAPTIONS = 5  # of each picture
OPENINGS = ("", "", "there is ", "a picture of ")
RELATIONS = (("to the left of", "to the right of"), ("above", "below"))  # by axis, along it or against it


def write_captions(seed: int, number: int, objects: Sequence[ShapeObject]) -> list[str]:
    """`CAPTIONS` sentences about picture `number` of the set `seed`; always the same ones.

    Args:
        seed, number: as for `draw_picture`.
        objects: what the picture shows, at least one.
    """
    random = np.random.default_rng([seed, number, 1])  # apart from the picture's own
    return [_caption(random, objects) for _ in range(CAPTIONS)]


def relation(a: ShapeObject, b: ShapeObject) -> str:
    """The position of `a` relative to `b`, on the axis with the larger gap between their boxes."""
    rooms = [(b.box[axis] - a.box[axis + 2], a.box[axis] - b.box[axis + 2]) for axis in (0, 1)]
    axis = int(np.argmax([max(room) for room in rooms]))
    return RELATIONS[axis][int(np.argmax(rooms[axis]))]


def _caption(random: np.random.Generator, objects: Sequence[ShapeObject]) -> str:
    chosen = [objects[i] for i in random.permutation(len(objects))[: random.integers(2, 4)]]
    relations = [f"{relation(chosen[0], other)} {_thing(other)}" for other in chosen[1:]]
    words = " ".join([_thing(chosen[0]), " and ".join(relations)]).strip()
    return OPENINGS[random.integers(len(OPENINGS))] + words


def _thing(shown: ShapeObject) -> str:
    article = "an" if shown.colour[0] in "aeiou" else "a"
    return f"{article} {shown.colour} paper {shown.shape}"
