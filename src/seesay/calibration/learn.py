"""Observations -> a confidence head (docs/confidence.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from seesay.bundle.confidence_file import ACCEPT_SIGNALS, PHOTO, WORD_SIGNALS, ConfidenceHead
from seesay.calibration.fit import (
    LowRank,
    logistic_regression,
    low_rank_ridge,
    recalibrated,
    ridge_regression,
)
from seesay.calibration.observe import Observation
from seesay.data.things import supports, thing_of
from seesay.errors import DataError
from seesay.metrics.acceptance import acceptable
from seesay.metrics.statistics import FUNCTION_WORDS
from seesay.runtime.confidence import Evidence, Judge, logistic, standardised

RANK = 128
MOST_GRAMS = 1100
IN_CAPTIONS, IN_REFERENCES = 5, 20  # photos whose caption, and whose references, must have a gram
RIDGE = 500.0
KIND_RIDGE = 100.0
FOLDS = 3  # the signals of training photos come from predictors that were not trained on them
REFUSED = 0.006  # share of the calibration photos that may be called no photos


class Part(NamedTuple):
    """One data set's observations.

    Attributes:
        name: of the data set.
        train: of the training split.
        dev: of the half of the dev split that is calibrated on.
    """

    name: str
    train: Sequence[Observation]
    dev: Sequence[Observation]


def learn(parts: Sequence[Part], pictures: Mapping[str, np.ndarray], precision: str) -> ConfidenceHead:
    """Learn a head from all data sets together.

    Args:
        parts: each with its own threshold of acceptance.
        pictures: kind -> (n, F) features of pictures that are no photos; may be empty.
        precision: of the graphs that captioned, for the file.

    Raises:
        DataError: a part has no training or no dev photos, or too few references.
    """
    for part in parts:
        if not part.train or not part.dev:
            raise DataError(f"{part.name}: expected photos in the splits train and dev to learn confidence from")
    train = [observation for part in parts for observation in part.train]
    features = np.stack([observation.features for observation in train]).astype(np.float64)
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-3
    inputs = standardised(features, mean, scale)
    grams = choose_grams(train)
    if not grams:
        raise DataError("the captions and the references have no words in common: expected data like the model's own")
    targets = shares_of(train, grams)
    idf = np.log(len(train) / np.maximum((targets > 0).sum(axis=0), 1)).astype(np.float32)
    weights = np.maximum(idf, 0.1).astype(np.float64)
    predictor = low_rank_ridge(inputs, targets, weights, RIDGE, RANK)
    head = ConfidenceHead(
        grams=grams,
        idf=idf,
        mean=mean.astype(np.float32),
        scale=scale.astype(np.float32),
        project=predictor.project.astype(np.float32),
        shares=predictor.outputs.astype(np.float32),
        base=predictor.base.astype(np.float32),
        accept=np.zeros(ACCEPT_SIGNALS + 1, np.float32),
        word=np.zeros(WORD_SIGNALS + 1, np.float32),
        about={"precision": precision, "photos": [len(train), sum(len(part.dev) for part in parts)]},
    )
    folds = np.random.default_rng(0).integers(0, FOLDS, len(train))
    crossed = [
        low_rank_ridge(inputs[folds != k], targets[folds != k], weights, RIDGE * (FOLDS - 1) / FOLDS, RANK)
        for k in range(FOLDS)
    ]
    judges = [Judge(_with(head, predictor)) for predictor in crossed]
    fitted = Judge(head)
    evidence = [judges[k].evidence(o.features) for k, o in zip(folds, train, strict=True)]
    dev = [observation for part in parts for observation in part.dev]
    dev_evidence = [fitted.evidence(o.features) for o in dev]
    each = np.concatenate([np.full(len(part.dev), len(dev) / len(parts) / len(part.dev)) for part in parts])

    signals = np.stack([fitted.sentence_signals(e, o.words, o.logprobs) for e, o in zip(evidence, train, strict=True)])
    accepted = np.concatenate([_accepted(part.train) for part in parts])
    accept = logistic_regression(signals, accepted)
    signals = np.stack(
        [fitted.sentence_signals(e, o.words, o.logprobs) for e, o in zip(dev_evidence, dev, strict=True)]
    )
    accept = recalibrated(accept, signals, np.concatenate([_accepted(part.dev) for part in parts]), each)

    word = logistic_regression(*word_examples(fitted, evidence, train)[:2])
    signals, there, photo = word_examples(fitted, dev_evidence, dev)
    word = recalibrated(word, signals, there, each[photo])
    head = replace(head, accept=accept.astype(np.float32), word=word.astype(np.float32))
    if not pictures:
        return head
    return with_kinds(head, inputs, [np.stack([o.features for o in part.dev]) for part in parts], pictures)


def _with(head: ConfidenceHead, predictor: LowRank) -> ConfidenceHead:
    project, shares, base = (np.asarray(part, np.float32) for part in predictor)
    return replace(head, project=project, shares=shares, base=base)


def _accepted(observations: Sequence[Observation]) -> np.ndarray:
    references = [observation.references for observation in observations]
    return acceptable([observation.words for observation in observations], references).astype(np.float64)


def grams_of(words: Sequence[str]) -> set[str]:
    """The content words and all pairs of words of a sentence."""
    return {word for word in words if word not in FUNCTION_WORDS} | set(map(" ".join, pairwise(words)))


def choose_grams(observations: Sequence[Observation]) -> tuple[str, ...]:
    """The grams that captions and references share most often, and all words that name things."""
    captions = Counter(gram for o in observations for gram in grams_of(o.words))
    references = Counter(gram for o in observations for gram in set().union(*map(grams_of, o.references)))
    enough = [gram for gram, photos in references.most_common() if photos >= min(IN_REFERENCES, len(observations) / 4)]
    said = [gram for gram in enough if captions[gram] >= min(IN_CAPTIONS, len(observations) / 10)]
    things = [gram for gram in enough if thing_of(gram)]
    return tuple(sorted(dict.fromkeys([*things, *said][:MOST_GRAMS])))


def shares_of(observations: Sequence[Observation], grams: Sequence[str]) -> np.ndarray:
    """(N, G) share of each photo's references that have each gram."""
    index = {gram: i for i, gram in enumerate(grams)}
    shares = np.zeros((len(observations), len(grams)))
    for row, observation in zip(shares, observations, strict=True):
        for reference in observation.references:
            row[[index[gram] for gram in grams_of(reference) if gram in index]] += 1 / len(observation.references)
    return shares


def word_examples(
    judge: Judge, evidence: Sequence[Evidence], observations: Sequence[Observation]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each word that names a thing: signals (W, WORD_SIGNALS), whether a reference supports it, and its photo."""
    signals, there, photos = [], [], []
    for number, (clue, observation) in enumerate(zip(evidence, observations, strict=True)):
        supported = supports({word for reference in observation.references for word in reference})
        for word, logprob in observation.shown:
            if thing := thing_of(word):
                signals.append(judge.word_signals(clue, word, thing, logprob))
                there.append(float(thing in supported))
                photos.append(number)
    if not signals:
        return np.zeros((1, WORD_SIGNALS)), np.zeros(1), np.zeros(1, int)
    return np.stack(signals), np.array(there), np.array(photos)


def with_kinds(
    head: ConfidenceHead, photos: np.ndarray, dev: Sequence[np.ndarray], pictures: Mapping[str, np.ndarray]
) -> ConfidenceHead:
    """Add what tells photos from other pictures.

    Args:
        head: with `mean` and `scale`.
        photos: (N, F) standardised features of the training photos.
        dev: of each data set (n, F) features of the photos that the threshold is set on.
        pictures: kind -> (n, F) features.
    """
    kinds = (PHOTO, *pictures)
    groups = [photos, *(standardised(x, head.mean, head.scale) for x in pictures.values())]
    inputs = np.concatenate(groups)
    label = np.repeat(np.arange(len(kinds)), [len(group) for group in groups])
    share = np.where(label == 0, 0.5, 0.5 / len(pictures)) / np.bincount(label)[label] * len(label)
    fitted = ridge_regression(inputs, np.eye(len(kinds))[label], share, KIND_RIDGE)
    head = replace(
        head,
        kinds=kinds,
        kind_weights=fitted.project.astype(np.float32),
        kind_base=np.asarray(fitted.base, np.float32),
    )
    margin = photo_margin(head, inputs)
    known = [photo_margin(head, standardised(x, head.mean, head.scale)) for x in dev]
    slope, constant = logistic_regression(margin[:, None], (label == 0).astype(float), share, ridge=1.0)
    threshold = min(float(np.quantile(values, REFUSED)) for values in known)
    return replace(head, photo=(float(slope), float(constant)), threshold=threshold)


def photo_margin(head: ConfidenceHead, inputs: np.ndarray) -> np.ndarray:
    """(N,) by how much "photo" exceeds every other kind, from standardised features."""
    scores = inputs @ head.kind_weights + head.kind_base
    return scores[:, 0] - scores[:, 1:].max(axis=1)


def probability_of_photo(head: ConfidenceHead, features: np.ndarray) -> np.ndarray:
    """(N,) from features as `pooled` gives them."""
    margin = photo_margin(head, standardised(features, head.mean, head.scale))
    return np.array([logistic(head.photo[0] * value + head.photo[1]) for value in margin.tolist()])
