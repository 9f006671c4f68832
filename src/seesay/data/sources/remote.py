"""Photos and lists at addresses such as s3://bucket/photo.jpg, by fsspec."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from seesay.data.images.find import is_photo_name
from seesay.data.images.formats import picture_kind
from seesay.data.images.sources import MAX_BYTES
from seesay.data.sources.photo import ListedPhoto
from seesay.errors import DataError, MissingExtraError, PhotoError, first_line, require

SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")
SMALL_READ = 2**16  # bytes fetched at once where only headers are read


def is_address(name: str) -> bool:
    """Whether a name is an address such as s3://bucket/a.jpg rather than a path."""
    return SCHEME.match(name) is not None


def is_web(name: str) -> bool:
    """Whether a name is an http or https address."""
    return name.lower().startswith(("http://", "https://"))


def file_system(address: str) -> tuple[Any, str]:
    """(fsspec's file system for an address, the path in it).

    Raises:
        MissingExtraError: fsspec, or the package for this kind of address, is not installed.
        DataError: the address is of an unknown kind or cannot be reached.
    """
    core = require("fsspec.core", "remote", f"{address}: reading it")
    try:
        return core.url_to_fs(address)
    except ImportError as error:  # fsspec names the package, such as s3fs
        raise MissingExtraError(f"{address}: cannot be read: {error}") from None
    except Exception as error:
        raise DataError(f"{address}: cannot be read ({first_line(error)})") from None


@contextmanager
def open_file(name: str, block: int | None = None) -> Iterator[IO[bytes]]:
    """Open a path or an address for reading.

    Args:
        name: the path or address.
        block: bytes fetched at once from an address; None: the file system's default.

    Raises:
        OSError: it cannot be opened.
        MissingExtraError, DataError: as `file_system`.
    """
    if not is_address(name):
        with open(name, "rb") as file:  # noqa: PTH123
            yield file
        return
    files, path = file_system(name)
    with files.open(path, "rb", **({"block_size": block} if block else {})) as file:
        yield file


@dataclass(frozen=True, slots=True)
class RemotePhoto:
    """A photo at an address, fetched when it is read.

    Attributes:
        name: the address.
    """

    name: str

    def read(self, size: int = -1) -> bytes:
        """Fetch the photo. Raises PhotoError if it cannot be fetched."""
        with fetching(self.name), open_file(self.name) as file:
            return file.read(MAX_BYTES + 1 if size < 0 else size)


@contextmanager
def fetching(name: str) -> Iterator[None]:
    """Turn any error that a file system raises about `name` into a PhotoError."""
    try:
        yield
    except PhotoError:
        raise
    except FileNotFoundError:
        raise PhotoError("no such file", name) from None
    except PermissionError:
        raise PhotoError("no permission to read it", name) from None
    except Exception as error:  # each file system has its own
        raise PhotoError(f"cannot be read ({first_line(error)})", name) from None


def photos_at(address: str, passed_over: Counter[str]) -> Iterator[ListedPhoto]:
    """The photos at an address, which may be a photo, a folder or a pattern.

    Raises:
        MissingExtraError, DataError: as `file_system`, or the folder cannot be listed.
    """
    files, path = file_system(address)
    if any(character in path for character in "*?["):
        for found, id_ in matching(address):
            yield from _photo(found, id_, passed_over)
    elif is_photo_name(path):
        yield ListedPhoto(address, address, RemotePhoto(address))
    else:
        for folder, name in _listed(address, lambda: _files_below(files, path)):
            id_ = f"{folder}/{name}".removeprefix(path.rstrip("/")).lstrip("/")
            yield from _photo(files.unstrip_protocol(f"{folder}/{name}"), id_, passed_over)


def _photo(address: str, id_: str, passed_over: Counter[str]) -> Iterator[ListedPhoto]:
    name = id_.rpartition("/")[2]
    if kind := picture_kind(f".{name.rpartition('.')[2].lower()}"):
        passed_over[kind] += 1
    elif is_photo_name(name):
        yield ListedPhoto(id_, address, RemotePhoto(address))


def _files_below(files: Any, path: str) -> Iterator[tuple[str, str]]:
    """(folder, name) of every file that is not hidden, folder by folder."""
    for folder, folders, names in files.walk(path, on_error="raise"):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from ((folder, name) for name in sorted(names) if not name.startswith("."))


def _listed(address: str, listing: Any) -> Iterator[Any]:
    try:
        yield from listing()
    except Exception as error:  # each file system has its own
        raise DataError(f"{address}: cannot be listed ({first_line(error)})") from None


def matching(address: str) -> list[tuple[str, str]]:
    """(address, name in ids) of each file that an address stands for, which may be a pattern.

    The name in ids is the path below the last folder before the first wildcard.

    Raises:
        MissingExtraError, DataError: as `file_system`, or nothing matches.
    """
    if not any(character in address for character in "*?["):
        return [(address, address.rpartition("/")[2])]
    files, path = file_system(address)
    fixed = re.split(r"[*?\[]", path)[0].rpartition("/")[0]
    found = list(_listed(address, lambda: iter(sorted(files.glob(path)))))
    if not found:
        raise DataError(f"{address}: no file matches")
    return [(files.unstrip_protocol(name), name.removeprefix(f"{fixed}/")) for name in found]
