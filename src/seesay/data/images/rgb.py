"""A decoded picture of any mode -> upright RGB in 8 bits."""

from __future__ import annotations

import numpy as np
from PIL import Image

from seesay.data.images.limits import LARGE_PIXELS
from seesay.data.images.sources import high_byte, low_byte

BAND_PIXELS = 2**24  # that are laid on white together
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
        enough: pixels that each side needs to have: a very large picture is averaged down to no less.
    """
    upright = _rgb(image)
    if enough and upright.width * upright.height > LARGE_PIXELS:
        upright = upright.reduce((max(1, upright.width // enough), max(1, upright.height // enough)))
    upright.info = {}  # its EXIF would turn it once more
    turn = TURNS.get(_orientation(image))
    return upright if turn is None else upright.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # metadata that cannot be parsed spoils no photo
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _deep_grey_to_8_bit(image).convert("RGB")
    return _on_white(image) if image.has_transparency_data else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """A band of rows at a time: the whole would need four times the picture's memory."""
    flat = Image.new("RGB", image.size)
    rows = max(1, BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        flat.paste(Image.alpha_composite(Image.new("RGBA", band.size, "white"), band), (0, top))
    return flat


def _deep_grey_to_8_bit(image: Image.Image) -> Image.Image:
    """16-bit greys arrive as I;16 or as I. Floats have no agreed range: 0..1, 0..255 or 0..65535."""
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        made_of_array = image.format is None  # perhaps of small values; a file has its full range
        small = made_of_array and values.max() <= 255
        return Image.fromarray(low_byte(values) if small else high_byte(values))
    values = np.array(image, dtype=np.float32)
    np.nan_to_num(values, copy=False, posinf=0.0, neginf=0.0)
    top = values.max()
    unit = 1 if image.mode == "F" and top <= 1 else 255 if top <= 255 else 65535
    values *= 255 / unit
    return Image.fromarray(np.rint(np.clip(values, 0, 255, out=values), out=values).astype(np.uint8))
