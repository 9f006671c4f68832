"""Writing parquet files for Hugging Face's `datasets`: photos inside, captions as lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seesay.data.boxes.plain import KEY, to_plain
from seesay.data.writers.job import Job, Photo
from seesay.errors import require
from seesay.writing import naming, written_whole

GROUP = 100  # rows in a row group
FEATURES = {  # tells `datasets` to decode the photos
    "image": {"_type": "Image"},
    "captions": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"},
}


def require_pyarrow() -> Any:
    """pyarrow, or a MissingExtraError that says how to install it."""
    require("pyarrow.parquet", "parquet", "writing parquet")
    return require("pyarrow", "parquet", "writing parquet")


def write(job: Job, advance: Callable[..., None]) -> None:
    """Write the tables that are not there yet."""
    folder = job.out / "data"
    with naming(folder):
        folder.mkdir(exist_ok=True)
    boxes = any(photo.record.objects for photo in job.photos)
    for part, photos in job.parts(dev="validation"):
        shards = job.shards(photos)
        for number, shard in enumerate(shards):
            target = folder / f"{part}-{number:05}-of-{len(shards):05}.parquet"
            if target.is_file():
                advance(len(shard))
            else:
                _write_shard(target, shard, boxes, advance)


def _write_shard(target: Path, photos: list[Photo], boxes: bool, advance: Callable[..., None]) -> None:
    arrow = require_pyarrow()
    schema = _schema(arrow, boxes)
    with (
        written_whole(target) as scratch,
        require("pyarrow.parquet", "parquet", "writing parquet").ParquetWriter(scratch, schema) as writer,
    ):
        for start in range(0, len(photos), GROUP):
            rows = [_row(photo, boxes) for photo in photos[start : start + GROUP]]
            writer.write_table(arrow.Table.from_pylist(rows, schema=schema))
            advance(len(rows))


def _row(photo: Photo, boxes: bool) -> dict[str, Any]:
    row = {"image": {"bytes": photo.read(), "path": photo.name}, "captions": list(photo.record.captions)}
    return {**row, KEY: to_plain(photo.record.objects)} if boxes else row


def _schema(arrow: Any, boxes: bool) -> Any:
    text = arrow.string()
    thing = arrow.struct(
        {
            "kind": text,
            "names": arrow.list_(text),
            "boxes": arrow.list_(arrow.list_(arrow.float64())),
            "mentions": arrow.list_(arrow.list_(arrow.int32())),
        }
    )
    columns = {"image": arrow.struct({"bytes": arrow.binary(), "path": text}), "captions": arrow.list_(text)}
    if boxes:
        columns[KEY] = arrow.list_(thing)
        return arrow.schema(list(columns.items()))
    return arrow.schema(list(columns.items()), {"huggingface": json.dumps({"info": {"features": FEATURES}})})
