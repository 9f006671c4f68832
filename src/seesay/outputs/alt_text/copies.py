"""Copies of photos with alt text in their metadata, in memory."""

from __future__ import annotations

from seesay.caption import Caption
from seesay.outputs.alt_text.files import has_description, packet_of, with_packet
from seesay.outputs.alt_text.packet import DESCRIPTION, Packet


def with_alt_text(photo: bytes, caption: Caption | str, model: str = "") -> bytes:
    """A copy of a JPEG, PNG or WebP file with alt text, and a description where the photo has none.

    Alt text that the photo has is replaced in the copy, but a description only if seesay wrote it. The picture and all
    other metadata stay byte for byte.

    Args:
        photo: the content of the file.
        caption: a model's caption, or somebody's own words, which `seesay caption --overwrite ours` will not replace.
        model: the name of the model, which is written beside its caption.

    Raises:
        MetadataError: the file is broken, of another format, or its XMP is.
    """
    packet = Packet(packet_of(photo))
    describe = packet.may_write(DESCRIPTION, "ours") and not has_description(photo)
    if isinstance(caption, Caption):
        packet.write(caption.text, describe, model, caption.confidence)
    else:
        packet.write_own(caption, describe)
    new = packet.to_bytes()
    Packet(new)  # what cannot be read again must not be written
    return with_packet(photo, new)
