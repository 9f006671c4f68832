"""CSV for spreadsheets and content management systems."""

from __future__ import annotations

import csv
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from seesay.caption import Failure
from seesay.outputs.writer import Job, Result, Writer, captions_of, text_file
from seesay.writing import naming

if TYPE_CHECKING:
    from seesay.data.images import HasPicture, ImageSource

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # spreadsheets run cells that begin with these


class CsvTable(Writer):
    """A header, then a row for each caption.

    The caption is empty for a photo that could not be read, and where it is withheld; confidence and kind are empty
    for models that were not calibrated.
    """

    about = "Write a table of captions with their scores and confidence here (.csv, or - for stdout)."
    streams = True

    def __init__(self, path: str | Path, job: Job | None = None) -> None:
        super().__init__(path, job)
        self._open = ExitStack()
        self._file = self._open.enter_context(text_file(self.path))
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._row("image", "caption", "score", "confidence", "kind")

    def write(self, photo: ImageSource | HasPicture, result: Result) -> None:
        image = result[0].image if isinstance(result, list) else result.image
        if isinstance(result, Failure):
            self._row(_cell(image), "", "", "", "")
            return
        for caption in captions_of(result):
            confidence = "" if caption.confidence is None else f"{caption.confidence:.4f}"
            text = "" if caption.withheld else caption.text
            self._row(_cell(image), text, f"{caption.score:.5f}", confidence, caption.kind or "")

    def _row(self, *cells: str) -> None:
        with naming(self.path):
            self._rows.writerow(cells)
            self._file.flush()

    def close(self) -> None:
        self._open.close()

    def discard(self) -> None:
        self._open.close()


def _cell(image: str | None) -> str:
    """A photo's name; a path that a spreadsheet would run as a formula gets the prefix "./"."""
    name = image or ""
    return f"./{name}" if name.startswith(FORMULA) else name
