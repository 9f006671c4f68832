"""The XMP packet of a JPEG file: an APP1 segment before the picture (XMP part 3, section 1.1.3)."""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from seesay.outputs.alt_text.packet import MetadataError, refuse_many

MEDIA_TYPE = "image/jpeg"
START = b"\xff\xd8"
FILL = re.compile(b"\xff+")  # a marker may have several
XMP = b"http://ns.adobe.com/xap/1.0/\0"
MPF = b"MPF\0"  # lists further pictures of the file, such as the gain map of an HDR photo
APP0, APP1, APP2 = 0xE0, 0xE1, 0xE2
SCAN, END = 0xDA, 0xD9
LARGEST = 0xFFFF - 2 - len(XMP)
MP_ENTRIES = 0xB002


class Segment(NamedTuple):
    """A segment of the file: data[start:stop] with its marker and length, the rest from `body` on."""

    marker: int
    start: int
    body: int
    stop: int


def packet_of(data: bytes) -> bytes | None:
    """The packet, None if the file has none. Raises MetadataError: the file is broken."""
    found = _xmp(data, _segments(data))
    return data[found.body + len(XMP) : found.stop] if found else None


def with_packet(data: bytes, packet: bytes | None) -> bytes:
    """The file with another packet, or without one; every other byte of it stays.

    Raises:
        MetadataError: the file is broken, or the packet too large for a segment.
    """
    segments = _segments(data)
    found = _xmp(data, segments)
    new = b""
    if packet is not None:
        if len(packet) > LARGEST:
            raise MetadataError(f"its XMP would have {len(packet):,} bytes, a JPEG segment has {LARGEST:,} at most")
        new = bytes([0xFF, APP1]) + struct.pack(">H", len(packet) + len(XMP) + 2) + XMP + packet
    start, stop = (found.start, found.stop) if found else (_place(data, segments),) * 2
    further = next((s for s in segments if s.marker == APP2 and data.startswith(MPF, s.body)), None)
    if further and start > further.start:  # offsets in it count from its own place
        raise MetadataError("its XMP stands after the list of its further pictures")
    changed = bytearray(data[:start] + new + data[stop:])
    if further:
        more = len(changed) - len(data)
        _add_to_first_size(changed, further.body + more, further.stop + more, more)
    return bytes(changed)


def _segments(data: bytes) -> list[Segment]:
    """The segments before the picture."""
    found: list[Segment] = []
    place = len(START)
    while True:
        start = place
        if not (fill := FILL.match(data, place)):
            raise MetadataError("its JPEG segments are broken")
        place = fill.end()
        marker = data[place] if place < len(data) else END
        if marker in (SCAN, END):
            return found
        body = place + 3
        if body > len(data) or (length := struct.unpack_from(">H", data, place + 1)[0]) < 2:
            raise MetadataError("its JPEG segments are broken")
        place += 1 + length
        if place > len(data):
            raise MetadataError("its JPEG segments are broken")
        found.append(Segment(marker, start, body, place))
        refuse_many(len(found))


def _xmp(data: bytes, segments: list[Segment]) -> Segment | None:
    return next((s for s in segments if s.marker == APP1 and data.startswith(XMP, s.body)), None)


def _place(data: bytes, segments: list[Segment]) -> int:
    """Where a new segment goes: after JFIF and Exif, which have to come first."""
    place = len(START)
    for segment in segments:
        if segment.marker != APP0 and not (segment.marker == APP1 and data.startswith(b"Exif\0", segment.body)):
            break
        place = segment.stop
    return place


def _add_to_first_size(data: bytearray, body: int, stop: int, more: int) -> None:
    """Correct the list of pictures (CIPA DC-007), which has the size of the first one with its metadata.

    Args:
        data: the file.
        body, stop: where the list's segment begins and ends.
        more: the bytes that the first picture has gained.
    """
    base = body + len(MPF)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(data[base : base + 4]))
    if not order:
        return
    try:
        (directory,) = struct.unpack_from(f"{order}I", data, base + 4)
        (entries,) = struct.unpack_from(f"{order}H", data, base + directory)
        for number in range(entries):
            tag, _, _, value = struct.unpack_from(f"{order}HHII", data, base + directory + 2 + 12 * number)
            if tag == MP_ENTRIES and base + value + 8 <= stop:  # else it would be somewhere in the picture
                (size,) = struct.unpack_from(f"{order}I", data, base + value + 4)
                struct.pack_into(f"{order}I", data, base + value + 4, size + more)
    except struct.error:  # it lists nothing that could be read
        return
