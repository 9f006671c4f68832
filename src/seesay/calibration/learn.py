"""Observations -> a confidence head (docs/confidence.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice, pairwise
from typing import NamedTuple

import numpy as np

from seesay.bundle.confidence_file import ACCEPT_SIGNALS, PHOTO, WORD_SIGNALS, ConfidenceHead
from seesay.calibration.fit import logistic_regression, low_rank_ridge, ridge_regression
from seesay.calibration.observe import Observation
from seesay.data.things import thing_of
from seesay.errors import DataError
from seesay.metrics.acceptance import acceptable
from seesay.metrics.statistics import FUNCTION_WORDS
from seesay.runtime.confidence import Evidence, Judge, Said, logistic, standardised

RANK = 240  # more would help little, and the part of the bundle grows with it
MOST_GRAMS = 2000
IN_CAPTIONS, IN_REFERENCES = 2, 8  # photos whose caption, and whose references, must have a gram
RIDGE, SIGNAL_RIDGE, KIND_RIDGE = 500.0, 3.0, 100.0
ROUNDS = 4  # of choosing captions and weighing signals; the weights hardly change after two
REFUSED = 0.006  # share of the calibration photos that may be called no photos

Observations = Sequence[Observation]


def learn(train: Sequence[Observations], pictures: Mapping[str, np.ndarray], precision: str) -> ConfidenceHead:
    """Learn from training photos what people say of a photo, and what a photo is; `calibrated` learns the rest.

    Args:
        train: of each data set.
        pictures: kind -> (n, F) features of pictures that are no photos; may be empty.
        precision: of the graphs that captioned, for the file.

    Raises:
        DataError: the captions and the references have no words in common.
    """
    photos = [observation for part in train for observation in part]
    features = np.stack([observation.features for observation in photos])
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-3
    inputs = standardised(features, mean, scale)
    grams = choose_grams(photos)
    if not grams:
        raise DataError("the captions and the references have no words in common: expected data like the model's own")
    shares = shares_of(photos, grams)
    idf = np.log(len(photos) / np.maximum((shares > 0).sum(axis=0), 1)).astype(np.float32)
    predictor = low_rank_ridge(inputs, shares, np.maximum(idf, 0.1), RIDGE, RANK)
    head = ConfidenceHead(
        grams=grams,
        idf=idf,
        mean=mean,
        scale=scale,
        project=predictor.project,
        shares=predictor.outputs.T,
        base=predictor.base,
        accept=np.zeros(ACCEPT_SIGNALS + 1, np.float32),
        word=np.zeros(WORD_SIGNALS + 1, np.float32),
        about={"precision": precision, "photos": len(photos)},
    )
    return with_kinds(head, inputs, pictures) if pictures else head


def calibrated(head: ConfidenceHead, dev: Sequence[Observations]) -> ConfidenceHead:
    """The head with its signals weighed on photos that neither it nor the captioner was trained on.

    On its own training photos the captioner is too sure of its words, and would count too much.

    The weights decide which sentence of a search becomes the caption, and the chosen ones differ from others: they are
    those that the judge thinks well of. So captions are chosen with the weights of the round before, at first the
    likeliest, and the weights are learnt again on these.

    Args:
        head: from `learn`.
        dev: of each data set, with a threshold of acceptance of its own; each counts the same, however many photos
            it has.
    """
    photos = [observation for part in dev for observation in part]
    each = np.concatenate([np.full(len(part), len(photos) / len(dev) / len(part)) for part in dev])
    judge = Judge(head)
    evidence = [judge.evidence(o.features) for o in photos]
    for number in range(ROUNDS):
        pairs = zip(evidence, photos, strict=True)
        chosen = [choose(judge, clue, photo) if number else photo.sentences[0] for clue, photo in pairs]
        things = word_examples(judge, evidence, chosen, photos)
        word = logistic_regression(things.signals, things.there, each[things.photo], SIGNAL_RIDGE)
        judge = Judge(replace(judge.head, word=word.astype(np.float32)))
        rest = iter(chosen)
        happened = np.concatenate([accepted(list(islice(rest, len(part))), part) for part in dev])
        known = [judge.sentence_signals(clue, [said])[0] for clue, said in zip(evidence, chosen, strict=True)]
        accept = logistic_regression(np.array(known), happened, each, SIGNAL_RIDGE)
        judge = Judge(replace(judge.head, accept=accept.astype(np.float32)))
    head = judge.head
    if not head.kinds:
        return head
    margins = [photo_margin(head, np.stack([o.features for o in part])) for part in dev]
    return replace(head, threshold=min(float(np.quantile(values, REFUSED)) for values in margins))


def choose(judge: Judge, evidence: Evidence, observation: Observation) -> Said:
    """The sentence that becomes the caption, see `seesay.runtime.requests.by_confidence`."""
    return observation.sentences[judge.ranked(evidence, observation.sentences)[0]]


def accepted(captions: Sequence[Said], observations: Observations) -> np.ndarray:
    """(N,) 1 where a person would accept the caption, see `seesay.metrics.acceptance`."""
    references = [observation.references for observation in observations]
    return acceptable([caption.words for caption in captions], references).astype(np.float64)


def grams_of(words: Sequence[str]) -> set[str]:
    """The content words and all pairs of words of a sentence."""
    return {word for word in words if word not in FUNCTION_WORDS} | set(map(" ".join, pairwise(words)))


def choose_grams(observations: Observations) -> tuple[str, ...]:
    """The grams that captions and references share most often, and all words that name things."""
    captions = Counter(gram for o in observations for gram in grams_of(o.sentences[0].words))
    references = Counter(gram for o in observations for gram in set().union(*map(grams_of, o.references)))
    enough = [gram for gram, photos in references.most_common() if photos >= min(IN_REFERENCES, len(observations) / 4)]
    said = [gram for gram in enough if captions[gram] >= min(IN_CAPTIONS, len(observations) / 10)]
    things = [gram for gram in enough if thing_of(gram)]
    return tuple(sorted(dict.fromkeys([*things, *said][:MOST_GRAMS])))


def shares_of(observations: Observations, grams: Sequence[str]) -> np.ndarray:
    """(N, G) share of each photo's references that have each gram."""
    index = {gram: i for i, gram in enumerate(grams)}
    shares = np.zeros((len(observations), len(grams)), np.float32)
    for row, observation in zip(shares, observations, strict=True):
        for reference in observation.references:
            row[[index[gram] for gram in grams_of(reference) if gram in index]] += 1 / len(observation.references)
    return shares


class WordExamples(NamedTuple):
    """Words that name things: signals (W, WORD_SIGNALS), whether a reference or box supports them, their photo."""

    signals: np.ndarray
    there: np.ndarray
    photo: np.ndarray


def word_examples(
    judge: Judge, evidence: Sequence[Evidence], captions: Sequence[Said], observations: Observations
) -> WordExamples:
    """The words of these captions that name things."""
    signals, there, photos = [], [], []
    for number, (clue, caption, observation) in enumerate(zip(evidence, captions, observations, strict=True)):
        supported = observation.supported
        for word, logprob in caption.shown:
            if (thing := thing_of(word)) and (known := judge.word_signals(clue, word, logprob)):
                signals.append(known)
                there.append(float(thing in supported))
                photos.append(number)
    if not signals:
        return WordExamples(np.zeros((1, WORD_SIGNALS)), np.zeros(1), np.zeros(1, int))
    return WordExamples(np.array(signals), np.array(there), np.array(photos))


def with_kinds(head: ConfidenceHead, photos: np.ndarray, pictures: Mapping[str, np.ndarray]) -> ConfidenceHead:
    """Add what tells photos from other pictures.

    Args:
        head: with `mean` and `scale`.
        photos: (N, F) standardised features of the training photos.
        pictures: kind -> (n, F) features.
    """
    kinds = (PHOTO, *pictures)
    inputs = np.concatenate([photos, *(standardised(x, head.mean, head.scale) for x in pictures.values())])
    label = np.repeat(np.arange(len(kinds)), [len(photos), *map(len, pictures.values())])
    share = np.where(label == 0, 0.5, 0.5 / len(pictures)) / np.bincount(label)[label] * len(label)
    fitted = ridge_regression(inputs, np.eye(len(kinds))[label], share, KIND_RIDGE)
    scores = fitted(inputs)
    margin = scores[:, 0] - scores[:, 1:].max(axis=1)
    slope, constant = logistic_regression(margin[:, None], (label == 0).astype(float), share, ridge=1.0)
    return replace(
        head,
        kinds=kinds,
        kind_weights=fitted.project.astype(np.float32),
        kind_base=np.asarray(fitted.base, np.float32),
        photo=(float(slope), float(constant)),
    )


def photo_margin(head: ConfidenceHead, features: np.ndarray) -> np.ndarray:
    """(N,) by how much "photo" exceeds every other kind; from features as `pooled` gives them."""
    scores = standardised(features, head.mean, head.scale) @ head.kind_weights + head.kind_base
    return scores[:, 0] - scores[:, 1:].max(axis=1)


def probability_of_photo(head: ConfidenceHead, features: np.ndarray) -> np.ndarray:
    """(N,) from features as `pooled` gives them."""
    return np.array([logistic(head.photo[0] * margin + head.photo[1]) for margin in photo_margin(head, features)])
