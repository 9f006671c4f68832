"""Writing COCO's layout: a folder of photos for each split, captions and boxes as JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image

from seesay.data.boxes.plain import KEY, to_plain
from seesay.data.images import open_photo
from seesay.data.writers.job import Job, Photo, copy
from seesay.errors import PhotoError
from seesay.writing import naming, write_json


def write(job: Job, advance: Callable[..., None]) -> None:
    """Write the photos, and last the files that make the folder a data set."""
    annotations = job.out / "annotations"
    parts = list(job.parts(dev="val"))
    for part, photos in parts:
        with naming(job.out / part):
            (job.out / part).mkdir(exist_ok=True)
        for photo in photos:
            copy(photo, job.out / part / photo.name)
            advance()
    with naming(annotations):
        annotations.mkdir(exist_ok=True)
    numbers = {photo.name: number for number, photo in enumerate(job.photos, 1)}
    kinds = sorted({thing.kind for photo in job.photos for thing in photo.record.objects})
    for part, photos in parts:
        images = [_image(photo, numbers[photo.name]) for photo in photos]
        write_json(annotations / f"captions_{part}.json", {"images": images, "annotations": _captions(photos, numbers)})
        if kinds:
            write_json(annotations / f"instances_{part}.json", _instances(photos, numbers, images, kinds))


def _size(photo: Photo) -> tuple[int, int]:
    """(width, height) in pixels of the upright photo, (0, 0) where it cannot be read."""
    try:
        with Image.open(photo.record.image) as opened:
            plain = opened.getexif().get(0x0112, 1) == 1
            if plain:
                return opened.size
        with open_photo(photo.record.image) as upright:
            return upright.size
    except (PhotoError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return (0, 0)


def _image(photo: Photo, number: int) -> dict[str, Any]:
    objects, size = to_plain(photo.record.objects), _size(photo)
    about = {"id": number, "file_name": photo.name, "width": size[0], "height": size[1]}
    return {**about, KEY: objects} if objects else about


def _captions(photos: Sequence[Photo], numbers: dict[str, int]) -> list[dict[str, Any]]:
    pairs = [(numbers[photo.name], caption) for photo in photos for caption in photo.record.captions]
    return [{"id": id_, "image_id": image, "caption": caption} for id_, (image, caption) in enumerate(pairs, 1)]


def _instances(
    photos: Sequence[Photo], numbers: dict[str, int], images: Sequence[dict[str, Any]], kinds: Sequence[str]
) -> dict[str, Any]:
    """The content of instances_*.json: boxes in pixels, with categories."""
    notes: list[dict[str, Any]] = []
    for photo, image in zip(photos, images, strict=True):
        wide, high = image["width"], image["height"]
        for thing in photo.record.objects:
            for left, top, right, bottom in thing.boxes:
                sides = [left * wide, top * high, (right - left) * wide, (bottom - top) * high]
                notes.append(
                    {
                        "id": len(notes) + 1,
                        "image_id": numbers[photo.name],
                        "category_id": kinds.index(thing.kind) + 1,
                        "bbox": [round(side, 2) for side in sides],
                        "area": round(sides[2] * sides[3], 2),
                        "iscrowd": 0,
                    }
                )
    plain = [{key: value for key, value in image.items() if key != KEY} for image in images]
    categories = [{"id": number, "name": kind} for number, kind in enumerate(kinds, 1)]
    return {"images": plain, "annotations": notes, "categories": categories}
