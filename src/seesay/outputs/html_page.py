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

    Many photos (`seesay.explain.MANY`; `Job.photos` tells how many) become a searchable gallery of small ones.
    """

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
        side = explain.SMALL_SIDE if self._is_gallery else explain.LONG_SIDE
        self._items.append(explain.item_html(picture, result, side, several=self.job.several, needed=needed))

    def close(self) -> None:
        from seesay import explain

        page = (
            explain.fill_gallery("seesay", self._items)
            if self._is_gallery
            else explain.fill_page("seesay", "\n".join(self._items))
        )
        explain.write_html(self.path, page)

    @property
    def _is_gallery(self) -> bool:
        from seesay import explain

        return len(self.job.photos) >= explain.MANY
