"""Photos inside tars and tables: unpacked into the cache as files, or read in place from tars.

Training reads photos many times and in random order, for which files are faster than a compressed
table. A photo gets its final name only when it is complete, so unpacking can be interrupted and
resumed, and two processes may unpack the same set.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from seesay.data.cache_folder import cache_folder
from seesay.data.sources.tars import TarMember
from seesay.data.text import count_of, size_of
from seesay.errors import DataError, printable
from seesay.progress import print_plain, progress


@dataclass(frozen=True)
class Packed:
    """The photos inside one file.

    Attributes:
        folder: the folder that they are unpacked into.
        sizes: name of each photo -> its size in bytes, at least approximately.
        read: names -> (name, bytes) of these photos, in the order of the file.
        members: photos that can be read in place; empty for compressed tars and tables.
    """

    folder: Path
    sizes: Mapping[str, int]
    read: Callable[[Collection[str]], Iterator[tuple[str, bytes]]]
    members: Mapping[str, TarMember] = field(default_factory=dict)

    def path(self, name: str) -> str:
        """The path of a photo after unpacking."""
        return f"{self.folder}/{name}"


class PhotoInTar(type(Path())):
    """A photo that is read from its tar, under the path that it would have if it were unpacked.

    It has `read`, as files do, so code that opens a path or a file as a photo can open it.

    Attributes:
        member: where in the tar the photo is.
    """

    member: TarMember

    @classmethod
    def at(cls, path: Path, member: TarMember) -> PhotoInTar:
        """Make a photo with this path that is read from `member`."""
        photo = cls(path)
        photo.member = member
        return photo

    def read(self, size: int = -1) -> bytes:
        """The photo's bytes. Raises PhotoError if the tar cannot be read."""
        return self.member.read(size)


def in_place(packs: Sequence[Packed], photos: Iterable[Path]) -> dict[Path, PhotoInTar]:
    """{path: photo} for the photos that can be read without unpacking."""
    members = {pack.path(name): member for pack in packs for name, member in pack.members.items()}
    return {photo: PhotoInTar.at(photo, members[str(photo)]) for photo in photos if str(photo) in members}


def unpacked_folder(file: Path) -> Path:
    """The cache folder for the photos of a file; it changes if the file is written anew."""
    file = file.resolve()
    state = file.stat()
    text = f"{file}\n{state.st_size}\n{state.st_mtime_ns}"
    digest = hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()
    return cache_folder() / "unpacked" / f"{file.name.partition('.')[0]}-{digest}"


def unpack(packs: Sequence[Packed], photos: Iterable[Path], console: Console | None = None) -> None:
    """Write the photos that are inside `packs` and not in the cache yet; prints their size first.

    Args:
        packs: files that hold photos.
        photos: paths of records.
        console: where progress is shown; None: standard error.

    Raises:
        DataError: the disk has no room, or a file cannot be read or written.
    """
    paths = {str(photo) for photo in photos} if packs else set()
    missing = [(pack, names) for pack in packs if (names := _missing(pack, paths))]
    if not missing:
        return
    console = console or Console(stderr=True)
    count = sum(len(names) for _, names in missing)
    size = sum(pack.sizes[name] for pack, names in missing for name in names)
    root = missing[0][0].folder.parent
    _refuse_if_full(root, count, size)
    print_plain(
        console,
        f"unpacking {count_of(count, 'photo')} once: about {size_of(size)} in {printable(root)}",
    )
    with progress("unpacking photos", count, console) as advance:
        for pack, names in missing:
            for name, data in pack.read(names):
                _write(pack.path(name), data)
                advance()


def _missing(pack: Packed, paths: Collection[str]) -> list[str]:
    names = [name for name in pack.sizes if pack.path(name) in paths]
    return [name for name in names if not _is_there(pack.path(name))]


def _is_there(path: str) -> bool:
    try:
        return os.stat(path).st_size > 0  # noqa: PTH116
    except OSError:
        return False


def _write(path: str, data: bytes) -> None:
    target = Path(path)
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_bytes(data)
        scratch.replace(target)
    except OSError as error:
        scratch.unlink(missing_ok=True)
        raise DataError(
            f"{path}: cannot be written ({error.strerror}); set SEESAY_CACHE to a folder that can be"
        ) from None


def _refuse_if_full(root: Path, count: int, size: int) -> None:
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if size > free:
        raise DataError(
            f"{root}: {count_of(count, 'photo')} to unpack need {size_of(size)} and the disk has "
            f"{size_of(free)} free; set SEESAY_CACHE to a folder on a larger disk, or data.limit"
        )
