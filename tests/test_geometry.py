"""Boxes on a grid and in a crop, against pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seesay.geometry import WHOLE, box_coverage, crop_box, region_box, resampled, union_area

GRIDS = [(3, 5), (7, 2), (1, 1), (8, 8)]


def test_coverage_by_hand():
    """Two boxes that overlap: the union counts once."""
    covered = box_coverage([(0, 0, 0.5, 0.25), (0.25, 0, 0.6, 0.3)], (2, 3))
    # Region (0, 0) spans x 0..1/3, y 0..1/2. The first box fills y 0..0.25 of all of it; the second
    # adds y 0.25..0.3 for x 0.25..1/3.
    expected = (1 / 3 * 0.25 + (1 / 3 - 0.25) * 0.05) / (1 / 3 * 1 / 2)
    assert covered[0, 0] == pytest.approx(expected)
    assert covered[0, 2] == covered[1].sum() == 0


@pytest.mark.parametrize("grid", GRIDS)
def test_coverage_is_that_of_pixels(grid):
    """A mask of 840 x 840 pixels, into which every grid here divides, and boxes on its pixels."""
    side = 840
    random = np.random.default_rng(3)
    for count in (0, 1, 2, 5):
        corners = np.sort(random.integers(0, side + 1, (count, 2, 2)), axis=1).reshape(count, 4)
        mask = np.zeros((side, side))
        for left, top, right, bottom in corners:
            mask[top:bottom, left:right] = 1
        rows, cols = grid
        regions = mask.reshape(rows, side // rows, cols, side // cols).mean(axis=(1, 3))
        boxes = [tuple(box) for box in (corners / side).tolist()]
        np.testing.assert_allclose(box_coverage(boxes, grid), regions, atol=1e-9)
        assert union_area(boxes) == pytest.approx(mask.mean())


@pytest.mark.parametrize("grid", GRIDS)
def test_a_region_covers_itself_and_no_other(grid):
    for row in range(grid[0]):
        for col in range(grid[1]):
            covered = box_coverage([region_box(row, col, grid, (1, 1))], grid)
            expected = np.zeros(grid)
            expected[row, col] = 1
            np.testing.assert_allclose(covered, expected, atol=1e-9)


def test_what_lies_outside_is_ignored():
    assert union_area([(-3, -1, 0.5, 2)]) == pytest.approx(0.5)
    assert union_area([(1.2, 0, 1.5, 1)]) == 0
    assert union_area([]) == 0


def test_a_box_in_a_crop_by_hand():
    crop = (0.5, 0.25, 1.0, 0.75)
    assert crop_box((0.5, 0.25, 1.0, 0.75), crop) == WHOLE
    assert crop_box((0.75, 0.0, 2.0, 0.5), crop) == (0.5, 0.0, 1.0, 0.5)
    assert crop_box((0.0, 0.0, 0.5, 1.0), crop) is None, "beside it"
    assert crop_box((0.75, 0.0, 2.0, 0.5), (1.0, 0.25, 0.5, 0.75)) == (0.0, 0.0, 0.5, 0.5), "mirrored"


box = st.tuples(*[st.floats(0, 1)] * 4).map(
    lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]) + 0.01, max(b[1], b[3]) + 0.01)
)


@settings(max_examples=50, deadline=None)
@given(box, box)
def test_a_mirrored_crop_mirrors_what_it_shows(thing, crop):
    left, top, right, bottom = crop
    plain, mirrored = crop_box(thing, crop), crop_box(thing, (right, top, left, bottom))
    assert (plain is None) == (mirrored is None)
    if plain and mirrored:
        expected = (1 - plain[2], plain[1], 1 - plain[0], plain[3])
        np.testing.assert_allclose(mirrored, expected, atol=1e-9)


def test_a_map_on_another_grid_by_hand():
    """Three columns onto two: the middle one is halved."""
    np.testing.assert_allclose(resampled(np.array([[1.0, 2.0, 4.0]]), (1, 2)), [[2.0, 5.0]])
    blocks = np.arange(12.0).reshape(2, 6)
    np.testing.assert_allclose(resampled(blocks, (1, 3)), [[14.0, 22.0, 30.0]])
    seventh = np.full((7, 7), 1 / 49)
    np.testing.assert_array_equal(resampled(seventh, (7, 7)), seventh)


def test_a_map_keeps_its_sum_on_any_grid():
    weights = np.random.default_rng(0).random((14, 11))
    assert resampled(weights, (8, 5)).sum() == pytest.approx(weights.sum())
