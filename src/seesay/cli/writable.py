"""What every command checks before it works for hours, and standard output as a place for JSON."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from seesay.errors import SeesayError
from seesay.writing import STANDARD_OUTPUT, is_stream, write_json


def tell(text: str, json_out: Path | None) -> None:
    """Print text on standard output; on standard error where standard output has the JSON."""
    out: TextIO = sys.stderr if json_out == STANDARD_OUTPUT else sys.stdout
    print(text, file=out)


def emit_json(path: Path, value: Any) -> None:
    """Readable JSON in a file, or on standard output, in characters that any terminal has."""
    if path == STANDARD_OUTPUT:
        print(json.dumps(value, indent=2))
    else:
        write_json(path, value)


def refuse_unwritable(*outputs: Path | None, inputs: Iterable[Path] = ()) -> None:
    """Refuse an output that cannot be written, or would overwrite an input or another output, before any work.

    Standard output, "-", is never refused.

    Raises:
        SeesayError: the first such output, and why.
    """
    written = [path for path in outputs if path and path != STANDARD_OUTPUT and not is_stream(path)]
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
