"""Writer: the base class, and the options that all writers get."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, TextIO, runtime_checkable

from seesay.caption import Caption, Failure
from seesay.errors import SeesayError
from seesay.writing import STANDARD_OUTPUT, naming

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from seesay.data.images import HasPicture, ImageSource
    from seesay.data.sources import ListedPhoto

Result = Caption | list[Caption] | Failure


class LeftOutError(SeesayError):
    """A writer had to leave out one photo; the others are written."""


@dataclass(frozen=True)
class Job:
    """Options that writers get in advance.

    Attributes:
        photos: names of all photos, if known; with a single one its figure gets the plain file name.
        several: what lists of captions are: alternatives or samples.
        attention: write each word's attention into the JSON.
        resume: continue an existing file of JSON lines.
        made_by: returns the model and the options, which each JSON line contains so that `resume` can compare them.
            It is called after the file is locked and before it is changed, so it may load the model.
        needed: (picture, caption) -> (words, rows, cols), see `CaptionModel.occlusion`; pages then show it too.
    """

    photos: Sequence[str] = ()
    several: Literal["alternatives", "samples"] = "alternatives"
    attention: bool = False
    resume: bool = False
    made_by: Callable[[], Mapping[str, Any]] = dict
    needed: Callable[[Image.Image, Caption], np.ndarray] | None = None


class Done(set[str]):
    """Names of the photos that are captioned already: paths or addresses.

    Attributes:
        ids: their ids.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()

    def note(self, image: str, id_: str | None) -> bool:
        """Add a photo; returns whether it was not there."""
        if image in self and (id_ is None or id_ in self.ids):
            return False
        self.add(image)
        if id_ is not None:
            self.ids.add(id_)
        return True

    def holds(self, photo: ListedPhoto) -> bool:
        """Whether the photo is there: by its id where a manifest gave it, else by its name."""
        name, names = (photo.id, self.ids) if photo.own_id else (photo.image, self)
        return name in names or valid_text(name) in names


class Writer:
    """Base class: writes results one after the other.

    A context manager: the writer is closed at the end of the block, or discarded after an error.

    Args:
        path: the file, or the name from which the names of several files are derived.
        job: options.

    Attributes:
        about: one line for the command line's help.
        resumes: whether it can go on with what an earlier run wrote; it then gets each result after the other writers.
        whole: whether one file has all photos, so that a resumed run, which has only some of them, cannot write it.
        streams: whether the file may be standard output, "-".
        named: whether the names of all photos must be known in advance.
        done: with `Job.resume`, the photos that the file has captions of already, or that need none.
    """

    about: ClassVar[str]
    resumes: ClassVar[bool] = False
    named: ClassVar[bool] = False
    done: Done
    whole: ClassVar[bool] = True
    streams: ClassVar[bool] = False

    def __init__(self, path: str | Path, job: Job | None = None) -> None:
        self.path, self.job, self.done = Path(path), job or Job(), Done()

    @classmethod
    def files(cls, path: Path, job: Job) -> list[Path]:
        """The files that will be written.

        Raises:
            SeesayError: this writer cannot write a file of that name.
        """
        return [path]

    def write(self, photo: ImageSource | HasPicture, result: Result) -> None:
        """Write one result.

        Args:
            photo: the photo; opened only by writers that show it.
            result: its caption, a list of captions, or a Failure.

        Raises:
            LeftOutError: this photo had to be left out.
            SeesayError: the file cannot be written.
        """
        raise NotImplementedError

    def pass_over(self) -> None:
        """Take note of a photo that is not captioned, since `done` holds it."""

    def close(self) -> None:
        """Finish the file. Raises SeesayError: it cannot be written."""

    def discard(self) -> None:
        """Release all resources after an error; incomplete files need not be written."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


@runtime_checkable
class Identified(Protocol):
    """A photo that knows what identifies it."""

    @property
    def id(self) -> str | None:
        """Its path below its source, or the id that a manifest gives it."""
        ...


def entry_of(photo: object, result: Result, job: Job, made_by: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON form of a result: image, the photo's id if it has one, and the captions or the error."""
    id_ = photo.id if isinstance(photo, Identified) else None
    if isinstance(result, Failure):
        entry = result.to_dict()
    else:
        captions = captions_of(result)
        entry = captions[0].to_dict(job.attention)
        if isinstance(result, list):
            entry[job.several] = [caption.summary() for caption in captions]
        entry |= {"made_by": dict(made_by)} if made_by else {}
    return entry if id_ is None else {"image": entry.pop("image"), "id": id_, **entry}


def valid_text(value: Any) -> Any:
    """A value in which text is valid Unicode, as Parquet wants it: names of files need not be."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def captions_of(result: Caption | list[Caption]) -> list[Caption]:
    """The captions of a result as a list."""
    return result if isinstance(result, list) else [result]


@contextmanager
def text_file(path: Path, append: bool = False) -> Iterator[TextIO]:
    """Open a text file, or standard output; file names that are not valid Unicode are written with escapes."""
    if path == STANDARD_OUTPUT:
        yield sys.stdout
        return
    with naming(path):
        file = path.open("a" if append else "w", encoding="utf-8", errors="backslashreplace", newline="")
    try:
        yield file
    finally:
        with naming(path):  # closing flushes, which fails if the disk is full
            file.close()
