"""`seesay data`: check a data set, show photos of it, and convert it to another layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

from rich.console import Console

from seesay.cli.writable import refuse_unwritable
from seesay.data.boxes import read_boxes
from seesay.data.check import check_dataset
from seesay.data.images import open_photo
from seesay.data.problems import grouped
from seesay.data.readers import read_dataset, unpack_photos
from seesay.data.records import CaptionRecord, Dataset, count_captions
from seesay.data.shapes import grounded
from seesay.data.text import count_of
from seesay.data.writers import convert
from seesay.errors import PhotoError, printable
from seesay.explain.data_page import Sample, write_data_page
from seesay.progress import counted

MOST_PROBLEMS = 200  # lines


def check(
    paths: Sequence[Path],
    layout: str,
    splits: str,
    columns: str,
    every: bool,
    boxes: Sequence[Path] = (),
) -> bool:
    """Print the report on a data set; returns whether training accepts it and nothing is left out."""
    with counted("opening photos", Console(stderr=True)) as progress:
        report = check_dataset(paths, layout, splits, progress=progress, columns=columns, boxes=boxes)
    print("\n".join(report.lines(None if every else MOST_PROBLEMS)))
    return report.ok and report.usable


def show(
    paths: Sequence[Path],
    page: Path,
    *,
    split: str | None = None,
    count: int = 12,
    seed: int = 0,
    boxes: Sequence[Path] = (),
    layout: str = "auto",
    splits: str = "auto",
    columns: str = "",
) -> None:
    """Write a page of some photos, selected at random by the seed, with their captions and boxes."""
    refuse_unwritable(page)
    data = _read(paths, layout, splits, columns, boxes)
    records = data.split(split) if split else list(data.records)
    sample = Random(seed).sample(sorted(records, key=lambda record: record.id), min(count, len(records)))
    unpack_photos(replace(data, records=tuple(sample)))
    about = [
        f"{count_of(len(sample), 'photo')} of {len(records):,}, drawn at random (seed {seed})",
        f"layout {data.layout}: {', '.join(f'{split} {number:,}' for split, number in data.counts().items())}; "
        f"{count_of(count_captions(data.records), 'caption')}",
    ]
    title = f"{', '.join(path.resolve().name for path in paths)}{f', {split}' if split else ''}"
    print(printable(write_data_page(page, title, about, _samples(sample))))


def rewrite(
    paths: Sequence[Path],
    out: Path,
    to: str,
    *,
    shard_mb: int,
    boxes: Sequence[Path] = (),
    layout: str = "auto",
    splits: str = "auto",
    columns: str = "",
) -> None:
    """Write a data set in another layout and print a summary."""
    data = _read(paths, layout, splits, columns, boxes)
    for line in grouped(problem for problem in data.problems if problem.kind == "error"):
        print(line)
    written = convert(data, out, to, shard_mb)
    parts = ", ".join(f"{split} {number:,}" for split, number in written.counts().items())
    captions = count_of(count_captions(written.records), "caption")
    print(f"{printable(out)}: {to}, {count_of(len(written.records), 'image')}, {captions} ({parts})")


def _read(paths: Sequence[Path], layout: str, splits: str, columns: str, boxes: Sequence[Path]) -> Dataset:
    data = grounded(read_dataset(paths, layout, splits, columns=columns, unpacked=False))
    return read_boxes(boxes, data) if boxes else data


def _samples(records: Sequence[CaptionRecord]) -> Iterator[Sample]:
    for record in records:
        labels: dict[str, list[tuple[float, float, float, float]]] = {}
        for thing in record.objects:
            labels.setdefault(", ".join(sorted(thing.names)) or thing.kind, []).extend(thing.boxes)
        try:
            image = open_photo(record.image)
        except PhotoError as error:
            image = str(error)
        name = f"{record.id} ({record.split or 'no split'})"
        yield Sample(image, name, record.captions, labels)
