"""Photo files, and the texts about the photo that they hold."""

from __future__ import annotations

import io
from pathlib import Path
from types import ModuleType
from warnings import catch_warnings, simplefilter

from seesay.outputs.alt_text import jpeg, png, webp
from seesay.outputs.alt_text.packet import MetadataError

FORMATS = "JPEG, PNG and WebP"
IMAGE_DESCRIPTION, XMP = 270, 700  # tags of Exif and TIFF
CAPTION = (2, 120)  # of IPTC's older records


def packet_of(data: bytes) -> bytes | None:
    """The XMP packet of a photo file; None if it has none.

    Raises:
        MetadataError: the file is broken.
    """
    format_ = _format(data)
    return format_.packet_of(data) if format_ else _packet_by_pillow(data)


def with_packet(data: bytes, packet: bytes | None) -> bytes:
    """The file with another packet, or without one; its picture and all other metadata stay byte for byte.

    Raises:
        MetadataError: the file is broken, of another format, or would not be the same again without the packet.
    """
    format_ = _format(data)
    if not format_:
        raise MetadataError(f"only {FORMATS} files can hold it; use --sidecar")
    changed = format_.with_packet(data, packet)
    if format_.with_packet(changed, format_.packet_of(data)) != data:
        raise MetadataError("it could not be taken out again; use --sidecar")
    return changed


def media_type_of(data: bytes) -> str | None:
    """The media type of a photo file that can hold a packet; None for others."""
    format_ = _format(data)
    return format_.MEDIA_TYPE if format_ else None


def has_description(data: bytes) -> bool:
    """Whether Exif or IPTC's older records describe the photo; False if they cannot be read."""
    from PIL import Image, IptcImagePlugin

    with catch_warnings():
        simplefilter("ignore")  # about the metadata of photos
        try:
            with Image.open(io.BytesIO(data)) as image:
                # of a PNG without Exif before its picture, Pillow would decode the picture to look behind it
                exif = image.getexif() if image.format != "PNG" or "exif" in image.info else {}
                texts = [
                    exif.get(IMAGE_DESCRIPTION),
                    (IptcImagePlugin.getiptcinfo(image) or {}).get(CAPTION),
                ]
        except Exception:  # Pillow raises what broken metadata happen to raise
            return False
    return any(text.strip("\0 \t\r\n") if isinstance(text, str) else text for text in texts)


def sidecar_of(photo: Path) -> Path:
    """Where photo managers look for the XMP of a photo: photo.jpg.xmp."""
    return photo.with_name(f"{photo.name}.xmp")


def _format(data: bytes) -> ModuleType | None:
    if data.startswith(webp.START):
        return webp if data[8:12] == webp.FORM else None
    return next((format_ for format_ in (jpeg, png) if data.startswith(format_.START)), None)


def _packet_by_pillow(data: bytes) -> bytes | None:
    from PIL import Image

    with catch_warnings():
        simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data)) as image:
                packet = image.info.get("xmp") or image.getexif().get(XMP)
        except Exception:
            return None
    return packet.encode() if isinstance(packet, str) else packet
