"""How reliable the confidence of captions is, and how often they name things without support."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seesay.caption import PHOTO, Caption
from seesay.data.boxes.support import things_on
from seesay.data.records import CaptionRecord
from seesay.data.things import thing_of
from seesay.data.tokens import split_words
from seesay.metrics.acceptance import acceptance_threshold
from seesay.metrics.cider import CiderD
from seesay.metrics.reliability import auroc, expected_calibration_error, reliability
from seesay.metrics.statistics import ratio_interval


@dataclass(frozen=True)
class Trust:
    """How reliable the confidence of a set of captions is (docs/confidence.md).

    Attributes:
        captions: figures of `seesay.metrics.reliability.reliability`; None without calibration.
        things: figures of the words that name things: `named`, their number; `unsupported`, the
            share that no reference and no box supports, with its interval; `photos_with_boxes`;
            `auroc` and `calibration_error` of their confidence, None without calibration.
        refused: the share of photos that the model took for other pictures, such as charts; None if
            it does not know kinds of pictures.
    """

    captions: dict[str, Any] | None
    things: dict[str, Any]
    refused: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"captions": self.captions, "things": self.things, "refused": self.refused}

    def facts(self) -> dict[str, str]:
        """{heading: one line of figures} for reports."""
        facts = {}
        if self.captions:
            surest = ", ".join(f"{s} {100 * value[0]:.1f}" for s, value in self.captions["cider_of_surest"].items())
            facts["Confidence"] = (
                f"accepted {100 * self.captions['accepted']:.1f} %, said {100 * self.captions['confidence']:.1f} %; "
                f"AUROC {_interval(self.captions['auroc'])}, "
                f"calibration error {_interval(self.captions['calibration_error'])}"
            )
            facts["Surest"] = f"CIDEr of the surest {surest}"
        if self.things["unsupported"]:
            value, low, high = (f"{100 * x:.1f}" for x in self.things["unsupported"])
            where = "a reference or box" if self.things["photos_with_boxes"] else "a reference"
            facts["Things"] = f"{value} % ({low} to {high}) of {self.things['named']:,} have no support in {where}"
        if self.refused is not None:
            facts["Refused"] = f"{100 * self.refused:.1f} % as no photos"
        return facts

    def chart(self) -> dict[str, int]:
        """The reliability diagram: {mean confidence and photos of a bin: percentage accepted}."""
        bins = self.captions["diagram"] if self.captions else ()
        return {f"{bin['confidence']:.2f} ({bin['photos']:,})": round(100 * bin["accepted"]) for bin in bins}


def trust_of(captions: Mapping[str, Caption], records: Sequence[CaptionRecord]) -> Trust:
    """Compare the confidence of captions with the references, and that of their words with boxes too.

    Args:
        captions: the caption of each record, by the record's id.
        records: the photos with their references, and the boxes of their things where there are any.
    """
    known = [captions[record.id] for record in records]
    references = [[split_words(text) for text in record.captions] for record in records]
    confidence = [caption.confidence for caption in known]
    figures = None
    if None not in confidence:
        cider = CiderD(references).score([split_words(caption.text) for caption in known])
        figures = reliability(np.array(confidence, float), cider >= acceptance_threshold(references), cider)
    kinds = [caption.kind for caption in known]
    refused = None if None in kinds else round(float(np.mean([kind != PHOTO for kind in kinds])), 4)
    return Trust(figures, _things(known, records), refused)


def _things(captions: Sequence[Caption], records: Sequence[CaptionRecord]) -> dict[str, Any]:
    named, missing, sure, there = [], [], [], []
    for caption, record in zip(captions, records, strict=True):
        supported = things_on(record)
        right = [(thing in supported, word.confidence) for word in caption.words if (thing := thing_of(word.text))]
        named.append(len(right))
        missing.append(sum(not yes for yes, _ in right))
        for yes, confidence in right:
            there.append(yes)
            sure.append(confidence)
    total = sum(named)
    figures: dict[str, Any] = {"named": total, "unsupported": None, "auroc": None, "calibration_error": None}
    figures["photos_with_boxes"] = sum(bool(record.objects) for record in records)
    if total:
        low, high = ratio_interval(np.array(missing, float), np.array(named, float) + 1e-12, seed=0)
        figures["unsupported"] = [round(sum(missing) / total, 4), round(low, 4), round(high, 4)]
    if total and None not in sure:
        confidence, happened = np.array(sure, float), np.array(there)
        area = auroc(confidence, happened)
        figures["auroc"] = None if np.isnan(area) else round(area, 4)
        figures["calibration_error"] = round(expected_calibration_error(confidence, happened), 4)
    return figures


def _interval(values: Sequence[float | None]) -> str:
    value, low, high = ("-" if x is None else f"{x:.3f}" for x in values)
    return f"{value} ({low} to {high})"
