"""`seesay calibrate`: caption a data set, learn how far to trust the captions, and put that into the bundle."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from seesay.bundle.confidence_file import PHOTO, ConfidenceHead, write_head
from seesay.bundle.format import Bundle, bundle_being_written, write_manifest
from seesay.calibration.learn import Observations, calibrated, choose, learn, probability_of_photo
from seesay.calibration.observe import features_of, halves, observe
from seesay.data.records import CaptionRecord
from seesay.data.things import thing_of
from seesay.errors import DataError, printable
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
    """Learn a model's confidence; how well it does on photos that it was not fitted to is in `about["figures"]`.

    Args:
        model: captions everything once, in the precision that it was opened with.
        data: name of a data set -> records of its splits train and dev.
        pictures: kind -> pictures that are no photos; may be empty, and then `Caption.kind` stays None.
        advance: called after each picture.

    Raises:
        DataError: a data set has no photos in train, or fewer than two in dev.
    """
    for name, (train, dev) in data.items():
        if not train or len(dev) < 2:
            raise DataError(f"{printable(name)}: has {len(train)} photos in train and {len(dev)} in dev, expected more")
    train = [observe(model, train, advance) for train, _ in data.values()]
    dev = {name: [observe(model, half, advance) for half in halves(dev)] for name, (_, dev) in data.items()}
    features = {kind: list(features_of(model, paths, advance)) for kind, paths in pictures.items()}
    known = {kind: np.stack(rows) for kind, rows in features.items() if rows}
    return fit(train, dev, known, model.precision)


def fit(
    train: Sequence[Observations],
    dev: Mapping[str, Sequence[Observations]],
    pictures: Mapping[str, np.ndarray],
    precision: str,
) -> ConfidenceHead:
    """Learn from the training photos and fit to all dev photos; the figures are of halves fitted to the other half.

    Args:
        train: of each data set.
        dev: name of a data set -> the two halves of its dev split.
        pictures: kind -> (n, F) features.
        precision: of the graphs that captioned.
    """
    learnt = learn(train, pictures, precision)
    fitted = [calibrated(learnt, [halves[which] for halves in dev.values()]) for which in (0, 1)]
    figures = {name: figures_of([(fitted[1], one), (fitted[0], other)]) for name, (one, other) in dev.items()}
    head = calibrated(learnt, [[*one, *other] for one, other in dev.values()])
    return replace(head, about={**head.about, "figures": figures})


def figures_of(parts: Sequence[tuple[ConfidenceHead, Observations]]) -> dict[str, Any]:
    """How well heads do on the captions that they choose, see `seesay.metrics.reliability`.

    `likeliest` is the CIDEr of the likeliest sentences, for comparison: a head that has seen few photos may choose
    worse ones.

    Args:
        parts: observations, and the head that judges them.
    """
    captions, confidence, sure, there, refused = [], [], [], [], []
    for head, observations in parts:
        judge = Judge(head)
        for observation in observations:
            clue = judge.evidence(observation.features)
            caption = choose(judge, clue, observation)
            captions.append(caption.words)
            confidence.append(judge.confidence(clue, caption))
            refused.append(clue.kind not in (None, PHOTO))
            supported = observation.supported
            for word, logprob in caption.shown:
                if thing := thing_of(word):
                    sure.append(judge.word_confidence(clue, word, logprob) or 0.0)
                    there.append(thing in supported)
    photos = [observation for _, observations in parts for observation in observations]
    references = [observation.references for observation in photos]
    cider = CiderD(references)
    scores = cider.score(captions)
    figures = reliability(np.array(confidence), scores >= acceptance_threshold(references), scores)
    area = auroc(np.array(sure), np.array(there, bool)) if there else float("nan")
    likeliest = cider.score([photo.sentences[0].words for photo in photos])
    figures["likeliest"] = round(float(likeliest.mean()), 4)
    figures["things"] = {
        "named": len(sure),
        "unsupported": round(1 - float(np.mean(there)), 4) if there else None,
        "auroc": None if np.isnan(area) else round(area, 4),
    }
    return figures | {"refused": round(float(np.mean(refused)), 4)}


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
        AUC of the probability of a photo, and shares that are refused: at the head's threshold, and at the one that
        refuses 2 % of these photos.
    """
    judge = Judge(head)
    real = probability_of_photo(head, np.stack(photos))
    other = {kind: probability_of_photo(head, np.stack(rows)) for kind, rows in pictures.items()}
    refused = {kind: [judge.evidence(row).kind != PHOTO for row in rows] for kind, rows in pictures.items()}
    every = np.concatenate(list(other.values()))
    labels = np.repeat([True, False], [len(real), len(every)])
    return {
        "auc": round(auroc(np.concatenate([real, every]), labels), 4),
        "photos_refused": round(float(np.mean([judge.evidence(row).kind != PHOTO for row in photos])), 4),
        "pictures_refused": round(float(np.mean(np.concatenate(list(refused.values())))), 4),
        "pictures_refused_with_2_percent_of_photos": round(float(np.mean(every < np.quantile(real, 0.02))), 4),
        "by_kind": {kind: round(float(np.mean(values)), 4) for kind, values in refused.items()},
    }
