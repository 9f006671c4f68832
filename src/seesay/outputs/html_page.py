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
    """The page, with its shrunken photos, is kept in memory and written when the writer is closed.

    From `seesay.explain.MANY` photos on it is a gallery of small ones that can be searched.
    """

    about = "Write a page of the photos and their words here (.html)."

    def __init__(self, path: str | Path, job: Job | None = None) -> None:
        super().__init__(path, job)
        self._small: list[str] = []
        self._large: list[str] = []  # the first few, for a page that does not become a gallery

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
        if len(self._small) + 1 < explain.MANY:
            self._large.append(
                explain.item_html(picture, result, explain.LONG_SIDE, several=self.job.several, needed=needed)
            )
        self._small.append(
            explain.item_html(picture, result, explain.SMALL_SIDE, several=self.job.several, needed=needed)
        )

    def close(self) -> None:
        from seesay import explain

        is_gallery = len(self._small) >= explain.MANY
        page = (
            explain.fill_gallery("seesay", self._small)
            if is_gallery
            else explain.fill_page("seesay", "\n".join(self._large))
        )
        explain.write_html(self.path, page)
