"""Image formats: which ones are opened, and how they are recognised."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from typing import IO, cast

from PIL import Image, ImageFile

# Only formats of photos are opened: most known vulnerabilities of Pillow were in its thirty other
# decoders.
PHOTO_FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "AVIF": (".avif", ".avifs"),
    "HEIF": (".heic", ".heif", ".hif", ".heics", ".heifs"),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
}
NEEDS_HEIF = "pip install 'seesay[heic]'"
# in Pillow's modules
PLUGINS = {name: name.capitalize() for name in PHOTO_FORMATS} | {"WEBP": "WebP"}

# Kinds of pictures that are not supported, for messages.
OTHER_PICTURES = {
    "camera RAW": ".3fr .ari .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .gpr .iiq .k25 .kdc .mef .mos"
    " .mrw .nef .nrw .orf .pef .raf .raw .rw2 .rwl .sr2 .srf .srw .x3f",
    "JPEG XL": ".jxl",
    "SVG": ".svg .svgz",
    "JPEG 2000": ".jp2 .j2k .jpf .jpx .jpc .j2c",
    "Photoshop": ".psd .psb",
    "OpenEXR": ".exr",
    "Radiance": ".hdr",
    "QOI": ".qoi",
    "TGA": ".tga",
    "DDS": ".dds",
    "ICO": ".ico",
    "PCX": ".pcx",
    "JPEG XR": ".jxr .wdp .hdp",
}

SIGNATURES = {  # (offset, bytes) -> description of a file
    (0, b"8BPS"): "a Photoshop file",
    (0, b"\xff\x0a"): "a JPEG XL picture",
    (0, b"\0\0\0\x0cJXL \r\n\x87\n"): "a JPEG XL picture",
    (0, b"\0\0\0\x0cjP  \r\n\x87\n"): "a JPEG 2000 picture",
    (0, b"\xff\x4f\xff\x51"): "a JPEG 2000 picture",
    (0, b"DDS "): "a DDS texture",
    (0, b"qoif"): "a QOI picture",
    (0, b"\0\0\1\0"): "an icon",
    (0, b"%PDF"): "a PDF document",
    (0, b"%!PS"): "a PostScript document",
    (0, b"SIMPLE  ="): "a FITS image",
    (0, b"<svg"): "an SVG drawing",
    (0, b"<?xml"): "XML, perhaps an SVG drawing",
    (0, b"<!DOCTYPE html"): "a web page",
    (0, b"<html"): "a web page",
    (4, b"ftypcrx "): "a camera RAW file",
    (4, b"ftyp"): "a film",
}


def photo_formats() -> list[str]:
    """Names of the formats that can be opened; HEIF only if pillow-heif is installed."""
    return [name for name in PHOTO_FORMATS if name != "HEIF" or heif_installed()]


@cache
def photo_suffixes() -> frozenset[str]:
    """Every suffix of `PHOTO_FORMATS`, lower case with the dot, HEIF's included."""
    return frozenset(suffix for suffixes in PHOTO_FORMATS.values() for suffix in suffixes)


@cache
def heif_installed() -> bool:
    """Whether HEIC and HEIF files can be read."""
    return find_spec("pillow_heif") is not None


@cache
def picture_kind(suffix: str) -> str:
    """The kind of a picture with this suffix if it cannot be read here, else ""."""
    if suffix in PHOTO_FORMATS["HEIF"]:
        return "" if heif_installed() else "HEIC"
    return next((kind for kind, suffixes in OTHER_PICTURES.items() if suffix in suffixes.split()), "")


def formats_by_signature(start: bytes) -> Iterator[str]:
    """The formats that a file with these first 16 bytes may have."""
    if start.startswith(b"\xff\xd8\xff"):
        yield "JPEG"
    elif start.startswith(b"\x89PNG\r\n\x1a\n"):
        yield "PNG"
    elif start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        yield "WEBP"
    elif start[4:8] == b"ftyp" and start[8:12] in (b"avif", b"avis"):
        yield "AVIF"
    elif start[4:8] == b"ftyp" and start[8:12] in (b"mif1", b"msf1"):
        yield from ("AVIF", "HEIF")
    elif start[4:8] == b"ftyp" and start[8:11] in (b"hei", b"hev"):
        yield "HEIF"
    elif start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        yield "TIFF"
    elif start[:6] in (b"GIF87a", b"GIF89a"):
        yield "GIF"
    elif start[:2] == b"BM":
        yield "BMP"
    elif start[:1] == b"P" and start[1:2] in b"123456Ff" and start[2:3].isspace():
        yield "PPM"


def what_it_is(start: bytes) -> str:
    """A description of a file of a known kind that is not supported, by its first bytes, or ""."""
    start = start.lstrip(b"\xef\xbb\xbf \t\r\n") if start[:1] in b"\xef \t\r\n<" else start
    return next((what for (at, first), what in SIGNATURES.items() if start[at:].startswith(first)), "")


def opener(name: str) -> Callable[[IO[bytes], str], ImageFile.ImageFile]:
    """Pillow's class for a format: called with a file and its name."""
    if name == "HEIF" and name not in Image.OPEN:
        importlib.import_module("pillow_heif").register_heif_opener()
    elif name != "HEIF":
        importlib.import_module(f"PIL.{PLUGINS[name]}ImagePlugin")
    return cast(Callable[[IO[bytes], str], ImageFile.ImageFile], Image.OPEN[name][0])
