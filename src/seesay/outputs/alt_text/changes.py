"""The log of changed files, from which the changes can be undone."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from platformdirs import user_state_path

from seesay.errors import SeesayError
from seesay.outputs.alt_text.files import with_packet
from seesay.outputs.alt_text.packet import MetadataError
from seesay.writing import naming, written_whole

KEYS = {"file", "sidecar", "packet", "before", "after", "time"}


class Changes:
    """A log, made with the first change; a line is on disk before its file changes.

    Args:
        path: the log; None: a new one in the user's folder for the state of programs.
    """

    def __init__(self, path: Path | None = None) -> None:
        name = f"{datetime.now().astimezone():%Y%m%d-%H%M%S}-{os.urandom(3).hex()}.jsonl"
        self.path = path or user_state_path("seesay") / "changes" / name
        self._file: IO[bytes] | None = None

    def replace(self, file: Path, before: Seen, after: bytes, packet: bytes | None, sidecar: bool) -> None:
        """Note a change, and make it.

        Args:
            file: the file to change.
            before: as it was read.
            after: its new content.
            packet: the XMP packet that it has now.
            sidecar: whether the file is a sidecar, all of which is the packet.

        Raises:
            SeesayError: the log or the file cannot be written, or somebody else has changed the file meanwhile; it is
                as before.
        """
        entry = {
            "file": str(file.resolve()),
            "sidecar": sidecar,
            "packet": None if packet is None else base64.b64encode(packet).decode(),
            "before": _digest(before.content),
            "after": _digest(after),
            "time": before.status.st_mtime_ns if before.status else None,
        }
        with naming(self.path):
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("xb", buffering=0)
                _settle(self.path.parent)
            line = json.dumps(entry).encode() + b"\n"
            if self._file.write(line) != len(line):
                raise SeesayError(f"{self.path}: cannot be written: the disk is full")
            os.fsync(self._file.fileno())
        write_file(file, after, before)

    def close(self) -> None:
        """Close the log."""
        if self._file:
            self._file.close()


class Seen:
    """A file as it was read: its content, None if it does not exist, and its status before that."""

    def __init__(self, file: Path) -> None:
        try:
            self.status: os.stat_result | None = file.stat()
            self.content: bytes | None = file.read_bytes()
        except FileNotFoundError:
            self.status = self.content = None

    def is_still(self, file: Path) -> bool:
        """Whether nobody has changed, replaced, removed or made the file since."""
        try:
            now = file.stat()
        except FileNotFoundError:
            return self.status is None
        return self.status is not None and all(
            getattr(now, name) == getattr(self.status, name) for name in ("st_ino", "st_mtime_ns", "st_size")
        )


def undo(log: Path) -> tuple[int, list[str]]:
    """Give the files that a log names their former metadata, the last change first.

    Returns:
        (number of files that are as before, what is wrong with each other one). Files that somebody has changed since
        are left alone.

    Raises:
        SeesayError: the log cannot be read.
    """
    problems: list[str] = []
    undone: set[str] = set()
    for entry in reversed(_entries(log)):
        file = Path(entry["file"])
        try:
            _undo(file, entry)
            undone.add(entry["file"])
        except (OSError, SeesayError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error).removeprefix(f"{file}: ")
            problems.append(f"{file}: not undone: {reason}")
    return len(undone), problems


def _undo(file: Path, entry: dict[str, Any]) -> None:
    now = Seen(file)
    if _digest(now.content) == entry["before"]:
        return
    if now.content is None or _digest(now.content) != entry["after"]:
        raise MetadataError("it was changed since, or is gone")
    packet = None if entry["packet"] is None else base64.b64decode(entry["packet"])
    if entry["sidecar"] and packet is None:
        file.unlink()
        return
    before = packet if entry["sidecar"] else with_packet(now.content, packet)
    write_file(file, before or b"", now)
    if entry["time"] is not None:
        os.utime(file, ns=(entry["time"], entry["time"]))


def _entries(log: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    try:
        lines = log.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise SeesayError(f"{log}: cannot be read: {error.strerror}") from None
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):  # cut off, so its file was not changed
            break
        try:
            entry = json.loads(line)
            if not entry.keys() >= KEYS:
                raise ValueError
            base64.b64decode(entry["packet"] or "", validate=True)
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise SeesayError(f"{log}:{number}: no line of a log of changes") from None
        found.append(entry)
    return found


def write_file(file: Path, content: bytes, before: Seen) -> None:
    """Replace a file whole; its permissions, owner and extended attributes stay, and links to it are followed.

    Of several hard links to a file only this one gets the new content.

    Args:
        file: the file.
        content: its new content, which is on disk before it takes the file's place.
        before: the file as it was read.

    Raises:
        SeesayError: it cannot be written, or somebody else has changed it meanwhile.
    """
    with written_whole(file) as scratch:
        with scratch.open("wb") as new:
            new.write(content)
            new.flush()
            os.fsync(new.fileno())
        if before.status:
            shutil.copystat(file, scratch)
            os.utime(scratch)  # backups go by the time
            with suppress(OSError, AttributeError):  # only root may give files away
                os.chown(scratch, before.status.st_uid, before.status.st_gid)
        if not before.is_still(file):
            raise MetadataError(f"{file}: it was changed meanwhile")
    _settle(file.resolve().parent)


def _settle(folder: Path) -> None:
    """Have the names in a folder written to disk, where the system can do that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _digest(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()
