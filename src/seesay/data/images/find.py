"""Finding photos by name and in folders."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path

from seesay.data.images.formats import NEEDS_HEIF, photo_suffixes, picture_kind
from seesay.data.images.sources import hint
from seesay.errors import DataError, printable

Name = str | os.PathLike[str]


def find_photos(
    paths: Iterable[Name], passed_over: Counter[str] | None = None, pipes: Container[Name] = ()
) -> Iterator[Path | str]:
    """The named files, and the photos in the named folders, each once and in the order given.

    Folders are searched recursively and in alphabetical order, without hidden files; photos are
    yielded while folders are still being listed. A file that is named is taken whatever its suffix;
    in folders, files without a photo's suffix are ignored. Links are followed, but to no folder
    twice. Paths that cannot be read are included (a name without a file, a folder that cannot be
    listed, a pipe in a folder); `open_photo` raises the error with the reason.

    Args:
        paths: files and folders.
        passed_over: is filled with the number of pictures of unsupported kinds in the folders, by
            kind.
        pipes: names that are not files and are passed through.

    Raises:
        DataError: there is nothing to read at all.
    """
    paths, passed_over = list(paths), Counter() if passed_over is None else passed_over
    missing = {path: None for path in paths if path not in pipes and _is_missing(path)}
    gone = {os.fspath(path) for path in missing}
    held: list[str] | None = []  # names without a file, until it is certain that there are photos
    for photo in _each_once(paths, passed_over, pipes, missing):
        if held is None:
            yield photo
        elif isinstance(photo, str) and photo in gone:
            held.append(photo)
        else:
            yield from held
            held = None
            yield photo
    if held is not None:
        raise DataError(_nothing_found(paths, list(missing), passed_over))


def _each_once(
    paths: list[Name],
    passed_over: Counter[str],
    pipes: Container[Name],
    missing: Container[Name],
) -> Iterator[Path | str]:
    """The photos in order. Memory grows with folders and named files, not with photos."""
    place = _place_finder()
    listed: set[str] = set()  # real paths of folders
    named: set[str] = set()
    for path in paths:
        if path in pipes or path in missing:
            if os.fspath(path) not in named:
                named.add(os.fspath(path))
                yield os.fspath(path)
        elif os.path.isdir(path):  # noqa: PTH112  # pathlib's raises where it may not look
            for photo in _photos_below(Path(path), listed, passed_over):
                if not named or place(photo) not in named:
                    yield photo
        elif (where := place(path)) not in named and not _was_listed(where, listed):
            named.add(where)
            yield Path(path)


def _was_listed(place: str, listed: Container[str]) -> bool:
    """Whether a file was among the photos of one of the listed folders."""
    folder, name = os.path.split(place)
    return folder in listed and not name.startswith(".") and is_photo_name(name)


def is_photo_name(name: str) -> bool:
    """Whether a file with this name counts as a photo in a folder."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    return suffix in photo_suffixes() and not picture_kind(suffix)


def passed_over_note(passed_over: Mapping[str, int]) -> str:
    """One line about pictures of unsupported kinds; "" if there are none."""
    if not (total := sum(passed_over.values())):
        return ""
    most_first = sorted(passed_over.items(), key=lambda item: -item[1])
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in most_first)
    install = f"; {NEEDS_HEIF} reads HEIC" if "HEIC" in passed_over else ""
    pictures = "picture" if total == 1 else "pictures"
    return f"passed over {total:,} {pictures} of kinds that are not read here: {kinds}{install}"


def _is_missing(path: Name) -> bool:
    try:
        return not os.fspath(path) or not os.stat(path)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):  # `open_photo` reports what is wrong
        return False


def _place_finder() -> Callable[[Name], str]:
    """A function that maps all spellings of a path, and links to its folder, to the same text."""
    real: dict[str, str] = {}

    def place(path: Name) -> str:
        folder, name = os.path.split(path)
        if folder not in real:
            real[folder] = os.path.realpath(folder)
        return f"{real[folder]}/{name}"

    return place


def _nothing_found(paths: list[Name], missing: list[Name], passed_over: Mapping[str, int]) -> str:
    if missing:
        names = [f"{printable(path) or repr('')}{hint(os.fspath(path))}" for path in missing]
        return f"no such file or folder: {', '.join(names)}"
    where = ", ".join(map(printable, paths))
    reason = passed_over_note(passed_over)
    return f"no photos found in {where}; {reason or 'suffixes such as .jpg, .png, .webp count'}"


def _photos_below(folder: Path, seen: set[str], passed_over: Counter[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError:
        yield folder
        return
    suffixes = photo_suffixes()
    folders = []
    for entry in sorted(visible, key=lambda entry: entry.name):
        suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
        if _is_folder(entry):
            folders.append(entry)
        elif kind := picture_kind(suffix):
            passed_over[kind] += 1
        elif suffix in suffixes:
            yield Path(entry.path)
    for entry in folders:
        yield from _photos_below(Path(entry.path), seen, passed_over)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself
        return False
