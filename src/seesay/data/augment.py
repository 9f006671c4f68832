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
    """The changes to a photo.

    Attributes:
        box: the crop: (left, top, right, bottom) in pixels.
        size: (width, height) of the whole photo in pixels.
        mirrored: whether the crop is mirrored.
        factors: factors of brightness, contrast and saturation.
    """

    box: tuple[int, int, int, int]
    size: tuple[int, int]
    mirrored: bool
    factors: tuple[float, ...]

    @property
    def crop(self) -> Box:
        """The crop in fractions of the photo, with left > right if it is mirrored."""
        (left, top, right, bottom), (width, height) = self.box, self.size
        if self.mirrored:
            left, right = right, left
        return left / width, top / height, right / width, bottom / height


@dataclass(frozen=True)
class Augmentation:
    """Random crops, mirroring and colour changes, mild enough that captions stay true.

    Attributes:
        area: the smallest share of the photo's area that a crop keeps.
        aspect: the largest factor by which the aspect changes.
        colour: the largest relative change of brightness, contrast and saturation.
    """

    area: float = 0.7
    aspect: float = 1.25
    colour: float = 0.2

    def __call__(self, photo: Image.Image, random: np.random.Generator, mirror: bool = True) -> Image.Image:
        """A variant of the photo, drawn from `random`.

        Args:
            photo: RGB; not modified.
            random: the source of all randomness; every call draws the same number of values.
            mirror: whether it may be mirrored (half of the time).
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
        """The changes that `__call__` makes to a photo of `size` (width, height)."""
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
    """False if a caption mentions left or right."""
    return not any(SIDES.search(caption) for caption in captions)
