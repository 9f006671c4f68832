"""Rows of any layout -> records: finds the photos, drops what cannot be used, and says so."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from seesay.data.images import photo_suffixes
from seesay.data.readers.source import CaptionFile
from seesay.data.records import SPLITS, CaptionRecord, Problem
from seesay.data.text import count_of, first_few, one_form, without_suffix
from seesay.errors import DataError

HALVES = re.compile("[\ud800-\udfff]")  # of a character outside the first plane; JSON can hold one alone, UTF-8 cannot


@dataclass(slots=True)
class _Photo:
    """A photo that rows speak of; `path` is "" where no such file lies in `folders`."""

    id: str
    name: str
    path: str
    where: str
    folders: Sequence[Path]
    captions: list[str] = field(default_factory=list)
    splits: set[str] = field(default_factory=set)
    rows: int = 0


class _PhotoFolders:
    """Which photos lie where: each folder is listed once, because asking for 31,783 files one by one is slow."""

    def __init__(self) -> None:
        self._listed: dict[str, dict[str, str]] = {}
        self._used: dict[str, set[str]] = {}

    def find(self, name: str, folders: Sequence[str]) -> str:
        """The file called `name` (it may name subfolders) in the first of `folders` that has it, or ""."""
        for folder in folders:
            path = f"{folder}/{name}"  # pathlib takes ten times as long, which shows at 31,783 photos
            directory, _, base = path.rpartition("/")
            there = self._listing(directory)
            if found := there.get(base) or there.get(one_form(base)):
                self._used.setdefault(directory, set()).add(found)
                return f"{directory}/{found}"
        return ""

    def unused(self) -> list[str]:
        """Photos without captions in folders where others have some."""
        return sorted(
            name
            for directory, used in self._used.items()
            for name in set(self._listed[directory].values()) - used
            if PurePosixPath(name).suffix.lower() in photo_suffixes()
        )

    def _listing(self, directory: str) -> dict[str, str]:
        """The folder's files, by their names and by the one form of these."""
        if directory not in self._listed:
            try:
                with os.scandir(directory) as entries:
                    names = [entry.name for entry in entries if entry.is_file()]
                self._listed[directory] = {one_form(name): name for name in names} | {name: name for name in names}
            except PermissionError as error:
                raise DataError(f"{directory}: cannot be listed ({error.strerror}); check its permissions") from None
            except (OSError, ValueError):  # no such folder, or no name that a folder can have
                self._listed[directory] = {}
        return self._listed[directory]


def assemble(files: Iterable[CaptionFile], label: Callable[[Path], str]) -> tuple[list[CaptionRecord], list[Problem]]:
    """Group the rows by photo.

    Args:
        files: what a layout found.
        label: a file's name in problems.

    Returns:
        Records with unique ids in the order of the rows, their split as the rows give it ("" if they give
        none), and every problem found: unreadable, empty and repeated rows, photos that are missing, left
        without a caption, named in two splits, or never named.
    """
    folders = _PhotoFolders()
    photos: dict[str, _Photo] = {}
    problems: list[Problem] = []
    for file in files:
        _collect(file, label(file.path), folders, photos, problems)
    kept = [photo for photo in photos.values() if not (fault := _fault(photo)) or problems.append(fault)]
    problems += [_two_splits(photo) for photo in kept if len(photo.splits) > 1]
    problems += _repeated(kept) + _uncaptioned(folders.unused())
    return _records(kept, label), problems


def _collect(
    file: CaptionFile, label: str, folders: _PhotoFolders, photos: dict[str, _Photo], problems: list[Problem]
) -> None:
    by_name: dict[str, _Photo] = {}
    places = [str(folder) for folder in file.folders]
    for row in file.rows:
        if isinstance(row, Problem):
            problems.append(row)
            continue
        photo = by_name.get(row.image)
        if photo is None:
            name = row.image.strip().replace("\\", "/")
            path = folders.find(name, places) if name else ""
            id_ = file.prefix + without_suffix(name) if path else ""
            new = _Photo(id_, name, path, f"{label}:{row.line}", file.folders)
            # Two files of captions may speak of one photo.
            photo = by_name[row.image] = photos.setdefault(path or f"{label}|{name}", new)
        photo.rows += 1
        if row.split:
            photo.splits.add(row.split)
        caption = " ".join(row.caption.split("\n")).strip()
        if HALVES.search(caption):
            caption = HALVES.sub("\N{REPLACEMENT CHARACTER}", caption)
            what = f"half a character in a caption of '{photo.name}': replaced"
            problems.append(Problem("repaired", f"{label}:{row.line}", what))
        if caption:
            photo.captions.append(caption)
        else:
            problems.append(Problem("error", f"{label}:{row.line}", f"empty caption of '{photo.name}': row left out"))


def _fault(photo: _Photo) -> Problem | None:
    """Why a photo is left out, if it is."""
    if not photo.name:
        return Problem("error", photo.where, f"no photo is named: {count_of(photo.rows, 'row')} left out")
    if not photo.path:
        looked = next((folder for folder in photo.folders if folder.is_dir()), photo.folders[0])
        what = f"photo '{photo.name}' is not in {looked}: left out with {count_of(photo.rows, 'caption')}"
        return Problem("error", photo.where, what)
    if not photo.captions:
        return Problem("error", photo.where, f"photo '{photo.name}' has no caption left: left out")
    return None


def _split(photo: _Photo) -> str:
    """The last of train, dev, test that is named: what is measured on is never trained on."""
    return max(photo.splits, key=SPLITS.index, default="")


def _two_splits(photo: _Photo) -> Problem:
    named = " and ".join(sorted(photo.splits, key=SPLITS.index))
    return Problem("error", photo.where, f"photo '{photo.name}' is in {named}: it stays in {_split(photo)} only")


def _repeated(photos: Sequence[_Photo]) -> list[Problem]:
    # They are kept: people who describe one photo do write the same sentence at times.
    extra = [len(photo.captions) - len(set(photo.captions)) for photo in photos]
    names = [photo.name for photo, count in zip(photos, extra, strict=True) if count]
    if not names:
        return []
    what = f"{count_of(sum(extra), 'repeated caption')}, kept (photos {first_few(names)})"
    return [Problem("note", "captions", what)]


def _uncaptioned(names: Sequence[str]) -> list[Problem]:
    if not names:
        return []
    return [
        Problem("note", "photos", f"{count_of(len(names), 'photo')} without captions, left out ({first_few(names)})")
    ]


def _records(photos: Sequence[_Photo], label: Callable[[Path], str]) -> list[CaptionRecord]:
    uses = Counter(photo.id for photo in photos)
    records = []
    for photo in photos:
        path = Path(photo.path)
        id_ = photo.id if uses[photo.id] == 1 else label(path)  # dog.jpg beside dog.png
        records.append(CaptionRecord(id_, path, tuple(photo.captions), _split(photo)))
    return records
