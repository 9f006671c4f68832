"""Digests of the training data, by which a resumed run finds out whether it has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from seesay.data.feature_cache import digest_photos
from seesay.data.records import CaptionRecord


def digest_data(training: Sequence[CaptionRecord], dev: Sequence[CaptionRecord]) -> dict[str, str]:
    """A hexadecimal digest of each part of the data, by its name in messages.

    The order of photos and captions matters, because batches depend on it; the files' paths do not.
    """
    digests: dict[str, str] = {}
    for split, records in (("training", training), ("dev", dev)):
        photos = digest_photos([record.image for record in records])
        digests[f"the {split} captions"] = _digest((record.id, *record.captions) for record in records)
        digests[f"the {split} photos"] = _digest(
            (record.id, photo.hex()) for record, photo in zip(records, photos, strict=True)
        )
    if any(record.objects for record in training):
        digests["the boxes"] = _digest(
            (record.id, *((o.kind, o.boxes, sorted(o.names), o.mentions) for o in record.objects))
            for record in training
        )
    return digests


def _digest(rows: Iterable[tuple[object, ...]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        digest.update(ascii(row).encode())
    return digest.hexdigest()
