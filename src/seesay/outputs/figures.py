"""A figure for each photo: its caption word by word, with the attention of each word."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from seesay.caption import Failure
from seesay.errors import PhotoError, SeesayError
from seesay.outputs.writer import Job, LeftOutError, Result, Writer, captions_of
from seesay.writing import write_image

if TYPE_CHECKING:
    from seesay.data.images import HasPicture, ImageSource

FIGURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


class Figures(Writer):
    """A picture file for each captioned photo: `out.png` for a single photo, else `out-NAME.png`."""

    about = "Draw the words on the photo here (.png)."
    whole = False
    named = True

    def __init__(self, path: str | Path, job: Job | None = None) -> None:
        super().__init__(path, job)
        self._names = Names(self.path)
        self._files = self._names.of_all(self.job.photos)

    @classmethod
    def files(cls, path: Path, job: Job) -> list[Path]:
        return list(Names(path).of_all(job.photos).values())

    def write(self, photo: ImageSource | HasPicture, result: Result) -> None:
        from seesay import explain
        from seesay.data.images import picture_of

        if isinstance(result, Failure):
            return
        caption, *_ = captions_of(result)
        file = self._files.get(str(caption.image)) or self._names.free(caption.image or "photo")
        try:
            picture = picture_of(photo)
        except PhotoError as error:
            raise LeftOutError(f"{file}: not drawn: {error}") from None
        write_image(file, explain.draw_figure(picture, caption))


class Names:
    """File names of figures; a number is added where photos in several folders have the same name.

    Raises:
        SeesayError: the suffix is not that of a picture format.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() not in FIGURE_SUFFIXES:
            raise SeesayError(f"{path}: cannot be written: expected a name that ends in {', '.join(FIGURE_SUFFIXES)}")
        self.path = path
        self._used: set[str] = set()

    def of_all(self, photos: Sequence[str]) -> dict[str, Path]:
        """Photo -> file of its figure."""
        names = list(dict.fromkeys(photos))
        return {names[0]: self.path} if len(names) == 1 else {name: self.free(name) for name in names}

    def free(self, photo: str) -> Path:
        """A file name that is not yet used."""
        stem = f"{self.path.stem}-{Path(photo).stem}"
        numbered = (f"{stem}-{number}" for number in count(2))
        free = next(stem for stem in chain([stem], numbered) if stem.casefold() not in self._used)
        self._used.add(free.casefold())  # some file systems ignore case
        return self.path.with_stem(free)
