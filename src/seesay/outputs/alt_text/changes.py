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
from typing import Any, BinaryIO

from platformdirs import user_state_path

from seesay.errors import SeesayError
from seesay.outputs.alt_text.files import with_packet
from seesay.outputs.alt_text.packet import MetadataError
from seesay.writing import naming, written_whole


class Changes:
    """A log, made with the first change; a line is on disk before its file changes.

    Args:
        path: the log; None: a new one in the user's folder for the state of programs.
    """

    def __init__(self, path: Path | None = None) -> None:
        now = f"{datetime.now().astimezone():%Y%m%d-%H%M%S}-{os.getpid()}"
        self.path = path or user_state_path("seesay") / "changes" / f"{now}.jsonl"
        self._file: BinaryIO | None = None

    def replace(self, file: Path, before: bytes | None, after: bytes, packet: bytes | None, sidecar: bool) -> None:
        """Note a change, and make it.

        Args:
            file: the file to change.
            before, after: its content; None: it does not exist.
            packet: the XMP packet that it has now.
            sidecar: whether the file is a sidecar, all of which is the packet.

        Raises:
            SeesayError: the log or the file cannot be written; the file is as before.
        """
        entry = {
            "file": str(file.absolute()),
            "sidecar": sidecar,
            "packet": None if packet is None else base64.b64encode(packet).decode(),
            "before": _digest(before),
            "after": _digest(after),
        }
        with naming(self.path):
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("ab")
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        write_file(file, after)

    def close(self) -> None:
        """Close the log."""
        if self._file:
            self._file.close()


def undo(log: Path) -> tuple[int, list[str]]:
    """Give the files that a log names their former metadata, the last change first.

    Returns:
        (number of files that are as before, what is wrong with each other one). Files that somebody has changed since
        are left alone.

    Raises:
        SeesayError: the log cannot be read.
    """
    problems: list[str] = []
    undone = 0
    for entry in reversed(_entries(log)):
        file = Path(entry["file"])
        try:
            _undo(file, entry)
            undone += 1
        except (OSError, SeesayError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error).removeprefix(f"{file}: ")
            problems.append(f"{file}: not undone: {reason}")
    return undone, problems


def _undo(file: Path, entry: dict[str, Any]) -> None:
    now = file.read_bytes() if file.exists() or entry["before"] else None
    if _digest(now) == entry["before"]:
        return
    if now is None or _digest(now) != entry["after"]:
        raise MetadataError("it was changed since, or is gone")
    packet = None if entry["packet"] is None else base64.b64decode(entry["packet"])
    if not entry["sidecar"]:
        write_file(file, with_packet(now, packet))
    elif packet is None:
        file.unlink()
    else:
        write_file(file, packet)


def _entries(log: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    lines = log.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):  # cut off, so its file was not changed
            break
        try:
            entry = json.loads(line)
            if not {"file", "sidecar", "packet", "before", "after"} <= entry.keys():
                raise ValueError
        except (ValueError, AttributeError, RecursionError):
            raise SeesayError(f"{log}:{number}: no line of a log of changes") from None
        found.append(entry)
    return found


def write_file(file: Path, content: bytes) -> None:
    """Replace a file whole; its permissions, owner and extended attributes stay.

    Raises:
        SeesayError: it cannot be written.
    """
    with written_whole(file) as scratch:
        scratch.write_bytes(content)
        if file.exists():
            shutil.copystat(file, scratch)
            os.utime(scratch)  # backups go by the time
            with suppress(OSError, AttributeError):  # only root may give files away
                status = file.stat()
                os.chown(scratch, status.st_uid, status.st_gid)


def _digest(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()
