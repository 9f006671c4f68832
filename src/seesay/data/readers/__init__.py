"""Reading data sets of any layout into a `Dataset`.

To add a layout, write a module here and name it in `LAYOUTS`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from seesay.data.packed import Packed, in_place, unpack
from seesay.data.readers import (
    coco,
    flickr8k,
    flickr30k,
    folder,
    json_list,
    karpathy,
    parquet,
    shapes,
    table,
    textcaps,
    texts,
    webdataset,
)
from seesay.data.readers.assemble import Assembler
from seesay.data.readers.columns import Columns, ColumnSpec
from seesay.data.readers.join import join
from seesay.data.readers.photo_finder import listed_folders
from seesay.data.readers.source import CaptionFile, Layout, Source
from seesay.data.records import Dataset, Problem
from seesay.data.shapes import ensure_shapes
from seesay.data.splits import SplitSpec, assign_splits, limit_splits
from seesay.data.text import first_few
from seesay.errors import DataError, did_you_mean

LAYOUTS: dict[str, Layout] = {
    module.LAYOUT.name: module.LAYOUT
    for module in (
        *(flickr30k, flickr8k, coco, karpathy, textcaps, shapes, folder, json_list, table),
        *(webdataset, parquet, texts),
    )
}  # in the order in which they are tried
DEEPEST = 3  # folders around the captions that an archive may have added
# written by `seesay data convert`: its source, and whether it has finished
CONVERTED = ".seesay-convert.json"
MOST_FOLDERS = 200  # at one depth; if there are more, they are parts of one data set


class _Place(NamedTuple):
    """A folder that holds captions, with the files of every layout that it has."""

    folder: Path
    files: list[tuple[Layout, list[Path]]]


def read_dataset(
    paths: Sequence[Path | str] | Path | str,
    layout: str = "auto",
    splits: SplitSpec = "auto",
    limit: int | None = None,
    seed: int = 0,
    columns: ColumnSpec = (),
    unpacked: bool = True,
    console: Console | None = None,
) -> Dataset:
    """Read one data set, or several as one.

    Args:
        paths: a folder or several, or the file of captions where a folder has more than one; see
            `LAYOUTS`.
        layout: one of `LAYOUTS`, or "auto" to detect it for each folder. "shapes" makes the
            synthetic set in a new or empty folder, and in the cache where no path is given.
        splits: "auto" for the data set's own splits (id lists, COCO's file names, subfolders,
            Karpathy's ids for Flickr30k) or else fractions; "karpathy"; a folder of train.txt,
            dev.txt or val.txt, test.txt; a JSON file of splits, such as Karpathy's; or fractions
            such as "0.8/0.1/0.1" or {"train": 0.9, "dev": 0.1}.
        limit: the maximal number of photos of each split, for trials.
        seed: of `limit`. Splits by fractions do not depend on it, so no run trains on photos that
            another one tests on.
        columns: names that cannot be guessed, such as "image=pic,caption=words,split=fold".
        unpacked: whether photos inside tars or tables are unpacked into the cache now; if not, call
            `unpack_photos` before opening them.
        console: where the progress of unpacking is shown; None: standard error.

    Returns:
        Records whose photos exist; everything that was repaired or left out is in `problems`.

    Raises:
        DataError: a folder has none of the layouts or nothing usable, or an argument is invalid.
        MissingExtraError: a layout needs a package that is not installed.
    """
    given = [paths] if isinstance(paths, (str, Path)) else paths
    folders = [Path(path).expanduser() for path in given]
    if layout == "shapes":
        folders = [ensure_shapes(path) for path in folders] or [ensure_shapes()]
    if not folders:
        raise DataError("data.path: got an empty list, expected one folder or more")
    if layout != "auto" and layout not in LAYOUTS:
        near = did_you_mean(layout, (*LAYOUTS, "auto"))
        raise DataError(f"data.layout: unknown layout '{layout}'; expected auto, {', '.join(LAYOUTS)}.{near}")
    wanted = Columns.parse(columns)
    folders, twice = _once(folders)
    sources = [_read_one(folder, layout, splits, wanted) for folder in folders]
    if len(sources) > 1:
        for source in sources:  # photos of several sources are compared
            unpack_photos(source, console)
    data = sources[0] if len(sources) == 1 else join(dict(zip(_names(folders), sources, strict=True)))
    records = data.records if limit is None else tuple(limit_splits(data.records, limit, seed))
    data = replace(data, records=records, problems=(*twice, *data.problems))
    if unpacked:
        unpack_photos(data, console)
    return data


def unpack_photos(data: Dataset, console: Console | None = None) -> None:
    """Write the photos that are inside tars or tables into the cache, unless they are there.

    Args:
        data: read with `unpacked=False`, or a part of it.
        console: where progress is shown; None: standard error.

    Raises:
        DataError: the disk has no room, or a file cannot be read or written.
    """
    unpack(data.packed, (record.image for record in data.records), console)


def read_photos_in_place(data: Dataset, console: Console | None = None) -> Dataset:
    """The data set with photos that are read from their tars; the others are unpacked.

    Args:
        data: read with `unpacked=False`.
        console: as for `unpack_photos`.

    Raises:
        DataError: as for `unpack_photos`.
    """
    found = in_place(data.packed, (record.image for record in data.records))
    rest = [record.image for record in data.records if record.image not in found]
    unpack(data.packed, rest, console)
    records = (replace(record, image=found.get(record.image, record.image)) for record in data.records)
    return replace(data, records=tuple(records))


def _read_one(path: Path, layout: str, splits: SplitSpec, columns: Columns) -> Dataset:
    layouts = list(LAYOUTS.values()) if layout == "auto" else [LAYOUTS[layout]]
    place = _detect(path, layouts, columns)
    chosen, files = place.files[0]
    root = path if path.is_dir() and place.folder.is_relative_to(path) else place.folder

    def label(file: Path) -> str:
        base = next((base for base in (path, place.folder.parent) if file.is_relative_to(base)), "")
        name = (file.relative_to(base) if base else file).as_posix()
        return file.name if name == "." else name

    source = Source(place.folder, root, files, label, columns)
    read = chosen.read(source)
    records, problems = Assembler(root, label).assemble(read)
    if not records:
        some = "".join(f"\n  {problem}" for problem in problems[:5])
        raise DataError(f"{path}: no photo with a caption in it (layout {chosen.name}){some}")
    records, more = assign_splits(records, splits, beside=(place.folder, root), karpathy=chosen.karpathy)
    if note := _passed_over(place, read, label):
        problems.insert(0, note)
    if any(read_converted(folder).get("finished") is False for folder in (root, place.folder)):
        what = "`seesay data convert` has not finished writing it: call it again"
        problems.insert(0, Problem("error", root.name, what))
    files = tuple(label(file.path) for file in read)
    return Dataset(chosen.name, tuple(records), (*problems, *more), files, _packs(read))


def read_converted(folder: Path) -> dict[str, Any]:
    """The note that `seesay data convert` writes into its folder; {} if there is none."""
    try:
        noted = json.loads((folder / CONVERTED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _packs(read: Iterable[CaptionFile]) -> tuple[Packed, ...]:
    return tuple(file.packed for file in read if file.packed)


def _passed_over(place: _Place, read: Sequence[CaptionFile], label: Callable[[Path], str]) -> Problem | None:
    """A note about caption files that were not read, and how to read them instead."""
    taken = {file.path for file in read}
    left: dict[Path, Layout] = {}
    for layout, files in place.files:
        for file in files:
            if file not in taken:
                left.setdefault(file, layout)
    if not left:
        return None
    chosen = place.files[0][0]
    others = [
        label(file) + (f" (data.layout={layout.name})" if layout is not chosen else "") for file, layout in left.items()
    ]
    some = first_few([label(path) for path in sorted(taken)])
    what = f"read as {chosen.name}: {some}; passed over: {first_few(others, 5)}"
    return Problem("note", "layout", f"{what}. To read one of them, give it as the path")


def _detect(path: Path, layouts: Sequence[Layout], columns: Columns) -> _Place:
    """The folder in or around `path` that holds captions, with its files by layout."""
    if path.is_file():
        return _only(path, layouts, columns)
    if not path.is_dir():
        raise DataError(f"{path}: no such folder")
    if not os.access(path, os.R_OK | os.X_OK):
        raise DataError(f"{path}: may not be read by this user; check its permissions")
    usual = [layout for layout in layouts if not layout.last_resort]
    for folders in _depths(path):
        places = [place for folder in folders if (place := _Place(folder, _found(folder, usual, columns))).files]
        if len(places) > 1:
            folders_named = first_few([str(place.folder) for place in places], 5)
            raise DataError(f"{path}: holds several data sets: {folders_named}; give one of them, or several as a list")
        if places:
            return places[0]
    if last := _found(path, [layout for layout in layouts if layout.last_resort], columns):
        return _Place(path, last)
    expected = "; ".join(f"{layout.name}: {layout.looks_for}" for layout in layouts)
    entries = first_few(sorted(entry.name for entry in path.iterdir()), 8) or "nothing"
    raise DataError(
        f"{path}: no captions found. Looked for {expected}. Found there: {entries}. data.layout can force a layout, "
        "data.columns name columns"
    )


def _found(folder: Path, layouts: Sequence[Layout], columns: Columns) -> list[tuple[Layout, list[Path]]]:
    return [(layout, files) for layout in layouts if (files := layout.find(folder, columns))]


def _only(file: Path, layouts: Sequence[Layout], columns: Columns) -> _Place:
    """The place of a caption file that was given in place of its folder."""
    folder = file.parent
    fitting = [(layout, [file]) for layout, files in _found(folder, layouts, columns) if file in files]
    if not fitting:
        raise DataError(f"{file}: is a file, but no captions of any layout; expected one, or the folder around it")
    return _Place(folder, fitting)


def _depths(path: Path) -> Iterator[list[Path]]:
    """`path`, the folders below it level by level, and last the parent of a folder of photos."""
    folders = [path]
    for _ in range(DEEPEST + 1):
        yield folders
        folders = [Path(inner) for folder in folders for inner in listed_folders(folder)]
        if len(folders) > MOST_FOLDERS:
            break
    if path.resolve().name in (flickr30k.PHOTOS, *flickr8k.PHOTO_FOLDERS):
        yield [path.resolve().parent]


def _once(folders: Sequence[Path]) -> tuple[list[Path], list[Problem]]:
    """The folders without repeated ones, and a note for each of those."""
    kept: dict[Path, Path] = {}
    notes = []
    for path in folders:
        if path.resolve() in kept:
            first = kept[path.resolve()]
            again = "given twice" if first == path else f"the same data set as {first}"
            notes.append(Problem("note", str(path), f"{again}: read once"))
        kept.setdefault(path.resolve(), path)
    return list(kept.values()), notes


def _names(folders: Iterable[Path]) -> list[str]:
    """A name for each source: its folder's, numbered if two are equal."""
    names: list[str] = []
    for path in folders:
        name, number = path.resolve().name, 2
        while name in names:
            name, number = f"{path.resolve().name}-{number}", number + 1
        names.append(name)
    return names
