"""Files that are whole at any time: who looks, or who kills the program, finds all of one or what was there before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A scratch file beside `path`, with its suffix, that takes its place when the block ends well."""
    scratch = path.with_name(f".new-{path.name}")
    try:
        yield scratch
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Readable JSON with a newline at its end; a file name that is no text is written as JSON escapes it."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    with written_whole(path) as scratch:
        scratch.write_text(text, encoding="utf-8", errors="backslashreplace")
