"""`seesay calibrate`: learns how far a model's captions can be trusted, and writes it into the bundle."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from seesay.bundle.names import find_bundle
from seesay.calibration import calibrate
from seesay.calibration.calibrate import with_confidence
from seesay.calibration.observe import pictures_by_kind
from seesay.cli.load_model import load_model
from seesay.cli.writable import emit_json, refuse_unwritable, tell
from seesay.data.boxes import read_boxes
from seesay.data.readers import read_dataset, unpack_photos
from seesay.data.records import CaptionRecord
from seesay.data.splits import limit_splits
from seesay.errors import SeesayError, printable
from seesay.progress import progress
from seesay.runtime.sessions import Precision


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions:
    """The options of `seesay calibrate`.

    Attributes:
        bundle: folder or packaged name; the head is written into it.
        data: data sets with the splits train and dev, each with a threshold of its own.
        non_photos: folder of folders of pictures, named by kind; None: `Caption.kind` stays None.
        out: write a copy of the bundle there instead.
        layout, splits, columns: how to read the data, as for `seesay.data.readers.read_dataset`.
        boxes: files of boxes: a word is right too where its thing has a box.
        limit: largest number of photos of each split; None: all.
        precision, threads: as for `seesay.load`.
        json: file for the figures; "-" is standard output.
    """

    bundle: str
    data: Sequence[Path]
    non_photos: Path | None = None
    out: Path | None = None
    layout: str = "auto"
    splits: str = "auto"
    columns: str = ""
    boxes: Sequence[Path] = ()
    limit: int | None = None
    precision: Precision = "auto"
    threads: int | None = None
    json: Path | None = None


def calibrate_bundle(options: CalibrateOptions) -> None:
    """Learn from the data, write the bundle, and print the figures.

    Raises:
        DataError: the data lack a split, or the pictures are not in folders named by kind.
        BundleError: the bundle cannot be opened.
        SeesayError: `out` exists already.
    """
    refuse_unwritable(options.json)
    if options.out and options.out.exists():
        raise SeesayError(f"{printable(options.out)}: exists; give the name of a new folder, or leave --out out")
    data = {path.name: _splits(path, options) for path in options.data}
    pictures = pictures_by_kind(options.non_photos) if options.non_photos else {}
    model = load_model(options.bundle, options.threads, options.precision)
    total = sum(len(train) + len(dev) for train, dev in data.values()) + sum(map(len, pictures.values()))
    with progress("captioning", total, Console(stderr=True)) as advance:
        head = calibrate(model, data, pictures, advance)
    bundle = model.bundle
    if options.out:
        shutil.copytree(find_bundle(options.bundle), options.out)
        bundle = replace(bundle, folder=options.out)
    with_confidence(bundle, head)
    tell("\n".join(lines(head.about["figures"])), options.json)
    tell(printable(bundle.folder), options.json)
    if options.json:
        emit_json(options.json, head.about)


def _splits(path: Path, options: CalibrateOptions) -> tuple[Sequence[CaptionRecord], Sequence[CaptionRecord]]:
    dataset = read_dataset([path], options.layout, options.splits, columns=options.columns, unpacked=False)
    if options.boxes:
        dataset = read_boxes(list(options.boxes), dataset)
        print(dataset.problems[-1], file=sys.stderr)
    train, dev = dataset.split("train"), dataset.split("dev")
    if options.limit is not None:
        train, dev = (limit_splits(records, options.limit, seed=0) for records in (train, dev))
    unpack_photos(replace(dataset, records=(*train, *dev)))
    return train, dev


def lines(figures: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The figures of each data set, a line each."""
    for name, values in figures.items():
        auroc, low, high = values["auroc"]
        surest = ", ".join(f"{share} {100 * cider[0]:.1f}" for share, cider in values["cider_of_surest"].items())
        area = "-" if auroc is None else f"{auroc:.3f} ({low:.3f} to {high:.3f})"
        yield (
            f"{printable(name)}, {values['photos']:,} photos of dev, each half judged by the other: accepted "
            f"{100 * values['accepted']:.1f} %, AUROC {area}, calibration error "
            f"{values['calibration_error'][0]:.3f}, CIDEr of the surest: {surest} "
            f"(likeliest sentences: {100 * values['likeliest']:.1f})"
        )
