"""Writing WebDataset: tars of photos, each with a .json of its captions and boxes."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

from seesay.data.readers.samples import split_key
from seesay.data.writers.folder import about
from seesay.data.writers.job import Job, Photo
from seesay.writing import written_whole


def write(job: Job, advance: Callable[..., None]) -> None:
    """Write the tars that are not there yet."""
    for part, photos in job.parts(dev="val"):
        for number, shard in enumerate(job.shards(photos)):
            target = job.out / f"{part}-{number:06}.tar"
            if target.is_file():
                advance(len(shard))
            else:
                _write_shard(target, shard, advance)


def _write_shard(target: Path, photos: list[Photo], advance: Callable[..., None]) -> None:
    with written_whole(target) as scratch, tarfile.open(scratch, "w", format=tarfile.PAX_FORMAT) as tar:
        for photo in photos:
            _add(tar, photo.name, photo.read())
            text = json.dumps(about(photo), ensure_ascii=False)
            _add(tar, f"{split_key(photo.name)[0]}.json", text.encode("utf-8", "backslashreplace"))
            advance()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
