"""Captions as the alt text of the photos themselves, or of sidecar files beside them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seesay.caption import Caption, Failure
from seesay.data.text import count_of
from seesay.errors import SeesayError
from seesay.outputs.alt_text.changes import Changes, Seen
from seesay.outputs.alt_text.files import has_description, packet_of, sidecar_of, with_packet
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

    Captions that are withheld are not written, and damaged photos get none.

    Args:
        options: where it goes.
        log: of the changes; None: a new one.

    Attributes:
        written, kept: the photos whose alt text was written, and those that have one that may not be replaced.
        wrote: called with each photo file that was changed, right after that.
    """

    about = ""
    resumes = True
    whole = False

    def __init__(self, options: AltTextOptions, log: Path | None = None) -> None:
        super().__init__("")
        self.options = options
        self.changes = Changes(log)
        self.written = self.kept = 0
        self.wrote: Callable[[Path], None] = lambda _: None
        self.done = HasAltText(self)

    def write(self, photo: ImageSource | HasPicture, result: Result) -> None:
        if isinstance(result, Failure):
            return
        caption, *_ = captions_of(result)
        if caption.withheld:
            return
        file = file_of(photo)
        try:
            if file is None:
                raise MetadataError("it is not a file of its own")
            if caption.warning:  # somebody may still be writing to it
                raise MetadataError(caption.warning)
            self._write(file, caption)
        except OSError as error:
            raise LeftOutError(f"{caption.image}: no alt text written: {error.strerror}") from None
        except SeesayError as error:
            reason = str(error).removeprefix(f"{file}: ")
            raise LeftOutError(f"{caption.image}: no alt text written: {reason}") from None

    def _write(self, file: Path, caption: Caption) -> None:
        photo, sidecar = Seen(file), Seen(sidecar_of(file))
        packets = self._packets(photo, sidecar)
        if not self._may_write(packets):
            self.kept += 1
            return
        data = photo.content or b""
        described = not all(packet.may_write(DESCRIPTION, "ours") for packet in packets) or has_description(data)
        target, before = (file, photo) if self.options.embed else (sidecar_of(file), sidecar)
        old = packet_of(data) if self.options.embed else sidecar.content
        packets[0].write(caption.text, not described, self.options.model, caption.confidence)
        new = packets[0].to_bytes()
        after = with_packet(data, new) if self.options.embed else new
        if not os.access(target if before.status else target.parent, os.W_OK):
            raise MetadataError("it is write-protected")
        if not self.options.dry_run:
            self.changes.replace(target, before, after, old, not self.options.embed)
            if self.options.embed:
                self.wrote(file)
        self.written += 1

    def may_write(self, file: Path) -> bool:
        """Whether a photo has no alt text, or one that may be replaced; also if its metadata cannot be read."""
        try:
            return self._may_write(self._packets(Seen(file), Seen(sidecar_of(file))))
        except (OSError, MetadataError):
            return True

    def pass_over(self) -> None:
        self.kept += 1

    @property
    def summary(self) -> list[str]:
        """What was done, and how to undo it; a sentence a line."""
        photos = count_of(self.written, "photo")
        kept = f", {self.kept:,} had it already" if self.kept else ""
        if self.options.dry_run:
            return [f"would write alt text for {photos}{kept}; nothing was changed"]
        undo = [f"to undo that: seesay caption --undo {shlex.quote(str(self.changes.path))}"] if self.written else []
        return [f"wrote alt text for {photos}{kept}", *undo]

    def close(self) -> None:
        self.changes.close()

    def discard(self) -> None:
        self.changes.close()

    def _packets(self, photo: Seen, sidecar: Seen) -> list[Packet]:
        """What is said about a photo: the packet that is written first, then that of the photo file or the sidecar."""

        def inside() -> Packet:
            return Packet(packet_of(photo.content or b""))

        def beside() -> Packet:
            return Packet(sidecar.content)

        written, other = (inside, beside) if self.options.embed else (beside, inside)
        packets = [written()]
        with suppress(MetadataError):  # only what is written has to be sound
            packets.append(other())
        return packets

    def _may_write(self, packets: list[Packet]) -> bool:
        return all(packet.may_write(ALT_TEXT, self.options.overwrite) for packet in packets)


class HasAltText(Done):
    """The photos that have alt text which may not be replaced."""

    def __init__(self, writer: AltText) -> None:
        super().__init__()
        self.writer = writer

    def holds(self, photo: ListedPhoto) -> bool:
        file = file_of(photo.source)
        return file is not None and not self.writer.may_write(file)


def file_of(photo: object) -> Path | None:
    """The file of a photo that is one by itself, not part of an archive, an address or bytes."""
    source = getattr(photo, "source", photo)
    return path if isinstance(source, str | os.PathLike) and (path := Path(source)).is_file() else None
