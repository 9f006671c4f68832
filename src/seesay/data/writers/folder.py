"""Writing Hugging Face's imagefolder: a folder for each split, with photos and metadata.jsonl."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from seesay.data.boxes.plain import KEY, to_plain
from seesay.data.writers.job import Job, Photo, copy
from seesay.writing import naming, write_text


def write(job: Job, advance: Callable[..., None]) -> None:
    """Write the photos, and last the files that make the folders a data set."""
    parts = [(job.out / part, photos) for part, photos in job.parts(dev="validation")]
    for folder, photos in parts:
        with naming(folder):
            folder.mkdir(exist_ok=True)
        for photo in photos:
            copy(photo, folder / photo.name)
            advance()
    for folder, photos in parts:
        lines = (json.dumps({"file_name": photo.name, **about(photo)}, ensure_ascii=False) for photo in photos)
        write_text(folder / "metadata.jsonl", "".join(f"{line}\n" for line in lines))


def about(photo: Photo) -> Mapping[str, Any]:
    """A photo's captions, and its boxes if it has any, for JSON."""
    objects = to_plain(photo.record.objects)
    return {"captions": list(photo.record.captions), **({KEY: objects} if objects else {})}
