"""Where attention lies: pointing and mass by hand, baselines, intervals by photo."""

from __future__ import annotations

import numpy as np
import pytest

from seesay.geometry import box_coverage
from seesay.metrics.localisation import (
    NamedWord,
    Share,
    centre_map,
    localisation,
    mass_inside,
    other_words,
    pointing,
)
from seesay.metrics.statistics import area_under_curve, rank_correlation

LEFT, RIGHT, CORNER = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0), (0.0, 0.0, 0.25, 0.5)


def looking_at(row: int, col: int, grid: tuple[int, int] = (2, 4)) -> np.ndarray:
    weights = np.full(grid, 0.1 / (np.prod(grid) - 1))
    weights[row, col] = 0.9
    return weights


def test_pointing_and_mass_by_hand():
    covered = box_coverage([(0.0, 0.0, 0.375, 0.5)], (2, 4))  # one region and half of the next
    assert pointing(looking_at(0, 0), covered) == 1
    assert pointing(looking_at(0, 1), covered) == 1, "half of it is enough"
    assert pointing(looking_at(0, 1), covered - 0.01) == 0
    assert pointing(looking_at(1, 3), covered) == 0
    assert mass_inside(looking_at(0, 0), covered) == pytest.approx(0.9 + 0.5 * 0.1 / 7)


def test_of_equal_regions_their_share_counts():
    covered = box_coverage([LEFT], (2, 4))
    assert pointing(np.full((2, 4), 1 / 8), covered) == 0.5
    assert mass_inside(np.full((2, 4), 1 / 8), covered) == pytest.approx(0.5)


@pytest.mark.parametrize(("grid", "count"), [((8, 8), 4), ((7, 7), 1), ((3, 4), 2), ((1, 1), 1)])
def test_the_centre_is_what_lies_nearest(grid, count):
    weights = centre_map(grid)
    assert (weights > 0).sum() == count and weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(weights, weights[::-1, ::-1])


def word(photo: str, noun: str, weights: np.ndarray, *boxes) -> NamedWord:
    return NamedWord(photo, noun, weights, tuple(boxes))


def test_localisation_by_hand():
    """Two photos; the dog of the second is small and missed."""
    words = [
        word("a", "dog", looking_at(0, 0), LEFT),
        word("a", "ball", looking_at(1, 3), RIGHT),
        word("b", "dog", looking_at(0, 3), CORNER),
    ]
    found = localisation(words)
    assert {name: scores["attention"].pointing.words for name, scores in found.items()} == {
        "all": 3, "small": 1, "medium": 0, "large": 2,
    }  # fmt: skip
    every, small = found["all"], found["small"]
    assert every["attention"].pointing.mean == pytest.approx(2 / 3)
    assert every["attention"].pointing.photos == 2
    assert small["attention"].pointing.mean == 0
    assert every["uniform"].mass.mean == pytest.approx((0.5 + 0.5 + 0.125) / 3)
    assert every["uniform"].pointing.mean == pytest.approx((0.5 + 0.5 + 0.125) / 3)
    assert every["centre"].pointing.mean == pytest.approx((0.5 + 0.5 + 0) / 3)
    # The maps of photo a exchanged: both miss. Photo b has one word only.
    assert every["other_word"].pointing.mean == 0 and every["other_word"].pointing.words == 2
    # Each dog by the other's map: the corner is hit, the left half is not; the ball is in one photo only.
    assert every["other_photo"].pointing.mean == 0.5 and every["other_photo"].pointing.words == 2


def test_another_word_is_one_that_names_something_else():
    first, same, other = (looking_at(0, n) for n in range(3))
    words = [word("a", "dog", first, LEFT), word("a", "puppy", same, LEFT), word("a", "ball", other, RIGHT)]
    found = other_words([*words, word("b", "dog", first, LEFT)])
    assert found[0] is other and found[1] is other and found[2] is first and found[3] is None


def test_nothing_to_measure_is_no_error():
    found = localisation([])
    assert found["all"]["attention"].pointing.to_dict() == {
        "mean": None, "interval": None, "words": 0, "photos": 0,
    }  # fmt: skip


def test_intervals_are_over_photos():
    """Twenty equal words of one photo tell as much as one: the interval is that of four photos, not of 80 words."""
    values = [0.0] * 40 + [1.0] * 40
    four = Share.of(values, [name for name in "abcd" for _ in range(20)])
    many = Share.of(values, [str(n) for n in range(80)])
    assert four.mean == many.mean == 0.5
    assert four.interval[1] - four.interval[0] > 3 * (many.interval[1] - many.interval[0])
    assert Share.of(values, ["a"] * 80).interval == (0.5, 0.5)


def test_attention_and_quantus_agree():
    """Quantus 0.6's definitions, written out on pixels: PointingGame and RelevanceMassAccuracy."""
    random = np.random.default_rng(5)
    for _ in range(20):
        weights = random.dirichlet(np.full(16, 0.5)).reshape(4, 4)
        corners = np.sort(random.integers(0, 5, (2, 2)), axis=0)
        if (corners[0] == corners[1]).any():
            continue
        (left, top), (right, bottom) = corners
        mask = np.zeros((32, 32), dtype=bool)
        mask[8 * top : 8 * bottom, 8 * left : 8 * right] = True
        pixels = np.kron(weights, np.ones((8, 8)))
        game = bool(mask[pixels == pixels.max()].any())
        mass = pixels[mask].sum() / pixels.sum()
        covered = box_coverage([(left / 4, top / 4, right / 4, bottom / 4)], (4, 4))
        assert pointing(weights, covered) == game
        assert mass_inside(weights, covered) == pytest.approx(mass)


def test_area_under_curve_by_hand():
    assert area_under_curve([2, 3], [1, 2]) == pytest.approx((1 + 0.5 + 1 + 1) / 4)
    assert area_under_curve([1], [0]) == 1 and area_under_curve([0], [1]) == 0


def test_rank_correlation_by_hand_and_with_ties():
    assert rank_correlation(np.array([1, 5, 3]), np.array([10, 30, 20])) == pytest.approx(1)
    assert rank_correlation(np.array([1, 2, 3]), np.array([3, 2, 1])) == pytest.approx(-1)
    # Ranks 0, 1.5, 1.5, 3 against 0, 1, 2, 3: covariance 4.5, variances 4.5 and 5.
    tied = rank_correlation(np.array([1, 2, 2, 3]), np.array([1, 2, 3, 4]))
    assert tied == pytest.approx(4.5 / np.sqrt(4.5 * 5))
    assert rank_correlation(np.ones(4), np.arange(4)) == 0
