"""Is a data set fit for use: every check of reading, and every photo opened once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from seesay.data.images import open_photo
from seesay.data.readers import read_dataset
from seesay.data.readers.columns import ColumnSpec
from seesay.data.readers.join import same_content
from seesay.data.records import CaptionRecord, Problem, count_captions
from seesay.data.splits import SplitSpec
from seesay.data.text import count_of, first_few
from seesay.errors import DataError, PhotoError

BROKEN_SHARE = 0.1  # more unreadable photos than this point to a broken copy, not to a few bad files


@dataclass(frozen=True)
class CheckReport:
    """What `check_dataset` found.

    Attributes:
        layout: the layout's name.
        photos, captions: how many, unreadable photos included.
        splits: (photos, captions) of each split that occurs.
        problems: errors first, then repaired rows, then notes.
        unreadable: photos that cannot be opened; None if none was opened.
    """

    layout: str
    photos: int
    captions: int
    splits: dict[str, tuple[int, int]]
    problems: tuple[Problem, ...]
    unreadable: int | None

    @property
    def repaired(self) -> int:
        """Rows that were mended without losing anything."""
        return sum(problem.kind == "repaired" for problem in self.problems)

    @property
    def errors(self) -> int:
        """Problems that leave something out."""
        return sum(problem.kind == "error" for problem in self.problems)

    @property
    def ok(self) -> bool:
        """Whether nothing is left out."""
        return not self.errors

    @property
    def usable(self) -> bool:
        """Whether training would accept it: photos in train and dev, and few that are unreadable."""
        return self._readable() and not lacking_for_training(self.splits)

    def lines(self, most: int = 200) -> list[str]:
        """The report, at most so many problems of it."""
        opened = [] if self.unreadable is None else [count_of(self.unreadable, "unreadable image")]
        parts = [*_counts(self.photos, self.captions), count_of(self.repaired, "repaired row"), *opened]
        splits = [f"  {split}: {', '.join(_counts(*counts))}" for split, counts in self.splits.items()]
        shown = [str(problem) for problem in self.problems[:most]]
        rest = len(self.problems) - most
        more = [f"... and {rest:,} more"] if rest > 0 else []
        return [f"layout: {self.layout}", ", ".join(parts), *splits, *shown, *more, self._verdict()]

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
) -> CheckReport:
    """Read a data set and open all of its photos.

    Args:
        path: a folder, or several.
        layout: as for `read_dataset`.
        splits: as for `read_dataset`.
        open_photos: whether every photo is decoded and compared with those of other splits.
        progress: called with (photos opened, photos) after each photo.
        columns: as for `read_dataset`.

    Raises:
        DataError: nothing in it can be used.
    """
    data = read_dataset(path, layout, splits, columns=columns)
    problems, unreadable = list(data.problems), None
    if open_photos:
        damaged = find_damaged(data.records, progress)
        problems += [*damaged, *_copies(data.records)]
        unreadable = sum(problem.kind == "error" for problem in damaged)
    captions = Counter()
    for record in data.records:
        captions[record.split or "(no split)"] += len(record.captions)
    kinds = ("error", "repaired", "note")
    return CheckReport(
        layout=data.layout,
        photos=len(data.records),
        captions=count_captions(data.records),
        splits={split: (photos, captions[split]) for split, photos in data.counts().items()},
        problems=tuple(sorted(problems, key=lambda problem: kinds.index(problem.kind))),
        unreadable=unreadable,
    )


def find_unreadable(
    records: Sequence[CaptionRecord], progress: Callable[[int, int], None] | None = None
) -> list[Problem]:
    """An error for each photo that cannot be opened and decoded, in the order of the records."""
    return [problem for problem in find_damaged(records, progress) if problem.kind == "error"]


def find_damaged(records: Sequence[CaptionRecord], progress: Callable[[int, int], None] | None = None) -> list[Problem]:
    """What `find_unreadable` finds, and a note for each photo that is damaged but can be read."""
    found: list[Problem] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes outside Python's lock
        for done, problem in enumerate(pool.map(_open, records), 1):
            found += [problem] if problem else []
            if progress:
                progress(done, len(records))
    return found


def lacking_for_training(splits: Container[str]) -> str:
    """What is missing of the splits that training needs, and what to do; "" if nothing is."""
    lacking = [split for split in ("train", "dev") if split not in splits]
    if not lacking:
        return ""
    how = "data.splits=0.8/0.1/0.1 (--splits of `seesay data check`), id lists beside the captions, or a column `split`"
    return f"no photo in {' or '.join(lacking)}; give {how}"


def refuse_if_too_many_unreadable(broken: Sequence[Problem], total: int) -> None:
    """Let a few unreadable photos pass: whoever trains leaves them out and says how many.

    Args:
        broken: one problem for each photo that cannot be read.
        total: photos in all.

    Raises:
        DataError: they are more than a tenth of all; the text names the first few.
    """
    if len(broken) <= BROKEN_SHARE * total:
        return
    some = "".join(f"\n  {problem}" for problem in broken[:5])
    raise DataError(
        f"{len(broken):,} of {total:,} photos cannot be read, more than a tenth; "
        f"copy or unpack the data again, or remove their captions:{some}"
    )


def _open(record: CaptionRecord) -> Problem | None:
    try:
        warning = open_photo(record.image).info.get("warning")
    except PhotoError as error:
        return Problem("error", str(record.image), f"photo left out: {error.reason}")
    return Problem("note", str(record.image), warning) if warning else None


def _copies(records: Sequence[CaptionRecord]) -> list[Problem]:
    """A note if photos of train lie under another name in dev or test, byte for byte."""
    train = [record for record in records if record.split == "train"]
    copies = sorted(same_content(train, [record for record in records if record.split in ("dev", "test")]))
    if not copies:
        return []
    what = f"{count_of(len(copies), 'photo')} of train also in dev or test, byte for byte ({first_few(copies)})"
    return [Problem("note", "splits", what)]


def _counts(photos: int, captions: int) -> list[str]:
    return [count_of(photos, "image"), count_of(captions, "caption")]
