"""The XMP packet of a WebP file: a chunk that a flag of the header announces (RFC 9649, section 2.7)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from seesay.outputs.alt_text.packet import MetadataError, refuse_many

MEDIA_TYPE = "image/webp"
START, FORM = b"RIFF", b"WEBP"
HEADER, XMP = b"VP8X", b"XMP "
HAS_XMP, HAS_ALPHA = 0x04, 0x10
PLAIN = (b"VP8 ", b"VP8L")  # the pictures that need no header


class Chunk(NamedTuple):
    """A chunk: its kind, its content, and the padding after it."""

    kind: bytes
    content: bytes
    padding: bytes

    def to_bytes(self) -> bytes:
        """As in the file."""
        return self.kind + struct.pack("<I", len(self.content)) + self.content + self.padding


def packet_of(data: bytes) -> bytes | None:
    """The packet, None if the file has none. Raises MetadataError: the file is broken."""
    chunks, _ = _chunks(data)
    return next((chunk.content for chunk in chunks if chunk.kind == XMP), None)


def with_packet(data: bytes, packet: bytes | None) -> bytes:
    """The file with another packet, or without one; the other chunks stay, but for the header.

    A file that gets a header for the packet loses it with the packet.

    Raises:
        MetadataError: the file is broken.
    """
    chunks, rest = _chunks(data)
    new = [] if packet is None else [Chunk(XMP, packet, b"\0" * (len(packet) % 2))]
    place = next((n for n, chunk in enumerate(chunks) if chunk.kind == XMP), len(chunks))
    chunks[place : place + 1] = new
    header = chunks[0].content if chunks[0].kind == HEADER else None
    if new:
        flags, size = (header[0], header[1:]) if header else _header(chunks[0])
        content = bytes([flags | HAS_XMP]) + size
        chunks[: bool(header)] = [Chunk(HEADER, content, b"")]
    elif header:
        flags = header[0] & ~HAS_XMP
        needed = flags & ~HAS_ALPHA or len(chunks) != 2 or chunks[1].kind not in PLAIN
        chunks[:1] = [Chunk(HEADER, bytes([flags]) + header[1:], b"")] if needed else []
    body = FORM + b"".join(chunk.to_bytes() for chunk in chunks)
    return START + struct.pack("<I", len(body)) + body + rest


def _chunks(data: bytes) -> tuple[list[Chunk], bytes]:
    """The chunks, and what follows the last one."""
    stop = 8 + struct.unpack_from("<I", data, 4)[0]
    chunks: list[Chunk] = []
    place = 12
    while place < stop:
        if place + 8 > len(data):
            raise MetadataError("its WebP chunks are broken")
        kind, length = struct.unpack_from("<4sI", data, place)
        end = place + 8 + length
        if end > len(data):
            raise MetadataError("its WebP chunks are broken")
        after = min(end + length % 2, len(data))
        chunks.append(Chunk(kind, data[place + 8 : end], data[end:after]))
        refuse_many(len(chunks))
        place = after
    is_header = bool(chunks) and chunks[0].kind == HEADER and len(chunks[0].content) == 10
    if not is_header and (len(chunks) != 1 or chunks[0].kind not in PLAIN):
        raise MetadataError("its WebP chunks are broken")
    return chunks, data[place:]


def _header(picture: Chunk) -> tuple[int, bytes]:
    """Flags and size for the header of a file that has none: (width, height and alpha are in the picture)."""
    try:
        if picture.kind == b"VP8L":
            (bits,) = struct.unpack_from("<I", picture.content, 1)
            width, height = bits & 0x3FFF, bits >> 14 & 0x3FFF  # less 1, as in the header
            flags = HAS_ALPHA if bits >> 28 & 1 else 0
        else:
            width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", picture.content, 6))
            width, height, flags = width - 1, height - 1, 0
        return flags, bytes(3) + struct.pack("<I", width)[:3] + struct.pack("<I", height)[:3]
    except struct.error:  # also of a picture without width or height
        raise MetadataError("its WebP chunks are broken") from None
