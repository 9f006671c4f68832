"""EncodedPhoto: a photo that was read and encoded once, for several calls."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from seesay.runtime.confidence import Evidence, Judge, pooled
from seesay.runtime.sessions import Encoded


@dataclass
class Seen:
    """A place for evidence, which is computed when it is first needed."""

    evidence: Evidence | None = None


class PhotoInput(NamedTuple):
    """The input of a search for one photo.

    Attributes:
        arrays: the decoder's initial state and memory.
        key: a hash of the pixels, from which sampling derives its noise.
        image: the photo's name or path, if it has one.
        warning: a defect of the photo that did not keep it from being read.
        seen: what the last judge saw in the photo.
    """

    arrays: Encoded
    key: int
    image: str | None
    warning: str | None
    seen: Seen

    def evidence(self, judge: Judge) -> Evidence:
        """What a judge sees in the photo; kept for the next call."""
        if self.seen.evidence is None or self.seen.evidence.judge != judge.key:
            self.seen.evidence = judge.evidence(pooled(self.arrays.memory))
        return self.seen.evidence


@dataclass(frozen=True, eq=False)
class EncodedPhoto:
    """A photo encoded by one model; every method of that model takes it in place of the photo.

    Attributes:
        input: the encoder's output.
        picture: upright, RGB; large JPEGs are reduced, to at least twice the encoder's size.
        model: the folder of the model's bundle.
    """

    input: PhotoInput
    picture: Image.Image
    model: Path

    @property
    def image(self) -> str | None:
        """The photo's name or path, if it has one."""
        return self.input.image


def key_of(pixels: np.ndarray) -> int:
    """A hash of a photo's pixels (3, size, size); every eighth row and column suffice to tell photos apart."""
    return zlib.crc32(pixels[:, ::8, ::8].tobytes())
