"""JPEG's own dangers and damages: too many scans, and files that were cut short."""

from __future__ import annotations

import re

import numpy as np
from PIL import Image

from seesay.errors import PhotoError

START = b"\xff\xd8\xff"
END = b"\xff\xd9"
# A marker that is neither an escaped 0xff nor one of the restarts within a scan.
MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
START_OF_SCAN, END_OF_IMAGE, ALONE = 0xDA, 0xD9, (0x01, 0xD8)
MAX_SCANS = 100  # libtiff's limit too; encoders make 10 to 20
MAX_SCANNED = 4_000_000_000  # pixels times scans: four seconds
MAX_SEGMENTS = 100_000

MAX_MISSING = 0.25  # of the height of a photo that was cut short
BLANK = (127, 128)  # libjpeg puts middle grey where it has no data; inverted for CMYK
STRIP = 64  # rows that are looked at together


def check_scans(data: bytes, size: tuple[int, int]) -> None:
    """Raise PhotoError if a JPEG of (width, height) pixels has so many scans that decoding takes long.

    See "Two Issues with the JPEG Standard and How to Mitigate Them" by the authors of libjpeg-turbo.
    """
    most = min(MAX_SCANS, MAX_SCANNED // (size[0] * size[1]))
    # Most files are done with a plain count, which takes thumbnails and what follows the photo for scans, too.
    if data.count(bytes((0xFF, START_OF_SCAN))) > most and _more_scans_than(most, data):
        what = f"a JPEG of {size[0]:,} x {size[1]:,} pixels in more than {most} scans"
        raise PhotoError(f"too slow to decode: {what}; save it anew, or as a baseline JPEG")


def _more_scans_than(most: int, data: bytes) -> bool:
    scans, at = 0, len(START) - 1
    for _ in range(MAX_SEGMENTS):
        if not (found := MARKER.search(data, at)):
            return False
        at, kind = found.end(), data[found.start() + 1]
        scans += kind == START_OF_SCAN
        if kind == END_OF_IMAGE or scans > most:
            return scans > most
        if kind not in ALONE:
            at += int.from_bytes(data[at : at + 2], "big")
    return True


def what_is_missing(image: Image.Image) -> str:
    """A warning about a JPEG that was cut short and given an end of its own, decoded and not yet turned.

    Raises:
        PhotoError: more than `MAX_MISSING` of its rows are missing.
    """
    share = _blank_rows(image) / image.height
    if share > MAX_MISSING:
        raise PhotoError(f"damaged, cannot be decoded (cut short: {share:.0%} of the picture is missing)")
    if share:
        return f"cut short: the lowest {max(share, 0.01):.0%} of the picture is missing"
    if image.info.get("progressive"):
        return "cut short: some detail may be missing"
    return "cut short: the end of the file is missing, but nothing of the picture"


def _blank_rows(image: Image.Image) -> int:
    """How many rows, counted from the end, have no data."""
    for bottom in range(image.height, 0, -STRIP):
        top = max(0, bottom - STRIP)
        strip = np.asarray(image.crop((0, top, image.width, bottom)))
        drawn = np.flatnonzero(~np.isin(strip, BLANK).reshape(len(strip), -1).all(axis=1))
        if drawn.size:
            return image.height - (top + int(drawn[-1]) + 1)
    return image.height
