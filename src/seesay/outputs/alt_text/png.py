"""The XMP packet of a PNG file: an iTXt chunk (XMP part 3, section 1.1.5)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from seesay.outputs.alt_text.packet import MetadataError, refuse_many

MEDIA_TYPE = "image/png"
START = b"\x89PNG\r\n\x1a\n"
KEYWORD = b"XML:com.adobe.xmp\0"
PLAIN = KEYWORD + b"\0\0\0\0"  # not compressed; no language and no translated keyword
LARGEST = 2**24  # bytes of a compressed packet


class Chunk(NamedTuple):
    """A chunk of the file: data[start:stop] with its length, kind and checksum, the content from `body` to `end`."""

    kind: bytes
    start: int
    body: int
    end: int
    stop: int


def packet_of(data: bytes) -> bytes | None:
    """The packet, None if the file has none. Raises MetadataError: the file is broken."""
    found = _xmp(data)
    if not found:
        return None
    content = data[found.body + len(KEYWORD) : found.end]
    compressed, (_, _, packet) = content[:1] == b"\1", content[2:].split(b"\0", 2)
    return _decompressed(packet) if compressed else packet


def with_packet(data: bytes, packet: bytes | None) -> bytes:
    """The file with another packet, or without one; every other byte of it stays.

    Raises:
        MetadataError: the file is broken.
    """
    new = b""
    if packet is not None:
        content = b"iTXt" + PLAIN + packet
        new = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    header = next(iter(_chunks(data)))
    found = _xmp(data)
    start, stop = (found.start, found.stop) if found else (header.stop, header.stop)
    return data[:start] + new + data[stop:]


def _chunks(data: bytes) -> Iterator[Chunk]:
    place, number = len(START), 0
    while place < len(data):
        number += 1
        refuse_many(number)
        if place + 12 > len(data):
            raise MetadataError("its PNG chunks are broken")
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 8 + length
        if end + 4 > len(data):
            raise MetadataError("its PNG chunks are broken")
        yield Chunk(kind, place, place + 8, end, end + 4)
        if kind == b"IEND":
            return
        place = end + 4
    raise MetadataError("its PNG chunks are broken")


def _xmp(data: bytes) -> Chunk | None:
    chunks = (chunk for chunk in _chunks(data) if chunk.kind == b"iTXt" and data.startswith(KEYWORD, chunk.body))
    found = next(chunks, None)
    if found and data[found.body : found.end].count(b"\0", len(KEYWORD) + 2) < 2:
        raise MetadataError("its XMP chunk is broken")
    return found


def _decompressed(packet: bytes) -> bytes:
    inflate = zlib.decompressobj()
    try:
        content = inflate.decompress(packet, LARGEST)
    except zlib.error as error:
        raise MetadataError(f"its XMP is broken ({error})") from None
    if inflate.unconsumed_tail:
        raise MetadataError(f"its XMP has more than {LARGEST:,} bytes")
    return content
