"""Pictures of coloured shapes on a textured background, identical on every machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from seesay.geometry import Box

SIDE = 128  # pixels of a picture
# Pixels. A box covers at most 0.088 or 0.153 of the picture, which is the chance of pointing.
SIZES = {"small": 38, "large": 50}
GAP = 4  # the least pixels between the boxes of two objects
EDGE = 3  # the least pixels to the picture's edge
COLOURS = {
    "red": (205, 30, 35),
    "green": (30, 140, 50),
    "blue": (35, 65, 200),
    "yellow": (235, 215, 35),
    "purple": (130, 40, 150),
    "orange": (240, 130, 20),
    "white": (245, 245, 245),
    "black": (20, 20, 20),
}


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A point is inside a pentagram if it is on the inner side of four of its five lines."""
    across, up = 0.951 * x, 0.0955 - 0.9045 * y  # its five tips touch the unit square
    turns = np.deg2rad(90 + 72 * np.arange(5))[:, None, None]
    return (np.cos(turns) * across + np.sin(turns) * up <= 0.309).sum(axis=0) >= 4


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    across, up = 1.139 * x, 0.118 - 1.118 * y
    return (across**2 + up**2 - 1) ** 3 <= across**2 * up**3


# Which points of the square -1..1 (x to the right, y downwards) a shape covers; each touches all
# four sides.
SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "circle": lambda x, y: x**2 + y**2 <= 1,
    "square": lambda x, y: np.ones(np.broadcast_shapes(x.shape, y.shape), dtype=bool),
    "triangle": lambda x, y: np.abs(x) <= (y + 1) / 2,
    "cross": lambda x, y: (np.abs(x) <= 0.36) | (np.abs(y) <= 0.36),
    "star": _star,
    "heart": _heart,
}


@dataclass(frozen=True)
class ShapeObject:
    """An object of a picture.

    Attributes:
        colour: one of `COLOURS`.
        shape: one of `SHAPES`.
        size: one of `SIZES`.
        box: (left, top, right, bottom) as fractions of the picture's width and height, right and
            bottom exclusive: the smallest box around its pixels.
    """

    colour: str
    shape: str
    size: str
    box: Box


def draw_picture(seed: int, number: int, counts: tuple[float, ...]) -> tuple[np.ndarray, tuple[ShapeObject, ...]]:
    """Picture `number` of the set `seed`.

    Args:
        seed: the seed of the set, >= 0.
        number: the number of the picture, >= 0.
        counts: probabilities of 1, 2, ... objects.

    Returns:
        (SIDE, SIDE, 3) uint8 pixels, and its objects, each (colour, shape) once, boxes at least
        `GAP` apart.
    """
    random = np.random.default_rng([seed, number])
    pixels = _background(random)
    objects: list[ShapeObject] = []
    kinds = random.permutation([(colour, shape) for colour in COLOURS for shape in SHAPES])
    places = _places(random, int(random.choice(len(counts), p=counts)) + 1)
    for (colour, shape), (left, top, size) in zip(kinds, places, strict=False):
        middles = (np.arange(SIZES[size]) + 0.5) * 2 / SIZES[size] - 1
        mask = SHAPES[shape](middles[None, :], middles[:, None])
        paint = np.clip(np.add(COLOURS[colour], random.integers(-10, 11, 3)), 0, 255)
        pixels[top : top + SIZES[size], left : left + SIZES[size]][mask] = paint
        objects.append(ShapeObject(str(colour), str(shape), size, _box(mask, left, top)))
    return pixels, tuple(objects)


def _background(random: np.random.Generator) -> np.ndarray:
    """A grey background with soft noise, (SIDE, SIDE, 3) uint8, unlike any object's colour."""
    tint = random.uniform(105, 150) + random.uniform(-10, 10, 3)
    octaves = [spread * _smooth(random.standard_normal((cells, cells))) for cells, spread in ((5, 7), (33, 4))]
    texture = np.sum(octaves, axis=0)
    return np.clip(tint + texture[..., None], 0, 255).astype(np.uint8)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Stretch (N, N) values bilinearly to (SIDE, SIDE).

    Matrix products are avoided, because their last bit depends on the machine.
    """
    at = np.arange(SIDE) * (len(values) - 1) / SIDE
    below, part = at.astype(int), at % 1
    rows = values[below] + part[:, None] * (values[below + 1] - values[below])
    return rows[:, below] + part * (rows[:, below + 1] - rows[:, below])


def _places(random: np.random.Generator, count: int) -> list[tuple[int, int, str]]:
    """(left, top, size) of `count` squares that keep `GAP` and `EDGE`.

    Placing starts again if there is no room for one of them.
    """
    while True:
        placed: list[tuple[int, int, str]] = []
        for size in random.choice(list(SIZES), count):
            for left, top in random.integers(EDGE, SIDE - EDGE - SIZES[size] + 1, (20, 2)):
                here = (int(left), int(top), str(size))
                if all(_apart(here, other) for other in placed):
                    placed.append(here)
                    break
        if len(placed) == count:
            return placed


def _apart(a: tuple[int, int, str], b: tuple[int, int, str]) -> bool:
    sides = SIZES[a[2]] + GAP, SIZES[b[2]] + GAP
    return any(x + sides[0] <= y or y + sides[1] <= x for x, y in ((a[0], b[0]), (a[1], b[1])))


def _box(mask: np.ndarray, left: int, top: int) -> Box:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    right, bottom = left + columns[-1] + 1, top + rows[-1] + 1
    return (
        float(left + columns[0]) / SIDE,
        float(top + rows[0]) / SIDE,
        float(right) / SIDE,
        float(bottom) / SIDE,
    )
