"""Rows of any layout -> records: finds the photos, drops unusable rows, and reports them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from seesay.data.readers.photo_finder import WEB_ADDRESS, PhotoFinder, ambiguous, normal_name
from seesay.data.readers.source import CaptionFile, Row, split_name
from seesay.data.records import SPLITS, BoxedObject, CaptionRecord, Problem
from seesay.data.text import count_of, first_few, without_suffix

SURROGATES = re.compile("[\ud800-\udfff]")  # surrogates: JSON may have one alone, UTF-8 may not


@dataclass(slots=True)
class _Photo:
    """A photo that rows name, and the facts that they state about it.

    Attributes:
        id: the photo's name without suffix, after the prefix of its caption file.
        name: the photo's name in the rows, normalised.
        path: the photo's file, "" if there is none.
        inside: for a photo inside another file, a name that is unique among photos of the same id.
        where: the first row that names it.
        folders: the folders that were searched for it.
        captions, splits: collected from the rows; `rows` counts rows, also those with an empty
            caption.
        file: number of the last caption file that names it.
        earlier: the photo's captions in earlier caption files.
        again: how many captions a later file repeats.
        spelt: the photo's name as the first row spells it.
        names: other names and spellings of it in the same file.
        objects: the boxes of the first row that has any.
        everywhere: the name that all files of the data set share for it, or "".
    """

    id: str
    name: str
    path: str
    inside: str
    where: str
    folders: Sequence[Path]
    captions: list[str] = field(default_factory=list)
    splits: set[str] = field(default_factory=set)
    rows: int = 0
    file: int = 0
    earlier: set[str] = field(default_factory=set)
    again: int = 0
    spelt: str = ""
    names: set[str] = field(default_factory=set)
    everywhere: str = ""
    objects: tuple[BoxedObject, ...] = ()


class _File(NamedTuple):
    """A captions file that is being read."""

    file: CaptionFile
    number: int
    label: str
    places: list[str]


class Assembler:
    """Groups rows by photo.

    Args:
        root: the folder that is searched for photos.
        label: a file's name in problems.
    """

    def __init__(self, root: Path, label: Callable[[Path], str]) -> None:
        self._finder = PhotoFinder(root)
        self._root = root
        self._label = label
        self._photos: dict[str, _Photo] = {}
        self._problems: list[Problem] = []
        self._packed_left: list[str] = []

    def assemble(self, files: Iterable[CaptionFile]) -> tuple[list[CaptionRecord], list[Problem]]:
        """Read all of the files.

        Returns:
            Records with unique ids in the order of the rows, with the split of their rows ("" if
            these have none);
            and every problem: unreadable, empty and repeated rows, photos that are missing, without
                a caption, in
            two splits, under two names, or never named.
        """
        read = [(file, self._collect(file, number)) for number, file in enumerate(files)]
        anything = any(photo.path for photo in self._photos.values())
        for file, photos in read:
            if anything and photos and not any(photo.path for photo in photos):
                self._pass_over(file, photos)
        kept: list[_Photo] = []
        for photo in self._photos.values():
            fault = self._fault(photo)
            self._problems += [fault] if fault else []
            kept += [] if fault else [photo]
        self._problems += [_two_splits(photo) for photo in kept if len(photo.splits) > 1 and not photo.everywhere]
        notes = (_in_two_years(kept), _two_names(kept), _given_twice(kept), _repeated(kept), self._elsewhere())
        unused = self._finder.unused() + self._packed_left
        self._problems += [note for note in (*notes, _uncaptioned(unused)) if note]
        return self._records(kept), self._problems

    def _collect(self, file: CaptionFile, number: int) -> list[_Photo]:
        """The photos that a file names."""
        reading = _File(file, number, self._label(file.path), [str(f) for f in file.folders if f.is_dir()])
        by_name: dict[str, _Photo] = {}
        for row in file.rows:
            if isinstance(row, Problem):
                self._problems.append(row)
                continue
            photo = by_name.get(row.image)
            if photo is None:
                photo = by_name[row.image] = self._photo(row, reading)
            self._add(photo, row, reading)
        if file.packed:
            used = {photo.name for photo in by_name.values()}
            self._packed_left += [f"{reading.label}/{name}" for name in file.packed.sizes if name not in used]
        return list({id(photo): photo for photo in by_name.values()}.values())

    def _photo(self, row: Row, reading: _File) -> _Photo:
        """The photo that a row names; it may be known from another file or by another name."""
        file, where = reading.file, _where(reading.label, row.line)
        name = normal_name(row.image)
        path = self._path(name, reading)
        id_ = file.prefix + without_suffix(name.rpartition("../")[2].lstrip("/")) if path else ""
        everywhere = file.same_photo(name) if file.same_photo and path else ""
        if everywhere or file.packed or not path:
            key = everywhere or path or f"{reading.label}|{name}"
        else:
            key = self._finder.identity(path)
        inside = f"{reading.label}/{name}" if file.packed else ""
        new = _Photo(id_, name, path, inside, where, file.folders, file=reading.number, everywhere=everywhere)
        new.spelt = row.image.strip()
        photo = self._photos.setdefault(key, new)
        if photo.file != reading.number:
            photo.file, photo.earlier = reading.number, set(photo.captions)
        elif photo.spelt != row.image.strip():
            photo.names.add(row.image.strip())
        return photo

    def _path(self, name: str, reading: _File) -> str:
        if packed := reading.file.packed:
            return packed.path(name) if name in packed.sizes else ""
        if not name or WEB_ADDRESS.match(name):
            return ""
        return self._finder.find(name, reading.places, reading.file.path.stem.removeprefix("captions_"))

    def _add(self, photo: _Photo, row: Row, reading: _File) -> None:
        """Add a row's caption and split to its photo."""
        photo.rows += 1
        photo.objects = photo.objects or row.objects
        if row.split.strip():
            if split := split_name(row.split):
                photo.splits.add(split)
            else:
                what = f"split {row.split.strip()!r} is none of train, dev (val) and test: taken as no split"
                self._problems.append(Problem("error", _where(reading.label, row.line), what))
        caption = " ".join(row.caption.split("\n")).strip()
        if SURROGATES.search(caption):
            caption = SURROGATES.sub("\N{REPLACEMENT CHARACTER}", caption)
            what = f"half a character in a caption of '{photo.name}': replaced"
            self._problems.append(Problem("repaired", _where(reading.label, row.line), what))
        if caption in photo.earlier:
            photo.again += 1
        elif caption:
            photo.captions.append(caption)
        else:
            what = f"empty caption of '{photo.name}': row left out"
            self._problems.append(Problem("error", _where(reading.label, row.line), what))

    def _pass_over(self, file: CaptionFile, photos: Sequence[_Photo]) -> None:
        """Report a file of which no photo exists as one problem, instead of one for each photo."""
        gone = {id(photo) for photo in photos}
        self._photos = {key: photo for key, photo in self._photos.items() if id(photo) not in gone}
        what = f"none of its {count_of(len(photos), 'photo')} is here, such as '{photos[0].name}': file passed over"
        self._problems.append(Problem("note" if file.optional else "error", self._label(file.path), what))

    def _fault(self, photo: _Photo) -> Problem | None:
        """Why a photo is left out; None if it is kept."""
        rows, captions = count_of(photo.rows, "row"), count_of(photo.rows, "caption")
        if not photo.name:
            return Problem("error", photo.where, f"no photo is named: {rows} left out")
        if photo.path:
            what = f"photo '{photo.name}' has no caption left: left out"
            return None if photo.captions else Problem("error", photo.where, what)
        if WEB_ADDRESS.match(photo.name):
            what = f"photo '{photo.name}' is a web address: left out; download it first (img2dataset writes tars)"
            return Problem("error", photo.where, what)
        if several := self._finder.several(photo.name):
            what = f"photo '{photo.name}' may be any of {ambiguous(several, self._root)}: left out with {captions}"
            return Problem("error", photo.where, what)
        looked = next((folder for folder in photo.folders if folder.is_dir()), photo.folders[0])
        return Problem("error", photo.where, f"photo '{photo.name}' is not in {looked}: left out with {captions}")

    def _elsewhere(self) -> Problem | None:
        folders = self._finder.elsewhere
        if not folders:
            return None
        some = first_few([f"{self._label(Path(folder))}/ ({count:,})" for folder, count in folders.items()])
        return Problem("note", "photos", f"{count_of(sum(folders.values()), 'photo')} found in {some}")

    def _records(self, photos: Sequence[_Photo]) -> list[CaptionRecord]:
        uses = Counter(photo.id for photo in photos)
        records = []
        for photo in photos:
            path = Path(photo.path)
            id_ = photo.id if uses[photo.id] == 1 else photo.inside or self._label(path)  # dog.jpg beside dog.png
            records.append(CaptionRecord(id_, path, tuple(photo.captions), _split(photo), photo.objects))
        return records


def _where(label: str, line: int | str) -> str:
    return f"{label}:{line}" if label else str(line)


def _split(photo: _Photo) -> str:
    """The last of train, dev, test that is named: what is measured on is never trained on."""
    return max(photo.splits, key=SPLITS.index, default="")


def _two_splits(photo: _Photo) -> Problem:
    named = " and ".join(sorted(photo.splits, key=SPLITS.index))
    return Problem("error", photo.where, f"photo '{photo.name}' is in {named}: it stays in {_split(photo)} only")


def _in_two_years(photos: Sequence[_Photo]) -> Problem | None:
    """Photos of COCO 2014 that COCO 2017 has too."""
    both = [photo.name for photo in photos if photo.everywhere and photo.again]
    moved = sum(len(photo.splits) > 1 for photo in photos if photo.everywhere)
    if not both:
        return None
    what = f"{count_of(len(both), 'photo')} in both years, read once ({first_few(both)})"
    held_out = f"; {moved:,} of them, in train of one year and val of the other, in dev only" if moved else ""
    return Problem("note", "photos", what + held_out)


def _two_names(photos: Sequence[_Photo]) -> Problem | None:
    named = [f"'{photo.spelt}' and '{name}'" for photo in photos for name in sorted(photo.names)]
    if not named:
        return None
    count = sum(bool(photo.names) for photo in photos)
    what = f"{count_of(count, 'photo')} under several names, read as one each ({first_few(named, 2)})"
    return Problem("note", "photos", what)


def _given_twice(photos: Sequence[_Photo]) -> Problem | None:
    """Captions that a second file repeats word by word."""
    again = [photo for photo in photos if photo.again and not photo.everywhere]
    if not again:
        return None
    count = sum(photo.again for photo in again)
    some = first_few([photo.name for photo in again])
    return Problem("note", "captions", f"{count_of(count, 'caption')} in two files, read once (photos {some})")


def _repeated(photos: Sequence[_Photo]) -> Problem | None:
    # Kept, because people who describe the same photo sometimes write the same sentence.
    extra = [len(photo.captions) - len(set(photo.captions)) for photo in photos]
    names = [photo.name for photo, count in zip(photos, extra, strict=True) if count]
    if not names:
        return None
    what = f"{count_of(sum(extra), 'repeated caption')}, kept (photos {first_few(names)})"
    return Problem("note", "captions", what)


def _uncaptioned(names: Sequence[str]) -> Problem | None:
    if not names:
        return None
    what = f"{count_of(len(names), 'photo')} without captions, left out ({first_few(names)})"
    return Problem("note", "photos", what)
