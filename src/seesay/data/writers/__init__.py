"""Converting a data set to another layout, with splits and boxes; a conversion can be resumed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from seesay.data.boxes.plain import to_plain
from seesay.data.readers import CONVERTED, read_converted, read_dataset, unpack_photos
from seesay.data.records import CaptionRecord, Dataset, count_captions
from seesay.data.shapes import grounded
from seesay.data.text import count_of, size_of
from seesay.data.writers import coco, folder, parquet, webdataset
from seesay.data.writers.job import Job, plan_job
from seesay.errors import DataError, did_you_mean, printable
from seesay.progress import print_plain, progress
from seesay.writing import SCRATCH, naming, write_json

FORMATS: dict[str, Callable[[Job, Callable[..., None]], None]] = {
    "coco": coco.write,
    "folder": folder.write,
    "webdataset": webdataset.write,
    "parquet": parquet.write,
}
SHARD_MB = 500


def convert(
    data: Dataset, out: Path | str, to: str, shard_mb: int = SHARD_MB, console: Console | None = None
) -> Dataset:
    """Write a data set in another layout.

    Photos are copied byte for byte. A partly written folder is completed.

    Args:
        data: the data set.
        out: a new or empty folder, or one that the same call has begun to fill.
        to: one of `FORMATS`.
        shard_mb: for webdataset and parquet, the approximate megabytes of photos in a file.
        console: for progress; None: standard error.

    Returns:
        The new data set, read back.

    Raises:
        DataError: the folder holds something else, the disk is full, a photo cannot be read, or the
            result does not read back as the original.
        MissingExtraError: parquet needs a package that is not installed.
    """
    if to not in FORMATS:
        near = did_you_mean(to, FORMATS)
        raise DataError(f"--to {to}: unknown format; expected {', '.join(FORMATS)}.{near}")
    if shard_mb < 1:
        raise DataError(f"shards of {shard_mb} MB: expected 1 or more")
    console = console or Console(stderr=True)
    out = Path(out).expanduser()
    unpack_photos(data, console)
    data = grounded(data)
    if to == "parquet":
        parquet.require_pyarrow()
    job = plan_job(data.records, out, shard_mb * 1_000_000)
    identity = {"format": to, "shard_mb": shard_mb, "data": _digest(job)}
    _begin(job, identity)
    size = sum(photo.size for photo in job.photos)
    print_plain(
        console,
        f"writing {count_of(len(job.photos), 'photo')}, {size_of(size)}, to {printable(out)} as {to}",
    )
    with progress("writing photos", len(job.photos), console) as advance:
        FORMATS[to](job, advance)
    write_json(out / CONVERTED, {**identity, "finished": True})
    written = read_dataset(out, unpacked=False)
    _compare(data, written, out)
    return written


def _begin(job: Job, identity: dict[str, Any]) -> None:
    """Mark the folder as belonging to this job, or refuse it."""
    marker = job.out / CONVERTED
    with naming(job.out):
        job.out.mkdir(parents=True, exist_ok=True)
        there = [path.name for path in job.out.iterdir()]
    if there and {**read_converted(job.out), "finished": False} != {**identity, "finished": False}:
        raise DataError(f"{job.out}: holds something else already ({there[0]}, ...); give a new or empty folder")
    for left in job.out.rglob(f"{SCRATCH}*"):  # of a run that was killed
        left.unlink()
    needed, free = sum(photo.size for photo in job.photos), shutil.disk_usage(job.out).free
    if not there and needed > free:
        raise DataError(f"{job.out}: needs {size_of(needed)} and the disk has {size_of(free)} free")
    write_json(marker, {**identity, "finished": False})


def _digest(job: Job) -> str:
    digest = hashlib.sha256()
    for photo in job.photos:
        record = photo.record
        about = (photo.name, photo.size, record.captions, record.split, to_plain(record.objects))
        digest.update(json.dumps(about).encode())
    return digest.hexdigest()


def _compare(data: Dataset, written: Dataset, out: Path) -> None:
    """Compare the result with the original, which users may be about to delete."""
    if _counts(data.records) != _counts(written.records):
        raise DataError(
            f"{out}: does not read back as it was written: {_size_line(data)} became "
            f"{_size_line(written)}; please report this"
        )


def _counts(records: tuple[CaptionRecord, ...]) -> list[tuple[str, tuple[str, ...], int]]:
    return sorted((record.split, record.captions, len(record.objects)) for record in records)


def _size_line(data: Dataset) -> str:
    return f"{count_of(len(data.records), 'image')} with {count_of(count_captions(data.records), 'caption')}"


__all__ = ["FORMATS", "SHARD_MB", "convert"]
