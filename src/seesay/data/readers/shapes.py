"""The package's own synthetic set: `shapes.json` says that `pictures.jsonl` and `images/` are whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from seesay.data.readers.folder import json_rows
from seesay.data.readers.source import CaptionFile, Layout
from seesay.data.shapes.folder import LINES, MARKER, PHOTOS


def _read(folder: Path, label: Callable[[Path], str]) -> list[CaptionFile]:
    file = folder / LINES
    return [CaptionFile(file, json_rows(file, label(file)), [folder / PHOTOS])]


LAYOUT = Layout("shapes", MARKER, lambda folder: (folder / MARKER).is_file(), _read)
