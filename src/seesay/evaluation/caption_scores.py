"""Captioning the photos of a data set as users do, and scoring the captions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from seesay.caption import BY_CONFIDENCE, BY_LOGPROB, Caption, Failure
from seesay.data.check import refuse_if_too_many_unreadable
from seesay.data.records import CaptionRecord, Problem, count_captions
from seesay.data.tokens import split_words
from seesay.evaluation.trust import Trust, trust_of
from seesay.metrics import CaptionStatistics, Scores, caption_statistics, score_captions
from seesay.metrics.attention_maps import AttentionStatistics, attention_statistics
from seesay.metrics.pointing import Pointing, Shown, pointing_accuracy
from seesay.version import __version__

if TYPE_CHECKING:
    from seesay.runtime import CaptionModel


@dataclass(frozen=True)
class Evaluation:
    """The result of one model on one split.

    Attributes:
        scores: scores of the captions.
        statistics: length and variety of the captions.
        attention: statistics of the maps.
        captions: record id -> caption.
        failures: photos that could not be read and are not scored.
        about: model, beam, precision, version and counts.
        pointing: pointing accuracy; None if the data has no boxes of shapes.
        trust: how far the captions' confidence can be trusted.
    """

    scores: Scores
    statistics: CaptionStatistics
    attention: AttentionStatistics
    captions: dict[str, Caption]
    failures: list[Problem]
    about: dict[str, Any]
    pointing: Pointing | None = None
    trust: Trust | None = None

    @property
    def per_photo(self) -> dict[str, dict[str, Any]]:
        """Record id -> its `caption` as text and that caption's `cider` (CIDEr-D, 0 to 10)."""
        pairs = zip(self.captions.items(), self.scores.cider_each, strict=True)
        return {name: {"caption": caption.text, "cider": cider} for (name, caption), cider in pairs}

    def examples(self, photos: int = 12, seed: int = 0) -> list[dict[str, Any]]:
        """Unselected photos: `id`, `caption` and `cider` of a random draw, the best first.

        Args:
            photos: the number of photos, at most; all if there are fewer.
            seed: the seed of the draw, which otherwise depends only on the ids.
        """
        names = Random(seed).sample(sorted(self.captions), min(photos, len(self.captions)))
        per_photo = self.per_photo
        return sorted(({"id": name, **per_photo[name]} for name in names), key=lambda example: -example["cider"])

    @property
    def how(self) -> str:
        """How the captions were made, in words."""
        return how_made(self.about)

    def to_dict(self, attention: bool = False) -> dict[str, Any]:
        """Everything for JSON, the captions' text included."""
        result = {
            **self.about,
            "scores": self.scores.to_dict(),
            "statistics": self.statistics.to_dict(),
            "failures": [str(problem) for problem in self.failures],
            "captions": {name: caption.text for name, caption in self.captions.items()},
            "per_photo": self.per_photo,
        }
        if self.trust:
            result["confidence"] = self.trust.to_dict()
        if attention:
            result["attention"] = self.attention.to_dict()
            if self.pointing:
                result["pointing"] = self.pointing.to_dict()
        return result


def how_made(about: Mapping[str, Any]) -> str:
    """How captions were made, in words, from `Evaluation.about` or the JSON of `seesay evaluate`."""
    chosen = ", chosen by confidence" if about.get("chosen_by") == BY_CONFIDENCE else ""
    precisions = f"encoder in {about.get('encoder_precision')}, decoder in {about.get('precision')}"
    return f"beam {about.get('beam')}{chosen}, {precisions}"


def evaluate(
    model: CaptionModel,
    records: Sequence[CaptionRecord],
    beam: int | None = None,
    official: bool | None = None,
    training_captions: Sequence[str] | None = None,
    advance: Callable[..., None] | None = None,
    grounding: Mapping[str, Sequence[Shown]] | None = None,
    likeliest: bool = False,
) -> Evaluation:
    """Caption the photos of the records and score the text.

    Args:
        model: the model.
        records: photos with references.
        beam: beam width; None for the bundle's.
        official: True requires pycocoevalcap's tokeniser and METEOR, False leaves them out, None
            uses them if installed.
        training_captions: for the share of novel captions.
        advance: called after each photo.
        grounding: the objects of each picture by record id, with their boxes, if the data has them.
        likeliest: as for `CaptionModel.caption`.

    Raises:
        DataError: more than a tenth of the photos cannot be read.
    """
    captions: dict[str, Caption] = {}
    failures: list[Problem] = []
    results = model.caption_many([record.image for record in records], beam=beam, likeliest=likeliest)
    for record, result in zip(records, results, strict=True):
        if isinstance(result, Failure):
            failures.append(Problem("error", str(record.image), result.reason))
        else:
            captions[record.id] = result
        if advance is not None:
            advance()
    refuse_if_too_many_unreadable(failures, len(records))
    scored = [record for record in records if record.id in captions]
    scores = score_captions(
        {name: caption.text for name, caption in captions.items()},
        {record.id: record.captions for record in scored},
        split_words,
        official,
    )
    words = [split_words(caption.text) for caption in captions.values()]
    known = [split_words(caption) for caption in training_captions] if training_captions else None
    about = {
        "model": model.bundle.name,
        "seesay": __version__,
        "beam": beam or model.bundle.search.beam,
        "chosen_by": BY_CONFIDENCE if model.judge and not likeliest else BY_LOGPROB,
        "precision": model.precision,
        "encoder_precision": model.encoder_precision,
        "images": len(scored),
        "references": count_captions(scored),
    }
    maps = [_maps(caption) for caption in captions.values()]
    looks, pointing = attention_statistics(maps), pointing_accuracy(captions, grounding) if grounding else None
    trust = trust_of(captions, scored)
    return Evaluation(scores, caption_statistics(words, known), looks, captions, failures, about, pointing, trust)


def _maps(caption: Caption) -> np.ndarray:
    """(words, rows, cols)."""
    return np.stack([word.attention for word in caption.words]) if caption.words else np.zeros((0, 1, 1))
