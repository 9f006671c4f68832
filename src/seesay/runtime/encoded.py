"""EncodedPhoto: a photo that is read and encoded once, and can be asked about many times."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from seesay.runtime.sessions import Encoded


class PhotoInput(NamedTuple):
    """What the searches need of a photo.

    Attributes:
        arrays: the decoder's state before the first word and its memory of the photo.
        key: a number made of the pixels; sampling makes its noise from it.
        image: where the photo came from, when it had a name.
        warning: what is wrong with the photo although it could be read.
    """

    arrays: Encoded
    key: int
    image: str | None
    warning: str | None


@dataclass(frozen=True, eq=False)
class EncodedPhoto:
    """A photo as one model's decoder reads it; each call of that model takes it in place of the photo.

    Attributes:
        input: what the model made of it.
        picture: upright, RGB; a large JPEG is reduced, to no less than twice what the encoder reads.
        model: the folder of the model's bundle.
    """

    input: PhotoInput
    picture: Image.Image
    model: Path

    @property
    def image(self) -> str | None:
        """Where the photo came from, when it had a name."""
        return self.input.image


def key_of(pixels: np.ndarray) -> int:
    """A number made of a photo's pixels (3, size, size): of every eighth row and column, which tell photos apart."""
    return zlib.crc32(pixels[:, ::8, ::8].tobytes())
