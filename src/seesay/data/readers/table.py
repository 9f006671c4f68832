"""Any other table of photos and captions, such as train.csv or Conceptual Captions' TSV."""

from __future__ import annotations

from pathlib import Path

from seesay.data.readers.columns import CAPTION, IMAGE, NUMBERED, Columns
from seesay.data.readers.folder import FILES, with_split
from seesay.data.readers.photo_finder import listed_files
from seesay.data.readers.source import CaptionFile, Layout, Source, names_of_split, photo_folders, split_in_name
from seesay.data.readers.tables import csv_rows, header_of, names_a_photo, path_column

SUFFIXES = (".csv", ".tsv", ".txt")
MOST_FILES = 200  # in one folder; with more, each file belongs to one photo


def _find(folder: Path, columns: Columns) -> list[Path]:
    files = listed_files(folder, SUFFIXES)
    if len(files) > MOST_FILES:
        return []
    return [file for file in files if file.name not in (*FILES, "captions.txt") and _is_table(file, columns)]


def _is_table(file: Path, columns: Columns) -> bool:
    header = header_of(file)
    if len(header) < 2:
        return False
    if any(map(names_a_photo, header)):
        # a photo and words; Flickr8k has tables of photos and figures
        return any(" " in cell for cell in header)
    if path_column(file, header):
        return True
    wanted = {name.strip().lower() for name in (columns.image, *columns.caption) if name}
    captions = any(name in CAPTION or name in wanted or NUMBERED.fullmatch(name) for name in header)
    return captions and any(name in IMAGE or name in wanted for name in header)


def _read(source: Source) -> list[CaptionFile]:
    """Read all files if their names contain different splits, else only the first."""
    splits = [split_in_name(file.stem) for file in source.files]
    files = source.files if "" not in splits and len(set(splits)) == len(splits) else source.files[:1]
    read = []
    for file in files:
        split = split_in_name(file.stem)
        rows = with_split(csv_rows(file, source.label(file), source.columns), split)
        read.append(CaptionFile(file, rows, photo_folders(source.folder, *names_of_split(split))))
    return read


LAYOUT = Layout("table", "a CSV or TSV file with photos and captions", _find, _read)
