"""Checks of hostile JPEGs (too many scans) and of damaged ones (truncated files)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import IO

import numpy as np
from PIL import Image

from seesay.errors import PhotoError

START = b"\xff\xd8\xff"
END = b"\xff\xd9"
# A marker other than an escaped 0xff or a restart within a scan.
MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
SEQUENTIAL_FRAMES = (0xC0, 0xC1)  # have one scan, unless each component has its own
OTHER_FRAMES = (0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
START_OF_SCAN, END_OF_IMAGE, ALONE = 0xDA, 0xD9, (0x01, 0xD8)
HEAD_BYTES = 2**16  # nearly all photos have their first scan within these
MAX_SEGMENTS = 100_000
MAX_SCANS = 100  # libtiff's limit too; encoders make 10 to 20
MAX_SCANNED = 4_000_000_000  # pixels times scans: four seconds

MAX_MISSING = 0.25  # of the height of a photo that was cut short
BLANK = (127, 128)  # libjpeg draws middle grey where it has no data; inverted for CMYK
STRIP = 64  # rows that are examined together


def check_scans(file: IO[bytes], size: tuple[int, int]) -> None:
    """Raise PhotoError if decoding a JPEG would take too long because it has too many scans.

    See "Two Issues with the JPEG Standard and How to Mitigate Them" by libjpeg-turbo's authors.
    """
    file.seek(0)
    if _has_one_scan(file.read(HEAD_BYTES)):
        return
    file.seek(0)
    data = file.read()
    most = min(MAX_SCANS, MAX_SCANNED // (size[0] * size[1]))
    # A plain count decides most files; it also counts scans of thumbnails and of anything after the
    # photo.
    if data.count(bytes((0xFF, START_OF_SCAN))) > most and _has_more_scans_than(most, data):
        what = f"a JPEG of {size[0]:,} x {size[1]:,} pixels in more than {most} scans"
        raise PhotoError(f"too slow to decode: {what}; save it anew, or as a baseline JPEG")


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """(marker, offset of its content) of the segments in order.

    The content begins with two bytes of length.
    """
    at = len(START) - 1
    while match := MARKER.search(data, at):
        at, marker = match.end(), data[match.start() + 1]
        yield marker, at
        if marker not in ALONE:
            at += int.from_bytes(data[at : at + 2], "big")


def _has_one_scan(data: bytes) -> bool:
    """Whether the first scan contains all components, so that libjpeg reads no other."""
    components = b""
    for marker, at in islice(_segments(data), MAX_SEGMENTS):
        if marker in SEQUENTIAL_FRAMES:
            components = data[at + 7 : at + 8]
        elif marker == START_OF_SCAN:
            return data[at + 2 : at + 3] == components
        elif marker in OTHER_FRAMES:
            return False
    return False


def _has_more_scans_than(most: int, data: bytes) -> bool:
    scans = 0
    for marker, _ in islice(_segments(data), MAX_SEGMENTS):
        scans += marker == START_OF_SCAN
        if marker == END_OF_IMAGE or scans > most:
            return scans > most
    return True


def what_is_missing(image: Image.Image) -> str:
    """A warning about a JPEG that was cut short.

    Args:
        image: decoded with an end marker appended, and not rotated yet.

    Raises:
        PhotoError: more than `MAX_MISSING` of its rows are missing.
    """
    share = _blank_rows(image) / image.height
    if share > MAX_MISSING:
        what = f"cut short: {share:.0%} of the picture is missing"
        raise PhotoError(f"damaged, cannot be decoded ({what})")
    if share:
        return f"cut short: the lowest {max(share, 0.01):.0%} of the picture is missing"
    if image.info.get("progressive"):
        return "cut short: some detail may be missing"
    return "cut short: the end of the file is missing, but nothing of the picture"


def _blank_rows(image: Image.Image) -> int:
    """The number of rows at the bottom without data."""
    for bottom in range(image.height, 0, -STRIP):
        top = max(0, bottom - STRIP)
        strip = np.asarray(image.crop((0, top, image.width, bottom)))
        drawn = np.flatnonzero(~np.isin(strip, BLANK).reshape(len(strip), -1).all(axis=1))
        if drawn.size:
            return image.height - (top + int(drawn[-1]) + 1)
    return image.height
