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

    The caption is empty for a photo that could not be read, and where it is withheld. The table of a calibrated model
    has its confidence too; the header is written when the first caption shows whether the model is one.
    """

    about = "Write a table of captions with their scores and confidence here (.csv, or - for stdout)."
    streams = True

    def __init__(self, path: str | Path, job: Job | None = None) -> None:
        super().__init__(path, job)
        self._open = ExitStack()
        self._file = self._open.enter_context(text_file(self.path))
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._more: tuple[str, ...] | None = None  # the columns of calibrated models, once it is known
        self._failed: list[str] = []  # before that

    def write(self, photo: ImageSource | HasPicture, result: Result) -> None:
        if isinstance(result, Failure):
            self._fail(_cell(result.image))
            return
        for caption in captions_of(result):
            if self._more is None:
                self._begin(() if caption.confidence is None else ("confidence", "kind"))
            confidence = "" if caption.confidence is None else f"{caption.confidence:.4f}"
            more = (confidence, caption.kind or "") if self._more else ()
            text = "" if caption.withheld else caption.text
            self._row(_cell(caption.image), text, f"{caption.score:.5f}", *more)

    def _begin(self, more: tuple[str, ...]) -> None:
        self._more = more
        self._row("image", "caption", "score", *more)
        for image in self._failed:
            self._fail(image)

    def _fail(self, image: str) -> None:
        if self._more is None:
            self._failed.append(image)
        else:
            self._row(image, "", "", *("" for _ in self._more))

    def _row(self, *cells: str) -> None:
        with naming(self.path):
            self._rows.writerow(cells)
            self._file.flush()

    def close(self) -> None:
        with self._open:
            if self._more is None:
                self._begin(())

    def discard(self) -> None:
        self.close()


def _cell(image: str | None) -> str:
    """A photo's name; a path that a spreadsheet would run as a formula gets the prefix "./"."""
    name = image or ""
    return f"./{name}" if name.startswith(FORMULA) else name
