"""Reading and checking a bundle's vocabulary, preprocessing and scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast, get_args

from seesay.bundle.errors import refused
from seesay.bundle.fields import Fields, read_json
from seesay.data.images import ImageTransform, Resample
from seesay.data.tokens import CaptionTokenizer
from seesay.errors import DataError

FIGURES = {"bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider"}
LARGEST_SIDE = 4096  # pixels of the encoder's input; `images.size` of recipes has the same limit
MOST_PHOTOS = 10**9
Triple = tuple[float, float, float]


def read_tokenizer(path: Path) -> CaptionTokenizer:
    """Read tokenizer.json.

    Raises:
        BundleError: `CaptionTokenizer.to_json` did not write it.
    """
    try:
        return CaptionTokenizer.from_dict(read_json(path))
    except DataError as error:
        raise refused(path, str(error)) from None


def read_preprocessing(path: Path) -> ImageTransform:
    """Read preprocessing.json.

    Raises:
        BundleError: a value is missing, unknown, of the wrong type or out of range.
    """
    fields = Fields(path)
    transform = ImageTransform(
        size=fields.whole("size", 1, LARGEST_SIDE),
        mean=cast(Triple, fields.numbers("mean", -1000, 1000, 3)),
        std=cast(Triple, fields.numbers("std", 1e-4, 1000, 3)),
        resample=cast(Resample, fields.text("resample", get_args(Resample))),
    )
    fields.end()
    return transform


def read_scores(path: Path) -> dict[str, Any]:
    """Read scores.json: the scores of each split, and the other fields of the file.

    Raises:
        BundleError: a score has the wrong type or is out of range.
    """
    scores = Fields(path)
    for split, values in scores.values.items():
        if isinstance(values, dict):
            _check_figures(scores.section(split))
    return scores.values


def _check_figures(fields: Fields) -> None:
    """Check the scores of one split; each may be missing, and METEOR may be null."""
    given = fields.values.keys()
    fields.number("meteor", 0, 100, default=None)
    for name in FIGURES & given:
        fields.number(name, 0, 100)
    for name in {"images", "references"} & given:
        fields.whole(name, 0, MOST_PHOTOS)
    if "cider_interval" in given:
        fields.numbers("cider_interval", 0, 100, 2)
    if "tokeniser" in given:
        fields.text("tokeniser")
    if "notes" in given:
        fields.texts("notes")
