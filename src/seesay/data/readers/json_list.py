"""JSON lists of {image, caption}, as used by BLIP and ALBEF, or one such object on each line."""

from __future__ import annotations

from pathlib import Path

from seesay.data.readers.columns import Columns
from seesay.data.readers.folder import FILES, with_split
from seesay.data.readers.json_files import item_rows, json_files, kind_of, line_items, list_items
from seesay.data.readers.source import CaptionFile, Layout, Source, names_of_split, photo_folders, split_in_name


def _find(folder: Path, columns: Columns) -> list[Path]:
    return [file for kind in ("list", "lines") for file in json_files(folder, kind, columns) if file.name not in FILES]


def _read(source: Source) -> list[CaptionFile]:
    folder = source.folder.parent if source.folder.name == "annotations" else source.folder
    files = []
    for file in source.files:
        label, split = source.label(file), split_in_name(file.stem)
        items = line_items(file) if kind_of(file, source.columns) == "lines" else list_items(file)
        rows = with_split(item_rows(items, label, source.columns), split)
        files.append(CaptionFile(file, rows, photo_folders(folder, *names_of_split(split))))
    return files


LAYOUT = Layout("list", "a JSON file with a list of {image, caption}, or one such object a line", _find, _read)
