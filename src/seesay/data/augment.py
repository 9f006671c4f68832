"""Data augmentation: random crops, mirroring and colour changes of training photos."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance

from seesay.geometry import Box

SIDES = re.compile(r"\b(left|right)", re.IGNORECASE)


class Variant(NamedTuple):
    """What is done to a photo.

    Attributes:
        box: the part that is kept: (left, top, right, bottom) in pixels.
        size: (width, height) of the whole photo in pixels.
        mirrored: whether left and right are exchanged then.
        factors: of brightness, contrast and saturation.
    """

    box: tuple[int, int, int, int]
    size: tuple[int, int]
    mirrored: bool
    factors: tuple[float, ...]

    @property
    def crop(self) -> Box:
        """The part in fractions of the photo, with left > right where it is mirrored."""
        (left, top, right, bottom), (width, height) = self.box, self.size
        if self.mirrored:
            left, right = right, left
        return left / width, top / height, right / width, bottom / height


@dataclass(frozen=True)
class Augmentation:
    """A random part of a photo, perhaps mirrored, in slightly other colours; mild, so that captions stay true.

    Attributes:
        area: the least share of the photo's area that is kept.
        aspect: width and height may change against each other by this factor at most.
        colour: brightness, contrast and saturation change by this share at most.
    """

    area: float = 0.7
    aspect: float = 1.25
    colour: float = 0.2

    def __call__(self, photo: Image.Image, random: np.random.Generator, mirror: bool = True) -> Image.Image:
        """A variant of the photo, drawn from `random`.

        Args:
            photo: RGB, left as it is.
            random: where all chance comes from; as much is drawn whatever comes out.
            mirror: whether left and right may be exchanged (half of the time).
        """
        variant = self.draw(photo.size, random, mirror)
        photo = photo.crop(variant.box)
        if variant.mirrored:
            photo = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
        for kind, factor in zip(kinds, variant.factors, strict=True):
            photo = kind(photo).enhance(factor)
        return photo

    def draw(self, size: tuple[int, int], random: np.random.Generator, mirror: bool = True) -> Variant:
        """What `__call__` with the same `random` does to a photo of `size` (width, height)."""
        box = self._box(size, random)
        mirrored = random.random() < 0.5 and mirror
        factors = 1 + random.uniform(-self.colour, self.colour, 3)
        return Variant(box, size, mirrored, tuple(factors.tolist()))

    def _box(self, size: tuple[int, int], random: np.random.Generator) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) in pixels, inside the photo."""
        area, stretch = random.uniform(self.area, 1), self.aspect ** random.uniform(-0.5, 0.5)
        shares = np.minimum(1, np.sqrt(area) * np.array([stretch, 1 / stretch]))
        width, height = np.maximum(1, np.rint(size * shares)).astype(int)
        left, top = (random.integers(0, whole - part + 1) for whole, part in zip(size, (width, height), strict=True))
        return int(left), int(top), int(left + width), int(top + height)


def may_be_mirrored(captions: Iterable[str]) -> bool:
    """False where a caption speaks of left or right."""
    return not any(SIDES.search(caption) for caption in captions)
