"""Captions of a picture of shapes, from a small grammar.

    caption  = opening thing [relation thing [and relation thing]]   each relation is that of the first thing
    thing    = a|an COLOUR paper SHAPE

The word "paper" is there because Show, Attend and Tell computes attention before it reads the
previous word. In "a red circle" it would have to attend to the circle without having read "red".
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seesay.data.shapes.picture import ShapeObject

CAPTIONS = 5  # of each picture
OPENINGS = ("", "", "there is ", "a picture of ")
# by axis, along it or against it
RELATIONS = (("to the left of", "to the right of"), ("above", "below"))


def write_captions(seed: int, number: int, objects: Sequence[ShapeObject]) -> list[str]:
    """`CAPTIONS` sentences about picture `number` of the set `seed`; always the same ones.

    Args:
        seed, number: as for `draw_picture`.
        objects: what the picture shows, at least one.
    """
    # a generator of its own, independent of the picture's
    random = np.random.default_rng([seed, number, 1])
    return [_caption(random, objects) for _ in range(CAPTIONS)]


def relation(a: ShapeObject, b: ShapeObject) -> str:
    """The position of `a` relative to `b`, on the axis with the larger gap between their boxes."""
    gaps = [(b.box[axis] - a.box[axis + 2], a.box[axis] - b.box[axis + 2]) for axis in (0, 1)]
    axis = int(np.argmax([max(gap) for gap in gaps]))
    return RELATIONS[axis][int(np.argmax(gaps[axis]))]


def _caption(random: np.random.Generator, objects: Sequence[ShapeObject]) -> str:
    chosen = [objects[i] for i in random.permutation(len(objects))[: random.integers(2, 4)]]
    relations = [f"{relation(chosen[0], other)} {_thing(other)}" for other in chosen[1:]]
    words = " ".join([_thing(chosen[0]), " and ".join(relations)]).strip()
    return OPENINGS[random.integers(len(OPENINGS))] + words


def _thing(shown: ShapeObject) -> str:
    article = "an" if shown.colour[0] in "aeiou" else "a"
    return f"{article} {shown.colour} paper {shown.shape}"
