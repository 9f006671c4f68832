"""Limits on the cost of one photo, so that none can block or crash the processing of others.

Whether a photo is within these limits depends on its file alone, not on the machine or its load.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from PIL import Image, ImageFile

from seesay.errors import PhotoError

MAX_PIXELS = 178_956_970  # Pillow's own limit; half a gigabyte as RGB
MAX_SIDE = 131_072  # twice the longest side that a JPEG can have
MAX_READS = 1_000_000  # by Pillow's parsers, which are written in Python: some seconds
MAX_SLOW_PIXELS = 1_000_000  # in codings that Pillow decodes in Python, in a microsecond a value
MAX_COMMENTS = 100  # in the data of a plain PPM, for which Pillow needs quadratic time
# larger photos are decoded one at a time, because each may take two gigabytes
LARGE_PIXELS = 40_000_000

_large = threading.Lock()


def _new_lock() -> None:
    """Replace the lock in a forked child, where nobody would release a lock that is held."""
    global _large
    _large = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


@contextmanager
def alone_if_large(size: tuple[int, int]) -> Iterator[None]:
    """Wait while another large photo is decoded, if this one of (width, height) pixels is large."""
    if size[0] * size[1] <= LARGE_PIXELS:
        yield
        return
    with _large:
        yield


def check_size(size: tuple[int, int]) -> None:
    """Raise PhotoError for a picture without pixels, with too many, or with too long a side."""
    width, height = size
    if width < 1 or height < 1:
        raise PhotoError(f"a picture of {width} x {height} pixels")
    if max(size) > MAX_SIDE or width * height > MAX_PIXELS:
        most = f"at most {MAX_PIXELS:,} in all and {MAX_SIDE:,} a side"
        raise PhotoError(f"too large to decode safely: {width:,} x {height:,} pixels, {most}")


def check_slow(image: ImageFile.ImageFile, file: IO[bytes]) -> None:
    """Raise PhotoError for a large picture that Pillow would decode in Python."""
    if not any(tile[0] in Image.DECODERS for tile in image.tile):
        return
    if image.width * image.height > MAX_SLOW_PIXELS:
        size = f"{image.width:,} x {image.height:,} pixels in a rare coding"
        most = f"at most {MAX_SLOW_PIXELS:,}; convert it to PNG"
        raise PhotoError(f"too slow to decode: a {image.format} of {size}, {most}")
    if any(tile[0] == "ppm_plain" for tile in image.tile):
        place = file.tell()
        comments = sum(block.count(b"#") for block in iter(lambda: file.read(2**20), b""))
        file.seek(place)
        if comments > MAX_COMMENTS:
            what = f"a PPM with {comments:,} comments, at most {MAX_COMMENTS}"
            raise PhotoError(f"too slow to decode: {what}")


class CountedReader:
    """A file for Pillow that counts how often it is read.

    Pillow's parsers loop in Python over chunks, markers and blocks, which can be as small as a
    byte. Their cost depends on the number of these.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._read, self.seek, self.tell, self.close = file.read, file.seek, file.tell, file.close
        self._left = MAX_READS

    def read(self, size: int = -1) -> bytes:
        """Read from the file. Raises PhotoError after `MAX_READS` calls."""
        self._left -= 1
        if self._left < 0:
            raise PhotoError(f"too slow to decode: made of more than {MAX_READS:,} parts")
        return self._read(size)
