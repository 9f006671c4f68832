"""What all writers share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TextIO

from seesay.caption import Caption, Failure
from seesay.errors import SeesayError
from seesay.writing import STANDARD_OUTPUT, naming

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from seesay.data.images import HasPicture, ImageSource

Result = Caption | list[Caption] | Failure


class LeftOutError(SeesayError):
    """A writer could not do one photo; those before and after it are written."""


@dataclass(frozen=True)
class Job:
    """What writers are told beforehand.

    Attributes:
        photos: names of all photos, where they are known: a single one gives its figure the plain file name.
        several: what a list of captions is: the model's alternatives, or samples.
        attention: put each word's attention into the JSON.
        resume: go on with the JSON lines that are there.
        needed: what each word of a caption needed, (words, rows, cols), for pages; None leaves it out.
        made_by: gives the model and the options, which each JSON line says, so that `resume` does not mix others in.
            It is asked once the file is reserved and before it is changed, so it may be what loads the model.
    """

    photos: Sequence[str] = ()
    several: Literal["alternatives", "samples"] = "alternatives"
    attention: bool = False
    resume: bool = False
    made_by: Callable[[], Mapping[str, Any]] = dict
    needed: Callable[[Image.Image, Caption], np.ndarray] | None = None


class Writer:
    """Writes results one after the other.

    As a context manager it is closed at the end of the block, and discarded where an error ends it.

    Args:
        path: the file, or what names of several files are made from.
        job: what is known beforehand.

    Attributes:
        about: what it writes, one line for the command line's help.
        resumes: it can go on with what an earlier run wrote; it gets each result after the other writers.
        whole: its file has all photos in it, so it cannot be made of those that a resumed run still has to do.
        streams: its file may be standard output, "-".
    """

    about: ClassVar[str]
    resumes: ClassVar[bool] = False
    whole: ClassVar[bool] = True
    streams: ClassVar[bool] = False

    def __init__(self, path: str | Path, job: Job | None = None) -> None:
        self.path, self.job = Path(path), job or Job()

    @classmethod
    def files(cls, path: Path, job: Job) -> list[Path]:
        """The files that it will write.

        Raises:
            SeesayError: it writes no files of this name.
        """
        return [path]

    def write(self, photo: ImageSource | HasPicture, result: Result) -> None:
        """Take one result.

        Args:
            photo: what was captioned; opened only by writers that show it, and not again where it has been opened.
            result: its caption, several of them (the best or first one first), or why there is none.

        Raises:
            LeftOutError: this photo is left out.
            SeesayError: the file cannot be written.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Finish the file. Raises SeesayError: it cannot be written."""

    def discard(self) -> None:
        """Let go of everything, because of an error: what is not complete need not be written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def captions_of(result: Caption | list[Caption]) -> list[Caption]:
    """One caption or several as a list."""
    return result if isinstance(result, list) else [result]


@contextmanager
def text_file(path: Path, append: bool = False) -> Iterator[TextIO]:
    """A file of lines, or standard output; file names that are not text are written as JSON escapes them."""
    if path == STANDARD_OUTPUT:
        yield sys.stdout
        return
    with naming(path):
        file = path.open("a" if append else "w", encoding="utf-8", errors="backslashreplace", newline="")
    try:
        yield file
    finally:
        with naming(path):  # closing tries once more to write what a full disk did not take
            file.close()
