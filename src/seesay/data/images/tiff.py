"""Protection against hostile TIFFs, and keeping libtiff from printing to the terminal."""

from __future__ import annotations

import ctypes
import logging
import struct
from functools import cache
from math import ceil
from typing import IO

from PIL import Image

from seesay.errors import PhotoError

WIDTH, HEIGHT, TILE_WIDTH, TILE_HEIGHT, STRIPS, TILES = 256, 257, 322, 323, 273, 324
LAYOUT = (WIDTH, HEIGHT, TILE_WIDTH, TILE_HEIGHT, STRIPS, TILES)
# TIFF's type -> struct's
INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q"}
MAX_TAGS = 4096
MAX_PARTS = 2**20  # strips or tiles
TILED_PIXELS = 2**26  # limit for all tiles together, or four times the picture if that is more


def check_layout(file: IO[bytes]) -> None:
    """Raise PhotoError for a TIFF that would decode to far more pixels than its first picture has.

    Args:
        file: positioned at its start, before and after.
    """
    tags = _layout_tags(file)
    file.seek(0)
    values = {tag: value for tag, (_, value) in tags.items()}
    parts = max((tags[tag][0] for tag in (STRIPS, TILES) if tag in tags), default=0)
    if parts > MAX_PARTS:
        what = f"a TIFF of {parts:,} strips or tiles, at most {MAX_PARTS:,}"
        raise PhotoError(f"too large to decode safely: {what}")
    width, height = values.get(WIDTH, 0), values.get(HEIGHT, 0)
    tile = values.get(TILE_WIDTH, 0), values.get(TILE_HEIGHT, 0)
    if min(width, height, *tile) < 1:
        return  # made of strips, or damaged
    tile_pixels = ceil(width / tile[0]) * ceil(height / tile[1]) * tile[0] * tile[1]
    if tile_pixels > max(TILED_PIXELS, 4 * width * height):
        what = f"{width:,} x {height:,} pixels in tiles of {tile[0]:,} x {tile[1]:,}"
        raise PhotoError(f"too large to decode safely: a TIFF of {what}")


def _layout_tags(file: IO[bytes]) -> dict[int, tuple[int, int]]:
    """(count, value) of the first directory's tags in `LAYOUT`; empty if it cannot be read."""
    start = file.read(16)
    order = "<" if start[:2] == b"II" else ">"
    big = struct.unpack_from(f"{order}H", start, 2)[0] == 43
    count_format, entry_format = ("Q", "HHQ8s") if big else ("H", "HHI4s")
    try:
        file.seek(struct.unpack_from(f"{order}{'Q' if big else 'I'}", start, 8 if big else 4)[0])
        count_bytes = file.read(struct.calcsize(f"<{count_format}"))
        count = struct.unpack(f"{order}{count_format}", count_bytes)[0]
    except (struct.error, OverflowError, ValueError):
        return {}
    if count > MAX_TAGS:
        raise PhotoError(f"damaged, cannot be decoded (a TIFF of {count:,} tags)")
    size = struct.calcsize(f"<{entry_format}")
    entries = file.read(count * size)
    tags: dict[int, tuple[int, int]] = {}
    for at in range(0, len(entries) - size + 1, size):
        tag, kind, number, value = struct.unpack_from(f"{order}{entry_format}", entries, at)
        if tag not in LAYOUT:
            continue
        sized = tag not in (STRIPS, TILES)
        # Pillow would use the last value of a repeated tag, libtiff the first
        if tag in tags or (sized and (number != 1 or kind not in INTEGERS)):
            raise PhotoError(f"damaged, cannot be decoded (a TIFF with several values of tag {tag})")
        tags[tag] = number, struct.unpack_from(f"{order}{INTEGERS[kind]}", value)[0] if sized else 0
    return tags


@cache
def silence() -> None:
    """Keep libtiff and Pillow from writing about damaged files to standard error.

    The raised error describes the damage. libtiff's handlers are global to the process.
    """
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    try:  # libtiff's symbols are found through Pillow's own library, which is linked to it
        libtiff = ctypes.CDLL(Image.core.__file__)
        for set_handler in (libtiff.TIFFSetErrorHandler, libtiff.TIFFSetWarningHandler):
            set_handler.restype = ctypes.c_void_p  # the handler that was there
            set_handler(ctypes.c_void_p())
    except (OSError, AttributeError):  # libtiff is linked statically and cannot be silenced
        return
