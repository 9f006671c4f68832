"""Flickr8k: Kaggle's captions.txt (image,caption), or the original Flickr8k.token.txt."""

from __future__ import annotations

from pathlib import Path

from seesay.data.readers.columns import Columns
from seesay.data.readers.flickr30k import COMMENT, token_rows
from seesay.data.readers.source import CaptionFile, Layout, Source, photo_folders
from seesay.data.readers.tables import csv_rows, header_of

# the first "Flicker" is official
PHOTO_FOLDERS = ("Images", "images", "Flicker8k_Dataset", "Flickr8k_Dataset")


def _find(folder: Path, _: Columns) -> list[Path]:
    captions = folder / "captions.txt"
    kaggle = [captions] if captions.is_file() and COMMENT not in header_of(captions) else []
    return kaggle + [file for file in sorted(folder.glob("Flickr8k*.token.txt")) if "lemma" not in file.name]


def _read(source: Source) -> list[CaptionFile]:
    file = source.files[0]
    label, folders = source.label(file), photo_folders(source.folder, *PHOTO_FOLDERS)
    rows = token_rows(file, label) if file.name != "captions.txt" else csv_rows(file, label, source.columns)
    return [CaptionFile(file, rows, folders)]


LAYOUT = Layout("flickr8k", "captions.txt (image,caption) beside Images/, or Flickr8k.token.txt", _find, _read)
