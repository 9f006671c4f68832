"""Checking a data set: it is read, and every photo is opened once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seesay.data.boxes import read_boxes
from seesay.data.caption_figures import CaptionFigures, caption_figures
from seesay.data.duplicates import copies_across_splits, photo_hash
from seesay.data.images import open_photo
from seesay.data.problems import grouped
from seesay.data.readers import read_dataset
from seesay.data.readers.columns import ColumnSpec
from seesay.data.records import CaptionRecord, Problem, count_captions
from seesay.data.splits import SplitSpec
from seesay.data.text import count_of, first_few
from seesay.errors import DataError, PhotoError

BROKEN_SHARE = 0.1  # more unreadable photos than this suggest a broken copy, not a few bad files


@dataclass(frozen=True)
class CheckReport:
    """The result of `check_dataset`.

    Attributes:
        layout: the layout's name.
        photos, captions: numbers of photos and captions, unreadable photos included.
        splits: (photos, captions) of each split that occurs.
        problems: errors first, then repaired rows, then notes.
        unreadable: the number of photos that cannot be opened; None if photos were not opened.
        figures: figures of the training captions, or of all captions without a training split.
        files: the caption files that were read.
    """

    layout: str
    photos: int
    captions: int
    splits: dict[str, tuple[int, int]]
    problems: tuple[Problem, ...]
    unreadable: int | None
    figures: CaptionFigures | None = None
    files: tuple[str, ...] = ()

    @property
    def repaired(self) -> int:
        """The number of rows that were repaired without losing anything."""
        return sum(problem.kind == "repaired" for problem in self.problems)

    @property
    def errors(self) -> int:
        """The number of problems that leave something out."""
        return sum(problem.kind == "error" for problem in self.problems)

    @property
    def ok(self) -> bool:
        """Whether nothing is left out."""
        return not self.errors

    @property
    def usable(self) -> bool:
        """Whether training would accept it: train and dev have photos, and few are unreadable."""
        return self._readable() and not lacking_for_training(self.splits)

    def lines(self, most: int | None = 200) -> list[str]:
        """The report.

        Args:
            most: lines of problems, in which similar problems share a line; None: each problem has
                its own line.
        """
        opened = [] if self.unreadable is None else [count_of(self.unreadable, "unreadable image")]
        parts = [*_counts(self.photos, self.captions), count_of(self.repaired, "repaired row"), *opened]
        splits = [f"  {split}: {', '.join(_counts(*counts))}" for split, counts in self.splits.items()]
        problems = list(map(str, self.problems)) if most is None else grouped(self.problems)
        rest = 0 if most is None else len(problems) - most
        more = [f"... and {rest:,} more"] if rest > 0 else []
        whose = "training captions" if "train" in self.splits else "captions"
        figures = self.figures.lines(whose) if self.figures else []
        top = [f"layout: {self.layout}", ", ".join(parts), *splits]
        read = [f"captions read from {first_few(self.files, 8)}"] if self.files else []
        return [*top, *problems[:most], *more, *read, *figures, self._verdict()]

    def _readable(self) -> bool:
        return (self.unreadable or 0) <= BROKEN_SHARE * self.photos

    def _verdict(self) -> str:
        if not self._readable():
            return f"not usable: {self.unreadable:,} of {self.photos:,} images cannot be read; copy the data again"
        if lacking := lacking_for_training(self.splits):
            return f"not usable for training: {lacking}"
        return "usable" if self.ok else f"usable, but what the {count_of(self.errors, 'error')} above name is left out"

    def __str__(self) -> str:
        return "\n".join(self.lines())


def check_dataset(
    path: Path | str | Sequence[Path | str],
    layout: str = "auto",
    splits: SplitSpec = "auto",
    open_photos: bool = True,
    progress: Callable[[int, int], None] | None = None,
    columns: ColumnSpec = (),
    boxes: Sequence[Path | str] = (),
) -> CheckReport:
    """Read a data set and open all of its photos.

    Args:
        path: a folder, or several.
        layout: as for `read_dataset`.
        splits: as for `read_dataset`.
        open_photos: whether every photo is decoded and compared with those of other splits.
        progress: called with (photos opened, photos) after each photo.
        columns: as for `read_dataset`.
        boxes: as for `seesay.data.boxes.read_boxes`; notes say how many were matched.

    Raises:
        DataError: nothing in it can be used.
    """
    data = read_dataset(path, layout, splits, columns=columns)
    if boxes:
        data = read_boxes(boxes, data)
    problems, unreadable = list(data.problems), None
    if open_photos:
        opened = _open_all(data.records, progress)
        damaged = [photo.problem for photo in opened if photo.problem]
        problems += [*damaged, *copies_across_splits(data.records, [photo.hash for photo in opened])]
        unreadable = sum(problem.kind == "error" for problem in damaged)
    captions = Counter()
    for record in data.records:
        captions[record.split or "(no split)"] += len(record.captions)
    training = [record for record in data.records if record.split == "train"] or data.records
    kinds = ("error", "repaired", "note")
    return CheckReport(
        layout=data.layout,
        photos=len(data.records),
        captions=count_captions(data.records),
        splits={split: (photos, captions[split]) for split, photos in data.counts().items()},
        problems=tuple(sorted(problems, key=lambda problem: kinds.index(problem.kind))),
        unreadable=unreadable,
        figures=caption_figures(caption for record in training for caption in record.captions),
        files=data.files,
    )


def find_unreadable(
    records: Sequence[CaptionRecord], progress: Callable[[int, int], None] | None = None
) -> list[Problem]:
    """An error for each photo that cannot be opened and decoded, in the order of the records."""
    opened = _open_all(records, progress, hashed=False)
    return [photo.problem for photo in opened if photo.problem and photo.problem.kind == "error"]


class _Opened(NamedTuple):
    """The result of opening a photo: an error, or a note about damage, and its hash."""

    problem: Problem | None
    hash: np.ndarray | None


def _open_all(
    records: Sequence[CaptionRecord], progress: Callable[[int, int], None] | None, hashed: bool = True
) -> list[_Opened]:
    photos: list[_Opened] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes outside Python's lock
        for count, photo in enumerate(pool.map(partial(_open, hashed=hashed), records), 1):
            photos.append(photo)
            if progress:
                progress(count, len(records))
    return photos


def lacking_for_training(splits: Container[str]) -> str:
    """Which splits that training needs are missing, and what to do; "" if none is."""
    lacking = [split for split in ("train", "dev") if split not in splits]
    if not lacking:
        return ""
    how = "data.splits=0.8/0.1/0.1 (--splits of `seesay data check`), id lists beside the captions, or a column `split`"
    return f"no photo in {' or '.join(lacking)}; give {how}"


def refuse_if_too_many_unreadable(broken: Sequence[Problem], total: int) -> None:
    """Raise an error if too many photos are unreadable; a few may be left out.

    Args:
        broken: one problem for each photo that cannot be read.
        total: photos in all.

    Raises:
        DataError: more than a tenth is unreadable; the text names the first few.
    """
    if len(broken) <= BROKEN_SHARE * total:
        return
    some = "".join(f"\n  {problem}" for problem in broken[:5])
    raise DataError(
        f"{len(broken):,} of {total:,} photos cannot be read, more than a tenth; "
        f"copy or unpack the data again, or remove their captions:{some}"
    )


def _open(record: CaptionRecord, hashed: bool) -> _Opened:
    try:
        with open_photo(record.image) as photo:
            warning = photo.info.get("warning")
            problem = Problem("note", str(record.image), warning) if warning else None
            return _Opened(problem, photo_hash(photo) if hashed else None)
    except PhotoError as error:
        return _Opened(Problem("error", str(record.image), f"photo left out: {error.reason}"), None)


def _counts(photos: int, captions: int) -> list[str]:
    return [count_of(photos, "image"), count_of(captions, "caption")]
