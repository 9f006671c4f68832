"""Data sets as they lie on disks -> `Dataset`; a layout more is a module here and a name in `LAYOUTS`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from seesay.data.readers import coco, flickr8k, flickr30k, folder, shapes
from seesay.data.readers.assemble import assemble
from seesay.data.readers.join import join
from seesay.data.readers.source import Layout
from seesay.data.records import Dataset, Problem
from seesay.data.shapes import ensure_shapes
from seesay.data.splits import SplitSpec, assign_splits, limit_splits
from seesay.data.text import first_few
from seesay.errors import DataError, did_you_mean

LAYOUTS: dict[str, Layout] = {
    module.LAYOUT.name: module.LAYOUT for module in (flickr30k, flickr8k, coco, shapes, folder)
}  # in the order in which they are tried


def read_dataset(
    paths: Sequence[Path | str] | Path | str,
    layout: str = "auto",
    splits: SplitSpec = "auto",
    limit: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Read one data set, or several as one.

    Args:
        paths: a folder or several; see `LAYOUTS` for what may lie in them.
        layout: one of `LAYOUTS`, or "auto" to find out for each folder. "shapes" makes the synthetic set in a new or
            empty folder, and in the cache where no path is given.
        splits: "auto" for what the data brings (id lists, COCO's file names, subfolders, Karpathy's ids for
            Flickr30k) or else fractions; "karpathy"; a folder of train.txt, dev.txt or val.txt, test.txt; or
            fractions such as "0.8/0.1/0.1" or {"train": 0.9, "dev": 0.1}.
        limit: at most so many photos of each split, for trials.
        seed: of limit. Fractions are drawn alike whoever reads them: what one run tests on, none trains on.

    Returns:
        Records whose photos exist, with everything found on the way in `problems`.

    Raises:
        DataError: a folder has none of the layouts or nothing usable, or an argument makes no sense.
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
    sources = [_read_one(folder, layout, splits) for folder in folders]
    data = sources[0] if len(sources) == 1 else join(dict(zip(_names(folders), sources, strict=True)))
    if limit is None:
        return data
    return Dataset(data.layout, tuple(limit_splits(data.records, limit, seed)), data.problems)


def _read_one(path: Path, layout: str, splits: SplitSpec) -> Dataset:
    place, fitting = _detect(path, list(LAYOUTS.values()) if layout == "auto" else [LAYOUTS[layout]])
    chosen = fitting[0]

    def label(file: Path) -> str:
        base = next((base for base in (path, place.parent) if file.is_relative_to(base)), "")
        return (file.relative_to(base) if base else file).as_posix()

    records, problems = assemble(chosen.read(place, label), label)
    if not records:
        some = "".join(f"\n  {problem}" for problem in problems[:5])
        raise DataError(f"{path}: no photo with a caption in it (layout {chosen.name}){some}")
    records, more = assign_splits(records, splits, beside=place, karpathy=chosen.karpathy)
    if len(fitting) > 1:
        others = ", ".join(other.name for other in fitting[1:])
        problems.insert(0, Problem("note", "layout", f"read as {chosen.name}; data.layout can make it {others}"))
    return Dataset(chosen.name, tuple(records), (*problems, *more))


def _detect(path: Path, layouts: Sequence[Layout]) -> tuple[Path, list[Layout]]:
    """The folder in or around `path` that holds captions, and the layouts it has."""
    if not path.is_dir():
        what = "is a file; expected the folder around it" if path.exists() else "no such folder"
        raise DataError(f"{path}: {what}")
    if not os.access(path, os.R_OK | os.X_OK):
        raise DataError(f"{path}: may not be read by this user; check its permissions")
    for place in _places(path):
        fitting = [layout for layout in layouts if layout.fits(place)]
        if fitting:
            return place, fitting
    looked = "; ".join(f"{layout.name}: {layout.looks_for}" for layout in layouts)
    found = first_few(sorted(entry.name for entry in path.iterdir()), 8) or "nothing"
    raise DataError(
        f"{path}: no captions found. Looked for {looked}. Found there: {found}. data.layout can force a layout"
    )


def _places(path: Path) -> Iterator[Path]:
    """`path`, the folders it wraps (Kaggle's archives do, up to twice), and the one above a folder of photos."""
    yield path
    inner = path
    for _ in range(2):
        with os.scandir(inner) as entries:
            folders = [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
        named = [entry for entry in folders if entry.name == flickr30k.PHOTOS] or folders
        if len(named) != 1:
            break
        inner = Path(named[0].path)
        yield inner
    if path.resolve().name in (flickr30k.PHOTOS, *flickr8k.PHOTO_FOLDERS):
        yield path.resolve().parent


def _names(folders: Iterable[Path]) -> list[str]:
    """A name for each source: its folder's, numbered where two are equal."""
    names: list[str] = []
    for path in folders:
        name, number = path.resolve().name, 2
        while name in names:
            name, number = f"{path.resolve().name}-{number}", number + 1
        names.append(name)
    return names
