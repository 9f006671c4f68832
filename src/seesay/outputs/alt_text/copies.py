"""Copies of photos with alt text in their metadata, in memory."""

from __future__ import annotations

from seesay.caption import Caption
from seesay.outputs.alt_text.files import has_description, packet_of, with_packet
from seesay.outputs.alt_text.packet import ALT_TEXT, DESCRIPTION, NOT_XML, Packet


def with_alt_text(photo: bytes, caption: Caption | str, model: str = "") -> bytes:
    """A copy of a JPEG, PNG or WebP file with alt text, and with the same description where the photo has none.

    Alt text that the photo has is replaced in the copy, and so is a description that says the same or that seesay
    wrote. The picture and all other metadata stay byte for byte.

    Args:
        photo: the content of the file.
        caption: a model's caption, or somebody's own words, which `seesay caption --overwrite ours` will not replace.
        model: the name of the model, which is written beside its caption.

    Raises:
        MetadataError: the file is broken, of another format, or its XMP is.
        ValueError: the caption is withheld, or there are no words.
    """
    if isinstance(caption, Caption) and caption.withheld:
        raise ValueError(f"the caption is withheld ({caption.shown}): give other words as text")
    text = NOT_XML.sub("", caption.text if isinstance(caption, Caption) else caption).strip()
    if not text:
        raise ValueError("alt text: expected words, got none")
    packet = Packet(packet_of(photo))
    same = set(packet.texts(DESCRIPTION)) <= set(packet.texts(ALT_TEXT))
    describe = (same or packet.may_write(DESCRIPTION, "ours")) and not has_description(photo)
    if isinstance(caption, Caption):
        packet.write(text, describe, model, caption.confidence)
    else:
        packet.write_own(text, describe)
    return with_packet(photo, packet.to_bytes())
