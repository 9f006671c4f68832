"""`seesay calibrate`: caption a data set, learn how far to trust the captions, and put that into the bundle."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from seesay.bundle.confidence_file import ConfidenceHead, write_head
from seesay.bundle.format import Bundle, bundle_being_written, write_manifest
from seesay.calibration.learn import Part, learn, probability_of_photo
from seesay.calibration.observe import Observation, features_of, halves, observe
from seesay.data.records import CaptionRecord
from seesay.data.things import supports, thing_of
from seesay.metrics.acceptance import acceptance_threshold
from seesay.metrics.cider import CiderD
from seesay.metrics.reliability import auroc, reliability
from seesay.runtime import CaptionModel
from seesay.runtime.confidence import Judge

Splits = tuple[Sequence[CaptionRecord], Sequence[CaptionRecord]]


def calibrate(
    model: CaptionModel,
    data: Mapping[str, Splits],
    pictures: Mapping[str, Sequence[Path]],
    advance: Callable[[], None] | None = None,
) -> ConfidenceHead:
    """Learn a model's confidence; its figures, on dev photos that it was not learnt on, are in `about["figures"]`.

    Args:
        model: captions everything once, in the precision that it was opened with.
        data: name of a data set -> records of its splits train and dev. Half of dev is reported on.
        pictures: kind -> pictures that are no photos; may be empty, and then `Caption.kind` stays None.
        advance: called after each picture.

    Raises:
        DataError: a data set has no photos in one of the splits.
    """
    parts, reported = [], {}
    for name, (train, dev) in data.items():
        calibrated, held_out = halves(dev)
        parts.append(Part(name, observe(model, train, advance), observe(model, calibrated, advance)))
        reported[name] = observe(model, held_out, advance)
    features = {kind: list(features_of(model, paths, advance)) for kind, paths in pictures.items()}
    known = {kind: np.stack(rows) for kind, rows in features.items() if rows}
    head = learn(parts, known, model.precision)
    figures = {name: figures_of(head, observations) for name, observations in reported.items() if observations}
    return replace(head, about={**head.about, "figures": figures})


def figures_of(head: ConfidenceHead, observations: Sequence[Observation]) -> dict[str, Any]:
    """How well a head does on captions that it was not learnt on, see `seesay.metrics.reliability`."""
    judge = Judge(head)
    evidence = [judge.evidence(observation.features) for observation in observations]
    pairs = list(zip(evidence, observations, strict=True))
    confidence = np.array([judge.confidence(clue, o.words, o.logprobs) for clue, o in pairs])
    references = [o.references for o in observations]
    cider = CiderD(references).score([o.words for o in observations])
    figures = reliability(confidence, cider >= acceptance_threshold(references), cider)
    sure, there = [], []
    for clue, observation in pairs:
        supported = supports(word for reference in observation.references for word in reference)
        for word, logprob in observation.shown:
            if thing := thing_of(word):
                sure.append(judge.word_confidence(clue, word, logprob) or 0.0)
                there.append(thing in supported)
    figures["words"] = {
        "named": len(sure),
        "unsupported": round(1 - float(np.mean(there)), 4) if there else None,
        "auroc": round(auroc(np.array(sure), np.array(there)), 4) if 0 < sum(there) < len(there) else None,
    }
    if head.kinds:
        figures["refused"] = round(float(np.mean([clue.kind != "photo" for clue in evidence])), 4)
    return figures


def with_confidence(bundle: Bundle, head: ConfidenceHead) -> None:
    """Write a head into a bundle's folder, in place of an earlier one; all of it or nothing."""
    with bundle_being_written(bundle.folder) as scratch:
        shutil.copytree(bundle.folder, scratch, dirs_exist_ok=True)
        write_head(scratch, head)
        write_manifest(scratch, bundle.grid, bundle.attention)


def tell_photos(
    head: ConfidenceHead, photos: Sequence[np.ndarray], pictures: Mapping[str, Sequence[np.ndarray]]
) -> dict[str, Any]:
    """How well a head tells photos from other pictures.

    Args:
        head: a head that knows kinds.
        photos: features of photos.
        pictures: kind -> features of pictures that are no photos.

    Returns:
        AUC of the probability of a photo, and the share refused, by kind and of all.
    """
    judge = Judge(head)
    real = probability_of_photo(head, np.stack(photos))
    other = {kind: probability_of_photo(head, np.stack(rows)) for kind, rows in pictures.items()}
    refused = {kind: [judge.evidence(row).kind != "photo" for row in rows] for kind, rows in pictures.items()}
    every = np.concatenate(list(other.values()))
    labels = np.repeat([True, False], [len(real), len(every)])
    return {
        "auc": round(auroc(np.concatenate([real, every]), labels), 4),
        "photos_refused": round(float(np.mean([judge.evidence(row).kind != "photo" for row in photos])), 4),
        "pictures_refused": round(float(np.mean(np.concatenate(list(refused.values())))), 4),
        "by_kind": {kind: round(float(np.mean(values)), 4) for kind, values in refused.items()},
    }
