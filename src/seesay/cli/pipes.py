"""Photos that come through a pipe: `-`, `/dev/stdin`, and a shell's `<(...)`."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from seesay.errors import SeesayError

STANDARD_INPUT = "-"
INHERITED = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")  # opening any other pipe may block for ever


class Pipe:
    """A photo from a pipe, as a file object that can be read several times.

    Attributes:
        name: as on the command line.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._data = b""

    def read(self, size: int = -1) -> bytes:
        """All data of the pipe; the first call reads it, up to `size` bytes."""
        if not self._data:
            if self.name == STANDARD_INPUT:
                self._data = sys.stdin.buffer.read(size)
            else:
                with Path(self.name).open("rb") as file:
                    self._data = file.read(size)
        return self._data


def pipes_among(names: Iterable[str]) -> dict[str, Pipe]:
    """{name: pipe} for the names that stand for a pipe.

    Raises:
        SeesayError: standard input is closed, or a terminal.
    """
    pipes = {name: Pipe(name) for name in names if name == STANDARD_INPUT or _is_inherited_pipe(name)}
    if STANDARD_INPUT in pipes and (sys.stdin is None or sys.stdin.isatty()):
        raise SeesayError("-: standard input has no photo: send one, as in `seesay caption - < photo.jpg`")
    return pipes


def _is_inherited_pipe(name: str) -> bool:
    try:
        return name.startswith(INHERITED) and stat.S_ISFIFO(os.stat(name).st_mode)  # noqa: PTH116
    except OSError:
        return False
