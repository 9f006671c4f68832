"""Joining data sets such that no dev or test photo of one is a training photo of another."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from seesay.data.feature_cache import digest_photos
from seesay.data.records import SPLITS, CaptionRecord, Dataset, Problem
from seesay.data.split_lists import photo_number
from seesay.data.text import count_of, first_few


def join(sources: Mapping[str, Dataset]) -> Dataset:
    """Join several data sets, given by name.

    Ids and problems get the source's name in front. A training photo that another source holds in
    dev or test (Flickr8k is a part of Flickr30k) is left out, and a photo that two sources share
    becomes one record; a note counts each of these. Photos inside tars and tables have to be
    unpacked.
    """
    renamed = {
        name: [replace(record, id=f"{name}/{record.id}") for record in data.records] for name, data in sources.items()
    }
    problems = [
        replace(problem, where=f"{name}/{problem.where}") for name, data in sources.items() for problem in data.problems
    ]
    leaked = _leaks(renamed)
    if leaked:
        some = first_few(sorted(leaked))
        what = f"{count_of(len(leaked), 'training photo')} also in another source's dev or test, left out ({some})"
        problems.append(Problem("note", "+".join(sources), what))
    records, shared = _merged(record for part in renamed.values() for record in part if record.id not in leaked)
    if shared:
        what = f"{count_of(len(shared), 'photo')} in two sources, read once ({first_few(shared)})"
        problems.append(Problem("note", "+".join(sources), what))
    if copied := _copied(records):
        what = f"{count_of(len(copied), 'photo')} in two sources under one name with the same captions, as copies"
        problems.append(Problem("note", "+".join(sources), f"{what} ({first_few(copied)}): each counts twice"))
    return Dataset(
        "+".join(data.layout for data in sources.values()),
        tuple(records),
        tuple(problems),
        tuple(f"{name}/{file}" for name, data in sources.items() for file in data.files),
        tuple(pack for data in sources.values() for pack in data.packed),
    )


def same_content(photos: Sequence[CaptionRecord], others: Sequence[CaptionRecord]) -> set[str]:
    """Ids of photos whose file equals one of `others` byte for byte.

    Only files of equal size are read.
    """
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


def _merged(records: Iterable[CaptionRecord]) -> tuple[list[CaptionRecord], list[str]]:
    """One record for each photo file, and the ids of the records that were merged into others."""
    kept: dict[str, CaptionRecord] = {}
    shared: list[str] = []
    for record in records:
        path = os.path.realpath(record.image)
        first = kept.get(path)
        if first is None:
            kept[path] = record
            continue
        shared.append(record.id)
        captions = dict.fromkeys([*first.captions, *record.captions])
        # Repeated captions of the first record stay: `BoxedObject.mentions` refers to captions by
        # number.
        new = [caption for caption in captions if caption not in first.captions]
        split = max(first.split, record.split, key=lambda split: SPLITS.index(split) if split else -1)
        kept[path] = replace(first, captions=(*first.captions, *new), split=split)
    return list(kept.values()), shared


def _copied(records: Sequence[CaptionRecord]) -> list[str]:
    """Ids of copies: photos with the same bytes, name and captions as an earlier record."""
    groups: dict[tuple[str, int, tuple[str, ...]], list[CaptionRecord]] = {}
    for record in records:
        groups.setdefault((record.image.name, _size(record.image), record.captions), []).append(record)
    alike = [record for group in groups.values() if len(group) > 1 for record in group]
    first: dict[bytes, str] = {}
    digests = digest_photos([record.image for record in alike])
    return [r.id for r, digest in zip(alike, digests, strict=True) if first.setdefault(digest, r.id) != r.id]


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
        keys = {photo_number(record.image.name) for record in held_out} - {""}
        leaked |= {record.id for record in train if photo_number(record.image.name) in keys}
        leaked |= same_content([record for record in train if record.id not in leaked], held_out)
    return leaked


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
