"""Several data sets as one, without the photos of one's test among the training photos of another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from seesay.data.features import digest_photos
from seesay.data.records import CaptionRecord, Dataset, Problem
from seesay.data.splits import photo_key
from seesay.data.text import count_of, first_few


def join(sources: Mapping[str, Dataset]) -> Dataset:
    """One data set of several, given by name.

    Ids and problems get the source's name in front. A training photo that another source holds in dev or test
    (Flickr8k is a part of Flickr30k) is left out, with one problem that says how many.
    """
    renamed = {
        name: [replace(record, id=f"{name}/{record.id}") for record in data.records] for name, data in sources.items()
    }
    problems = [
        replace(found, where=f"{name}/{found.where}") for name, data in sources.items() for found in data.problems
    ]
    leaked = _leaks(renamed)
    if leaked:
        some = first_few(sorted(leaked))
        what = f"{count_of(len(leaked), 'training photo')} also in another source's dev or test, left out ({some})"
        problems.append(Problem("note", "+".join(sources), what))
    records = tuple(record for part in renamed.values() for record in part if record.id not in leaked)
    return Dataset("+".join(data.layout for data in sources.values()), records, tuple(problems))


def same_content(photos: Sequence[CaptionRecord], others: Sequence[CaptionRecord]) -> set[str]:
    """Ids of those photos whose file is byte for byte one of `others`; only files of equal size are read."""
    sizes, other_sizes = ([_size(record.image) for record in part] for part in (photos, others))
    both = set(sizes) & set(other_sizes) - {0}
    few = [record for record, size in zip(photos, sizes, strict=True) if size in both]
    few_others = [record.image for record, size in zip(others, other_sizes, strict=True) if size in both]
    known = set(digest_photos(few_others))
    return {
        record.id
        for record, digest in zip(few, digest_photos([record.image for record in few]), strict=True)
        if digest in known
    }


def _leaks(sources: Mapping[str, Sequence[CaptionRecord]]) -> set[str]:
    """Ids of training photos that another source holds in dev or test."""
    leaked: set[str] = set()
    for name, records in sources.items():
        train = [record for record in records if record.split == "train"]
        held_out = [
            record
            for other, part in sources.items()
            if other != name
            for record in part
            if record.split in ("dev", "test")
        ]
        keys = {photo_key(record.image.name) for record in held_out} - {""}
        leaked |= {record.id for record in train if photo_key(record.image.name) in keys}
        leaked |= same_content([record for record in train if record.id not in leaked], held_out)
    return leaked


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
