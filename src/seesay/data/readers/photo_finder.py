"""Finding the photo that a name in a captions file means."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from seesay.data.images import photo_suffixes
from seesay.data.text import composed_form, first_few
from seesay.errors import DataError

WEB_ADDRESS = re.compile(r"(?:https?|s3|gs)://", re.IGNORECASE)
# of 2014, and of 2017
COCO_NAME = re.compile(r"(?:COCO_(?:train|val|test)\d{4}_)?(\d{12})", re.IGNORECASE)


@dataclass
class _Folder:
    """The files of a folder.

    Attributes:
        names: each by its name and by the one form of it.
        real: the folder itself, without links.
        links: files that are links.
        inodes: name -> number of the file on its disk.
    """

    names: dict[str, str] = field(default_factory=dict)
    real: str = ""
    links: set[str] = field(default_factory=set)
    inodes: dict[str, int] = field(default_factory=dict)

    def find(self, name: str) -> str:
        """The file of that name, or the only photo of that stem, or ""."""
        if found := self.names.get(name):
            return found
        key = composed_form(name)
        return self.names.get(key) or self._stems.get(key, "")

    @cached_property
    def _stems(self) -> dict[str, str]:
        """Photos by their stems, "" where two share one."""
        stems: dict[str, str] = {}
        for name in set(self.names.values()):
            stem, suffix = os.path.splitext(name)  # noqa: PTH122
            if suffix.lower() in photo_suffixes():
                stems[composed_form(stem)] = "" if composed_form(stem) in stems else name
        return stems


class PhotoFinder:
    """Finds photo files by name.

    Each folder is listed only once, because testing 31,783 files one by one is slow.

    Args:
        root: the folder that is searched as a whole for photos that are in none of the usual
            folders.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[str, _Folder] = {}
        self._used: dict[str, set[str]] = {}
        self._files: dict[int, str] = {}
        self._everywhere: dict[str, list[str]] | None = None
        self.elsewhere: dict[str, int] = {}  # folder -> photos found there by looking everywhere

    def find(self, name: str, folders: Sequence[str], near: str = "") -> str:
        """The path of the file that a name means, or "".

        Args:
            name: as captions give it, normalised; it may name subfolders, and may lack its suffix.
            folders: folders to look in first.
            near: a part of the data set, such as "val2017": a folder of that name decides among
                several files.
        """
        for folder in folders:
            # pathlib takes ten times as long
            path = name if name.startswith("/") else f"{folder}/{name}"
            directory, _, base = path.rpartition("/")
            if found := self._listed(directory).find(base):
                return self._use(directory, found)
        found = self._anywhere(name, near)
        if not found:
            return ""
        directory, _, base = found.rpartition("/")
        self.elsewhere[directory] = self.elsewhere.get(directory, 0) + 1
        return self._use(directory, base)

    def several(self, name: str) -> list[str]:
        """The files that a name may mean, if `find` could not choose among them."""
        return self._candidates(name) if self._everywhere is not None else []

    def identity(self, path: str) -> str:
        """A text that is the same for all paths of a file, links and other spellings included."""
        directory, _, name = path.rpartition("/")
        folder = self._listed(directory)
        if name in folder.links:
            return os.path.realpath(path)
        real = f"{folder.real}/{name}"
        number = folder.inodes.get(name, 0)
        first = self._files.setdefault(number, real) if number else real
        # Inode numbers are per disk, and some file systems invent them, so the files themselves are
        # compared.
        return first if first == real or _same(first, real) else real

    def unused(self) -> list[str]:
        """Photos without captions in folders where others have some."""
        return sorted(
            name
            for directory, used in self._used.items()
            for name in set(self._listed(directory).names.values()) - used
            if PurePosixPath(name).suffix.lower() in photo_suffixes()
        )

    def _use(self, directory: str, name: str) -> str:
        self._used.setdefault(directory, set()).add(name)
        return f"{directory}/{name}"

    def _listed(self, directory: str) -> _Folder:
        if directory not in self._folders:
            self._folders[directory] = _list(directory)
        return self._folders[directory]

    def _anywhere(self, name: str, near: str) -> str:
        """The file below the root that a name means if it is unambiguous, else ""."""
        paths = self._candidates(name)
        if len(paths) > 1 and near:
            paths = [path for path in paths if near.lower() in path.lower().split("/")] or paths
        return paths[0] if len(paths) == 1 else ""

    def _candidates(self, name: str) -> list[str]:
        """Files below the root with the same last part.

        Of several, those that share most folders with the name.
        """
        if self._everywhere is None:
            self._everywhere = _index(self._root)
        parts = composed_form(name).casefold().split("/")
        paths = next((self._everywhere[base] for base in _spellings(parts[-1]) if base in self._everywhere), [])
        if len(paths) < 2:
            return paths
        shared = [_shared_end(path.casefold().split("/")[:-1], parts[:-1]) for path in paths]
        best = max(shared)
        return [path for path, count in zip(paths, shared, strict=True) if count == best]


def normal_name(name: str) -> str:
    """A photo's name in one spelling: "./a//x.jpg" and "a\\x.jpg" become "a/x.jpg"."""
    name = name.strip().replace("\\", "/")
    return posixpath.normpath(name) if name and not WEB_ADDRESS.match(name) else name


def listed_folders(path: Path | str) -> list[str]:
    """The subfolders of a folder, sorted, hidden ones and what macOS adds to archives left out."""
    try:
        with os.scandir(path) as entries:
            return sorted(entry.path for entry in entries if entry.is_dir() and not is_hidden(entry.name))
    except OSError:
        return []


def listed_files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """The sorted files of a folder with one of the suffixes, ignoring case and hidden files.

    The list is empty if there is no such folder.
    """
    try:
        # among 31,783 photos, where Path.iterdir takes a second
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.lower().endswith(tuple(suffixes))]
    except OSError:
        return []
    return [folder / name for name in sorted(names) if not is_hidden(name)]


def is_hidden(name: str) -> bool:
    """Whether a file or folder is hidden, or was added by macOS."""
    return name.startswith(".") or name == "__MACOSX"


def coco_number(name: str) -> str:
    """The number of a COCO photo, which is the same in 2014 and 2017; "" for any other name."""
    match = COCO_NAME.fullmatch(name.rpartition("/")[2].partition(".")[0])
    return match[1] if match else ""


def _list(directory: str) -> _Folder:
    listed = _Folder()
    try:
        with os.scandir(directory) as scan:
            entries = [entry for entry in scan if entry.is_file()]
        listed.real = os.path.realpath(directory)
        listed.inodes = {entry.name: entry.inode() for entry in entries} if os.name == "posix" else {}
        listed.links = {entry.name for entry in entries if entry.is_symlink()}
    except PermissionError as error:
        raise DataError(f"{directory}: cannot be listed ({error.strerror}); check its permissions") from None
    except (OSError, ValueError):  # no such folder, or no name that a folder can have
        return listed
    names = [entry.name for entry in entries]
    listed.names = {composed_form(name): name for name in names} | {name: name for name in names}
    return listed


def _index(root: Path) -> dict[str, list[str]]:
    """Every photo below a folder, by its name and by its stem."""
    index: dict[str, list[str]] = {}
    seen: set[str] = set()  # links may lead in a circle
    for directory, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(directory)
        folders[:] = [] if real in seen else sorted(name for name in folders if not is_hidden(name))
        if real in seen:
            continue
        seen.add(real)
        for name in sorted(names):
            stem, suffix = os.path.splitext(name)  # noqa: PTH122
            if suffix.lower() in photo_suffixes() and not is_hidden(name):
                path = f"{directory}/{name}"
                for key in {composed_form(name).casefold(), composed_form(stem).casefold()}:
                    index.setdefault(key, []).append(path)
    return index


def _spellings(base: str) -> list[str]:
    """A name and, for a COCO photo, its names in other years."""
    number = coco_number(base)
    if not number:
        return [base]
    return list(dict.fromkeys([base, number, *(f"coco_{part}_{number}" for part in ("train2014", "val2014"))]))


def _shared_end(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a != b:
            break
        count += 1
    return count


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)  # noqa: PTH121
    except OSError:
        return False


def ambiguous(paths: Sequence[str], root: Path) -> str:
    """The files that a name may mean, as text for messages."""
    return first_few([os.path.relpath(path, root) for path in paths])
