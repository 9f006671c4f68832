"""What every command checks before it works for hours."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from seesay.errors import SeesayError
from seesay.writing import is_stream


def refuse_unwritable(*outputs: Path | None, inputs: Iterable[Path] = ()) -> None:
    """Refuse an output that cannot be written, or would overwrite an input or another output, before any work.

    Raises:
        SeesayError: the first such output, and why.
    """
    written = [path for path in outputs if path and not is_stream(path)]
    places = [path.resolve() for path in written]
    times = Counter(places)  # with a figure for each photo there may be a million
    # only what is there can be a photo; for a million of them this takes a while
    read = {path.resolve() for path in inputs} if any(path.exists() for path in written) else set()
    for place, path in zip(places, written, strict=True):
        folder = place.parent
        problems = {
            "it is a folder": path.is_dir(),
            f"its folder {folder} does not exist": not folder.is_dir(),
            "no permission": path.exists() and not os.access(path, os.W_OK),
            f"no permission to make files in {folder}": not os.access(folder, os.W_OK),
            "it is one of the photos": place in read,
            "another output has the same name; give each its own": times[place] > 1,
        }
        for problem, found in problems.items():
            if found:
                raise SeesayError(f"{path}: cannot be written: {problem}")
