"""Checks of output files before any long work, and JSON on standard output."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from seesay.errors import SeesayError
from seesay.writing import STANDARD_OUTPUT, is_stream, write_json


def tell(text: str, json_out: Path | None) -> None:
    """Print text on standard output, or on standard error if the JSON goes to standard output."""
    out: TextIO = sys.stderr if json_out == STANDARD_OUTPUT else sys.stdout
    print(text, file=out)


def emit_json(path: Path, value: Any) -> None:
    """Write indented JSON to a file, or as ASCII to standard output."""
    if path == STANDARD_OUTPUT:
        print(json.dumps(value, indent=2))
    else:
        write_json(path, value)


def refuse_unwritable(*outputs: Path | None, reads: Callable[[Path], bool] | None = None) -> None:
    """Refuse outputs that cannot be written or would overwrite an input or another output, before any work.

    Standard output, "-", is never refused.

    Args:
        outputs: files.
        reads: whether an existing file is an input.

    Raises:
        SeesayError: names the first such output and the reason.
    """
    files = [path for path in outputs if path and path != STANDARD_OUTPUT and not is_stream(path)]
    resolved = [path.resolve() for path in files]
    times = Counter(resolved)  # with a figure for each photo there may be a million
    for target, path in zip(resolved, files, strict=True):
        folder = target.parent
        problems = {
            "it is a folder": path.is_dir(),
            f"its folder {folder} does not exist": not folder.is_dir(),
            "no permission": path.exists() and not os.access(path, os.W_OK),
            f"no permission to make files in {folder}": not os.access(folder, os.W_OK),
            "it is one of the photos": bool(reads) and path.exists() and reads(path),
            "another output has the same name; give each its own": times[target] > 1,
        }
        for problem, applies in problems.items():
            if applies:
                raise SeesayError(f"{path}: cannot be written: {problem}")
