"""One self-contained HTML page with all photos and their captions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seesay.caption import Failure
from seesay.errors import PhotoError
from seesay.outputs.writer import Job, Result, Writer, captions_of

if TYPE_CHECKING:
    from seesay.data.images import HasPicture, ImageSource


class Page(Writer):
    """The page, with its shrunken photos, is kept in memory and written when the writer is closed."""

    about = "Write a page of the photos and their words here (.html)."

    def __init__(self, path: str | Path, job: Job | None = None) -> None:
        super().__init__(path, job)
        self._items: list[str] = []

    def write(self, photo: ImageSource | HasPicture, result: Result) -> None:
        from seesay import explain
        from seesay.data.images import picture_of

        picture = needed = None
        if not isinstance(result, Failure):
            try:
                picture = picture_of(photo)
                if self.job.needed:
                    needed = self.job.needed(picture, captions_of(result)[0])
            except PhotoError as error:
                image = result[0].image if isinstance(result, list) else result.image
                result = Failure(image, error.reason if image else str(error))
        self._items.append(explain.item_html(picture, result, several=self.job.several, needed=needed))

    def close(self) -> None:
        from seesay import explain

        explain.write_html(self.path, explain.fill_page("seesay", "\n".join(self._items)))
