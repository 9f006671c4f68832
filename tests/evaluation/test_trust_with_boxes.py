"""Words that name things are right too where the thing has a box."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from seesay.calibration.learn import word_examples
from seesay.calibration.observe import observe
from seesay.caption import Caption, Word
from seesay.data.records import BoxedObject, CaptionRecord
from seesay.evaluation.trust import trust_of
from seesay.runtime import CaptionModel

BALL = BoxedObject("other", ((0.1, 0.1, 0.4, 0.4),), frozenset({"ball"}))
DOG = BoxedObject("animals", ((0.1, 0.1, 0.4, 0.4),), frozenset({"dog"}))


def test_a_box_supports_a_word_that_no_reference_has() -> None:
    words = tuple(Word(text, -1.0, np.ones((1, 1), np.float32)) for text in ("a", "dog", "and", "a", "cat"))
    captions = {"a": Caption("a dog and a cat", -5.0, words)}
    record = CaptionRecord("a", Path("a.jpg"), ("A bench .", "An empty bench ."), "dev")
    without = trust_of(captions, [record]).things
    assert (without["named"], without["unsupported"][0], without["photos_with_boxes"]) == (2, 1.0, 0)
    trust = trust_of(captions, [replace(record, objects=(DOG,))])
    assert (trust.things["unsupported"][0], trust.things["photos_with_boxes"]) == (0.5, 1)
    assert trust.facts()["Things"].endswith("of 2 have no support in a reference or box")


def test_calibration_learns_from_boxes(calibrated_bundle: Path, tiny_photos: list[Path]) -> None:
    model = CaptionModel.load(calibrated_bundle, 1)
    record = CaptionRecord("a", tiny_photos[0], ("A bench .",), "train", (BALL, DOG))
    assert model.judge is not None
    for objects, right in (((), {0.0}), ((BALL, DOG), {1.0})):
        [seen] = observe(model, [replace(record, objects=objects)])
        [said, *_] = seen.sentences
        examples = word_examples(model.judge, [model.judge.evidence(seen.features)], [said], [seen])
        named = {word for word, _ in said.shown} & {"ball", "dog"}
        assert named and set(examples.there[: len(named)]) == right
