"""Alt text in the photos' own metadata, with XMP in the file or in a sidecar (docs/alt-text.md)."""

from seesay.outputs.alt_text.changes import undo
from seesay.outputs.alt_text.copies import with_alt_text
from seesay.outputs.alt_text.packet import MetadataError
from seesay.outputs.alt_text.writer import AltText, AltTextOptions

__all__ = ["AltText", "AltTextOptions", "MetadataError", "undo", "with_alt_text"]
