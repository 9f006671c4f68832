"""The synthetic set on disk: pictures, and `pictures.jsonl` with captions and boxes.

`shapes.json` is written last and marks a complete set.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from seesay.data.cache_folder import cache_folder
from seesay.data.records import BoxedObject, Dataset
from seesay.data.shapes.grammar import write_captions
from seesay.data.shapes.picture import SIDE, ShapeObject, draw_picture
from seesay.errors import DataError

VERSION = 1  # increased by every change of pictures or captions
MARKER, LINES, PHOTOS = "shapes.json", "pictures.jsonl", "images"
TRAIN, DEV, TEST = 2000, 200, 500
# number of the first picture of each split
STARTS = {"train": 0, "dev": 1_000_000, "test": 2_000_000}
TRAIN_COUNTS = (0.1, 0.2, 0.35, 0.35)  # of pictures with 1, 2, 3, 4 objects
HELD_OUT_COUNTS = (0.05, 0.1, 0.4, 0.45)


def write_shapes(folder: Path | str, train: int = TRAIN, dev: int = DEV, test: int = TEST, seed: int = 0) -> Path:
    """Write the synthetic set into a new or empty folder; a folder with the same set is left alone.

    Picture i of a seed is always the same; dev starts at number 1,000,000 and test at 2,000,000, so
    no part depends on the size of another.

    Args:
        folder: written beside its place and then renamed, so that it is complete or missing.
        train, dev, test: pictures of each split, 0 to 1,000,000.
        seed: >= 0.

    Returns:
        The folder.

    Raises:
        DataError: the folder holds something else or cannot be written, or a number is out of
            range.
    """
    folder = Path(folder).expanduser().resolve()
    counts = {"train": train, "dev": dev, "test": test}
    if min(train, dev, test, seed) < 0 or max(counts.values()) > 1_000_000 or not sum(counts.values()):
        raise DataError(f"shapes: got {counts}, seed={seed}; expected 0 to 1,000,000 pictures a split, a seed >= 0")
    marker = {"version": VERSION, "seed": seed, "side": SIDE, **counts}
    try:
        if not _is_made(folder, marker):
            folder.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
                _fill(Path(scratch) / "set", marker)
                _put(Path(scratch) / "set", folder, marker)
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror})") from None
    return folder


def ensure_shapes(folder: Path | str | None = None) -> Path:
    """The folder with the set, which is written if the folder is new or empty.

    None stands for a folder in the cache.

    A folder with other content is returned as it is; the readers report what is wrong.
    """
    if folder is None:
        return write_shapes(cache_folder() / f"shapes-{VERSION}-0")
    folder = Path(folder).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        return folder
    return write_shapes(folder)


def load_grounding(folder: Path | str) -> dict[str, tuple[ShapeObject, ...]]:
    """The objects of each picture, by record id.

    Args:
        folder: written by `write_shapes`.

    Raises:
        DataError: it is not such a folder, or damaged.
    """
    path = Path(folder).expanduser() / LINES
    try:
        items = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return {Path(item["image"]).stem: tuple(map(_object, item["objects"])) for item in items}
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected what write_shapes wrote") from None
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path}: damaged; remove {path.parent} and let it be written again") from None


def grounding_of(dataset: Dataset) -> dict[str, tuple[ShapeObject, ...]] | None:
    """`load_grounding` of a data set; None if it has another layout."""
    return load_grounding(dataset.records[0].image.parents[1]) if dataset.layout == "shapes" else None


def grounded(dataset: Dataset) -> Dataset:
    """Add the pictures' objects to the records of a synthetic data set.

    A data set of another layout is returned unchanged.
    """
    shown = grounding_of(dataset)
    if shown is None:
        return dataset

    def boxed(thing: ShapeObject) -> BoxedObject:
        return BoxedObject(thing.shape, (thing.box,), frozenset([thing.shape]))

    records = (replace(record, objects=tuple(map(boxed, shown[record.image.stem]))) for record in dataset.records)
    return replace(dataset, records=tuple(records))


def _is_made(folder: Path, marker: dict[str, Any]) -> bool:
    if not folder.exists() or not any(folder.iterdir()):
        return False
    file = folder / MARKER
    content = file.read_text(encoding="utf-8").strip() if file.is_file() else f"no {MARKER}"
    if content != json.dumps(marker):
        raise DataError(f"{folder}: holds {content}, expected {json.dumps(marker)}; give a new or empty folder")
    return True


def _fill(folder: Path, marker: dict[str, Any]) -> None:
    (folder / PHOTOS).mkdir(parents=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        lines = pool.map(lambda item: _write_picture(folder, marker["seed"], *item), _numbers(marker))
        (folder / LINES).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (folder / MARKER).write_text(json.dumps(marker) + "\n", encoding="utf-8")


def _put(built: Path, folder: Path, marker: dict[str, Any]) -> None:
    try:
        if folder.exists():
            folder.rmdir()  # empty; on Windows the target of a rename must not exist
        built.rename(folder)
    except OSError:  # another process may have been quicker
        if not _is_made(folder, marker):
            raise


def _numbers(marker: dict[str, Any]) -> Iterable[tuple[str, int]]:
    for split, start in STARTS.items():
        yield from ((split, start + i) for i in range(marker[split]))


def _write_picture(folder: Path, seed: int, split: str, number: int) -> dict[str, Any]:
    pixels, objects = draw_picture(seed, number, TRAIN_COUNTS if split == "train" else HELD_OUT_COUNTS)
    name = f"{split}-{number - STARTS[split]:06}.png"
    Image.fromarray(pixels).save(folder / PHOTOS / name, compress_level=1)
    captions = write_captions(seed, number, objects)
    return {"image": name, "captions": captions, "split": split, "objects": [vars(found) for found in objects]}


def _object(item: dict[str, Any]) -> ShapeObject:
    left, top, right, bottom = map(float, item["box"])
    return ShapeObject(item["colour"], item["shape"], item["size"], (left, top, right, bottom))
