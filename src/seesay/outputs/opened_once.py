"""A photo that is decoded once for all writers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

    from seesay.data.images import ImageSource


ENOUGH = 1280  # pixels a side: twice the size of pictures on a page


class OpenedOnce:
    """A photo that is opened when a writer first asks for its picture: upright, and large enough for all writers.

    Args:
        source: the photo.
        id: what identifies it, for writers that name it.
    """

    def __init__(self, source: ImageSource, id: str | None = None) -> None:
        self.source, self.id = source, id
        self._picture: Image.Image | None = None

    @property
    def picture(self) -> Image.Image:
        """The upright photo. Raises PhotoError: it cannot be opened (any more)."""
        if self._picture is None:
            from seesay.data import images  # Pillow loads only for writers that show photos

            self._picture = images.open_photo(self.source, ENOUGH)
        return self._picture
