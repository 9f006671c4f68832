"""What every verb checks before it works for hours."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from seesay.errors import SeesayError


def refuse_unwritable(*outputs: Path | None, inputs: Iterable[Path] = ()) -> None:
    """An output that cannot be written, or would overwrite an input, is said beforehand.

    Raises:
        SeesayError: the first such output, and why.
    """
    written = [path for path in outputs if path]
    # only what is there can be a photo; for a million of them this takes a while
    read = {path.resolve() for path in inputs} if any(path.exists() for path in written) else set()
    for path in written:
        folder = path.resolve().parent
        problems = {
            "it is a folder": path.is_dir(),
            f"its folder {folder} does not exist": not folder.is_dir(),
            "no permission": not os.access(path if path.exists() else folder, os.W_OK),
            "it is one of the photos": path.resolve() in read,
        }
        for problem, found in problems.items():
            if found:
                raise SeesayError(f"{path}: cannot be written: {problem}")
