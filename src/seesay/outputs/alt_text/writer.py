"""Captions as the alt text of the photos themselves, or of sidecar files beside them."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seesay.caption import Failure
from seesay.errors import SeesayError
from seesay.outputs.alt_text.changes import Changes
from seesay.outputs.alt_text.files import exif_description, packet_of, sidecar_of, with_packet
from seesay.outputs.alt_text.packet import ALT_TEXT, DESCRIPTION, MetadataError, Overwrite, Packet
from seesay.outputs.writer import Done, LeftOutError, Result, Writer, captions_of

if TYPE_CHECKING:
    from seesay.data.images import HasPicture, ImageSource
    from seesay.data.sources import ListedPhoto


@dataclass(frozen=True, kw_only=True)
class AltTextOptions:
    """Where alt text goes.

    Attributes:
        embed: into the photo files; else into a sidecar beside each, photo.jpg.xmp.
        overwrite: which alt text may be replaced: "nothing"; "ours": what seesay wrote and nobody edited; "all".
        dry_run: change no file.
        model: the name of the model, which is written too.
    """

    embed: bool = False
    overwrite: Overwrite = "nothing"
    dry_run: bool = False
    model: str = ""


class AltText(Writer):
    """Writes the alt text of each captioned photo, and its description where the photo has none.

    Captions that are withheld are not written.

    Args:
        options: where it goes.
        skip: whether photos that have alt text already need no caption at all.
        log: of the changes; None: a new one.

    Attributes:
        written, kept: the photos whose alt text was written, and those that have one that may not be replaced.
    """

    about = ""
    whole = False

    def __init__(self, options: AltTextOptions, skip: bool = False, log: Path | None = None) -> None:
        super().__init__("")
        self.options = options
        self.changes = Changes(log)
        self.written = self.kept = 0
        if skip:
            self.done = HasAltText(self)

    def write(self, photo: ImageSource | HasPicture, result: Result) -> None:
        if isinstance(result, Failure):
            return
        caption, *_ = captions_of(result)
        if caption.withheld:
            return
        file = file_of(photo)
        if file is None:
            raise LeftOutError(f"{caption.image}: no alt text written: it is not a file of its own")
        try:
            data, target, old = self._read(file)
            packet, inside = Packet(old), Packet(packet_of(data))
            if not self._may_write(packet, inside):
                self.kept += 1
                return
            described = not all(p.may_write(DESCRIPTION, "ours") for p in (packet, inside)) or exif_description(data)
            packet.write(caption.text, not described, self.options.model, caption.confidence)
            new = packet.to_bytes()
            before, after = (data, with_packet(data, new)) if self.options.embed else (old, new)
            if not os.access(target if target.exists() else target.parent, os.W_OK):
                raise MetadataError("it is write-protected")
            if not self.options.dry_run:
                self.changes.replace(target, before, after, old, not self.options.embed)
        except OSError as error:
            raise LeftOutError(f"{file}: no alt text written: {error.strerror}") from None
        except SeesayError as error:
            raise LeftOutError(f"{file}: no alt text written: {str(error).removeprefix(f'{file}: ')}") from None
        self.written += 1

    def may_write(self, file: Path) -> bool:
        """Whether a photo has no alt text, or one that may be replaced; also if its metadata cannot be read."""
        try:
            data, _, old = self._read(file)
            return self._may_write(Packet(old), Packet(packet_of(data)))
        except (OSError, MetadataError):
            return True

    @property
    def summary(self) -> list[str]:
        """What was done, and how to undo it; a sentence a line."""
        photos = f"{self.written:,} photo{'' if self.written == 1 else 's'}"
        kept = f", {self.kept:,} had it already" if self.kept else ""
        if self.options.dry_run:
            return [f"would write alt text for {photos}{kept}; nothing was changed"]
        undo = [f"to undo that: seesay caption --undo {shlex.quote(str(self.changes.path))}"] if self.written else []
        return [f"wrote alt text for {photos}{kept}", *undo]

    def close(self) -> None:
        self.changes.close()

    def discard(self) -> None:
        self.changes.close()

    def _read(self, file: Path) -> tuple[bytes, Path, bytes | None]:
        """(the photo file, the file that gets the packet, its packet now)."""
        data = file.read_bytes()
        if self.options.embed:
            return data, file, packet_of(data)
        sidecar = sidecar_of(file)
        return data, sidecar, sidecar.read_bytes() if sidecar.exists() else None

    def _may_write(self, *packets: Packet) -> bool:
        """Whether the packet that is written and that of the photo file both allow it; they may be the same."""
        return all(packet.may_write(ALT_TEXT, self.options.overwrite) for packet in packets)


class HasAltText(Done):
    """The photos that have alt text which may not be replaced."""

    def __init__(self, writer: AltText) -> None:
        super().__init__()
        self.writer = writer

    def holds(self, photo: ListedPhoto) -> bool:
        file = file_of(photo.source)
        has = file is not None and not self.writer.may_write(file)
        self.writer.kept += has
        return has


def file_of(photo: object) -> Path | None:
    """The file of a photo that is one by itself, not part of an archive, an address or bytes."""
    source = getattr(photo, "source", photo)
    return path if isinstance(source, str | os.PathLike) and (path := Path(source)).is_file() else None
