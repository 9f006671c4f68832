"""Finding photos that are in two splits under different names, also as resized copies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from seesay.data.readers.join import same_content
from seesay.data.records import SPLITS, CaptionRecord, Problem
from seesay.data.text import count_of, first_few

SIDE = 16  # the hash has SIDE x SIDE bits
# Any two of 1,500 photos of Flickr8k differ in at least 54 of the 256 bits. 75 photos differ from
# their originals, of another size and aspect, in at most 13 bits. Photos that are halved and saved
# in JPEG quality 40 differ from the original in at most 13 bits (half of them) or 21 (nine of ten).
NEAR = 22
STEP = 2  # grey levels that are more than noise
CHUNK = 512  # photos compared at once, with all those of another split


def photo_hash(photo: Image.Image) -> np.ndarray | None:
    """A hash that hardly changes when the photo is scaled or compressed, (4,) uint64.

    It is None if the photo has too little detail.

    Each bit tells whether a cell of the photo is darker than the cell to its right (dHash, Krawetz
    2013).
    """
    cells = np.asarray(photo.convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BOX), np.int16)
    steps = np.diff(cells, axis=1)  # (SIDE, SIDE)
    if 2 * (np.abs(steps) >= STEP).sum() < steps.size:  # drawings on plain grounds are alike without being copies
        return None
    return np.packbits(steps > 0).view(np.uint64)


def copies_across_splits(records: Sequence[CaptionRecord], hashes: Sequence[np.ndarray | None]) -> list[Problem]:
    """Notes about photos of one split that are also in another: equal files, similar pictures.

    Args:
        records: all photos.
        hashes: the hash of each photo, from `photo_hash`.
    """
    by_split = {split: [i for i, record in enumerate(records) if record.split == split] for split in SPLITS}
    held_out = [*by_split["dev"], *by_split["test"]]
    pairs = (("train", by_split["train"], "dev or test", held_out), ("dev", by_split["dev"], "test", by_split["test"]))
    notes: list[Problem] = []
    for name, photos, others_name, others in pairs:
        equal = same_content([records[i] for i in photos], [records[i] for i in others])
        near = [(i, j) for i, j in _near(photos, others, hashes) if records[i].id not in equal]
        if equal:
            count, some = count_of(len(equal), "photo"), first_few(sorted(equal))
            what = f"{count} of {name} also in {others_name}, byte for byte ({some})"
            notes.append(Problem("note", "splits", what))
        if near:
            count = count_of(len({i for i, _ in near}), "photo")
            some = first_few([f"{records[i].id} and {records[j].id}" for i, j in near])
            what = f"{count} of {name} nearly equal to one in {others_name} ({some})"
            notes.append(Problem("note", "splits", what))
    return notes


def _near(photos: Sequence[int], others: Sequence[int], hashes: Sequence[np.ndarray | None]) -> list[tuple[int, int]]:
    """Pairs of photos with similar hashes: for each of `photos` the nearest of `others`."""
    known = {i: pairs for i, pairs in enumerate(hashes) if pairs is not None}
    photos, others = ([i for i in part if i in known] for part in (photos, others))
    if not photos or not others:
        return []
    other_hashes = np.stack([known[j] for j in others])  # (N, 4)
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(photos), CHUNK):
        part = photos[start : start + CHUNK]
        part_hashes = np.stack([known[i] for i in part])  # (M, 4)
        distance = np.zeros((len(part), len(others)), np.uint16)
        for word in range(part_hashes.shape[1]):
            distance += np.bitwise_count(part_hashes[:, word, None] ^ other_hashes[:, word])
        nearest = distance.argmin(axis=1)
        close = np.flatnonzero(distance[np.arange(len(part)), nearest] <= NEAR)
        pairs += [(part[i], others[nearest[i]]) for i in close]
    return pairs
