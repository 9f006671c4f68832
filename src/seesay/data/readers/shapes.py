"""The package's own synthetic set: `shapes.json` marks a complete one."""

from __future__ import annotations

from pathlib import Path

from seesay.data.readers.columns import Columns
from seesay.data.readers.json_files import item_rows, line_items
from seesay.data.readers.source import CaptionFile, Layout, Source
from seesay.data.shapes.dataset import LINES, MARKER, PHOTOS


def _find(folder: Path, _: Columns) -> list[Path]:
    return [folder / LINES] if (folder / MARKER).is_file() else []


def _read(source: Source) -> list[CaptionFile]:
    file = source.files[0]
    rows = item_rows(line_items(file), source.label(file), source.columns)
    return [CaptionFile(file, rows, [source.folder / PHOTOS])]


LAYOUT = Layout("shapes", MARKER, _find, _read)
