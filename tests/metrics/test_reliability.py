"""Acceptance and reliability by hand-worked numbers."""

from __future__ import annotations

import numpy as np
import pytest

from seesay.metrics.acceptance import acceptable, acceptance_threshold, people_scores
from seesay.metrics.cider import CiderD
from seesay.metrics.reliability import (
    auroc,
    diagram,
    expected_calibration_error,
    mean_of_surest,
    measured,
    reliability,
)

REFERENCES = [
    [text.split() for text in photo]
    for photo in (
        ("a dog runs", "a brown dog runs on grass", "a dog on grass"),
        ("two men talk", "men talk in a room", "two people talk"),
        ("a red car", "a car on a road", "a red car parks"),
    )
]


def test_people_are_scored_against_the_others_with_the_same_document_frequencies() -> None:
    scores = people_scores(REFERENCES)
    assert scores.shape == (9,)
    others = [photo[1:] for photo in REFERENCES]
    expected = CiderD(others, corpus=REFERENCES).score([photo[0] for photo in REFERENCES])
    np.testing.assert_allclose(scores[:3], expected)
    assert acceptance_threshold(REFERENCES) == pytest.approx(np.quantile(scores, 1 / 3))


def test_acceptable_captions_reach_the_weaker_third_of_people() -> None:
    best = [photo[0] for photo in REFERENCES]
    assert acceptable(best, REFERENCES).all()
    assert not acceptable([["a", "red", "car"], ["a", "dog"], ["two", "men"]], REFERENCES).any()
    single = [photo[:1] for photo in REFERENCES]  # nobody to compare with: everything is accepted
    assert acceptance_threshold(single) == 0


def test_calibration_error_by_hand() -> None:
    probability, happened = np.array([0.1, 0.15, 0.8, 1.0]), np.array([0, 1, 1, 1])
    # bins 1 (two photos, mean 0.125, half happened), 8 and 9
    expected = (2 * abs(0.125 - 0.5) + abs(0.8 - 1) + 0) / 4
    assert expected_calibration_error(probability, happened) == pytest.approx(expected)
    assert diagram(probability, happened)[0] == {"photos": 2, "confidence": 0.125, "accepted": 0.5}


def test_auroc_and_the_surest() -> None:
    score, happened = np.array([0.9, 0.4, 0.4, 0.1]), np.array([True, True, False, False])
    assert auroc(score, happened) == pytest.approx(3.5 / 4)
    assert np.isnan(auroc(score, np.ones(4, bool)))
    assert mean_of_surest(score, np.array([4.0, 2.0, 1.0, 0.0]), 0.5) == 3.0
    assert mean_of_surest(score, np.array([4.0, 2.0, 1.0, 0.0]), 1.0) == 1.75


def test_figures_have_intervals() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(size=400)
    accepted = random.uniform(size=400) < confidence
    figures = reliability(confidence, accepted, accepted * 1.0)
    value, low, high = figures["auroc"]
    assert low < value < high
    assert 0.75 < value < 0.95  # 5/6 in the limit
    assert figures["calibration_error"][0] < 0.08
    surest = [mean for mean, _, _ in figures["cider_of_surest"].values()]
    assert surest == sorted(surest, reverse=True)
    every = measured(lambda x: float(x.mean()), confidence)
    assert every.low < every.value < every.high
