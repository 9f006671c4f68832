"""Converting a decoded image of any mode to upright 8-bit RGB."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, sqrt

import numpy as np
from PIL import Image

from seesay.data.images.limits import LARGE_PIXELS
from seesay.data.images.sources import high_byte, low_byte

BAND_PIXELS = 2**24  # converted at once
EXIF_ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright_rgb(image: Image.Image, enough: int | None = None) -> Image.Image:
    """A new image without metadata.

    Args:
        image: decoded.
        enough: the pixels that each side needs; a very large picture is averaged down.
    """
    upright = _rgb(image)
    if enough and upright.width * upright.height > LARGE_PIXELS:
        upright = upright.reduce(_factor(upright.size, enough))
    upright.info = {}  # its EXIF tag would rotate it again
    turn = TURNS.get(_orientation(image))
    return upright if turn is None else upright.transpose(turn)


def _factor(size: tuple[int, int], enough: int) -> int:
    """The factor by which a very large picture is averaged down.

    The short side of a very long picture may become shorter than `enough`.
    """
    width, height = size
    return max(min(size) // enough, ceil(sqrt(width * height / LARGE_PIXELS)))


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # metadata that cannot be parsed is ignored
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return _band_by_band(image, _reader_of_16_bits(image))
    if image.mode in ("I", "F"):
        return _of_wide_range(image).convert("RGB")
    if image.has_transparency_data:
        return _band_by_band(image, _on_white)
    return image.convert("RGB")


def _band_by_band(image: Image.Image, to_rgb: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Apply `to_rgb` to bands of rows one by one, as it needs several copies of its input."""
    result = Image.new("RGB", image.size)
    rows = max(1, BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        result.paste(to_rgb(band), (0, top))
    return result


def _on_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _reader_of_16_bits(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    # an array may have 8-bit values in 16 bits; files use the full range
    from_an_array = image.format is None
    to_8_bit = low_byte if from_an_array and _top(image) <= 255 else high_byte
    return lambda band: Image.fromarray(to_8_bit(np.asarray(band))).convert("RGB")


def _top(image: Image.Image) -> int:
    return int(np.asarray(image).max())


def _of_wide_range(image: Image.Image) -> Image.Image:
    """Convert modes I and F, whose range (0..1, 0..255 or 0..65535) is guessed from the values."""
    values = np.array(image, dtype=np.float32)
    np.nan_to_num(values, copy=False, posinf=0.0, neginf=0.0)
    top = values.max()
    unit = 1 if image.mode == "F" and top <= 1 else 255 if top <= 255 else 65535
    values *= 255 / unit
    np.rint(np.clip(values, 0, 255, out=values), out=values)
    return Image.fromarray(values.astype(np.uint8))
