"""Flickr8k as Kaggle has it: captions.txt (image,caption) beside a folder Images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from seesay.data.readers.source import CaptionFile, Layout, csv_rows

PHOTO_FOLDERS = ("Images", "images", "Flicker8k_Dataset", "Flickr8k_Dataset")  # the first "Flicker" is official


def _fits(folder: Path) -> bool:
    return (folder / "captions.txt").is_file()


def _read(folder: Path, label: Callable[[Path], str]) -> list[CaptionFile]:
    file = folder / "captions.txt"
    rows = csv_rows(file, label(file), image=("image",), caption=("caption",))
    return [CaptionFile(file, rows, [*(folder / name for name in PHOTO_FOLDERS), folder])]


LAYOUT = Layout("flickr8k", "captions.txt (image,caption) beside Images/", _fits, _read)
