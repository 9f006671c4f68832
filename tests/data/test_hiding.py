"""Parts of a photo that are hidden: which, where, and by what."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from seesay.data.hiding import FILLS, hide, moved, top_regions

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (53, 67, 3), dtype=np.uint8))
CORNER = np.zeros((3, 5), dtype=bool)
CORNER[0, 0] = True


@pytest.mark.parametrize("fill", FILLS)
def test_only_the_hidden_regions_change(fill):
    before, after = np.asarray(PHOTO), np.asarray(hide(PHOTO, CORNER, fill))
    changed = (before != after).any(axis=-1)
    assert changed[:17, :13].mean() > 0.9, "53 / 3 rows and 67 / 5 columns"
    assert not changed[18:].any() and not changed[:, 14:].any()
    assert np.array_equal(before, np.asarray(hide(PHOTO, CORNER & False, fill)))


def test_the_mean_is_the_photos_own():
    after = np.asarray(hide(PHOTO, CORNER, "mean"), dtype=float)
    np.testing.assert_allclose(after[5, 5], np.asarray(PHOTO, dtype=float).mean(axis=(0, 1)), atol=0.5)


def test_blur_leaves_no_detail():
    assert np.asarray(hide(PHOTO, np.ones_like(CORNER), "blur"), dtype=float).std() < 0.3 * np.asarray(PHOTO).std()


def test_road_carries_colours_from_the_edge_inwards():
    """A hole in a photo that goes from black to white, left to right, is filled by a slope, with a little noise."""
    slope = np.tile(np.linspace(0, 255, 90)[None, :, None], (60, 1, 3)).astype(np.uint8)
    hole = np.zeros((6, 9), dtype=bool)
    hole[2:4, 3:6] = True
    filled = np.asarray(hide(Image.fromarray(slope), hole, "road"), dtype=float)
    inside = filled[22:38, 32:58].mean(axis=(0, 2))
    assert abs(inside - slope[0, 32:58, 0]).max() < 15
    assert 1 < filled[22:38, 45].std() < 12, "noise hides where it was filled"
    again = np.asarray(hide(Image.fromarray(slope), hole, "road"))
    assert np.array_equal(filled.astype(np.uint8), again), "the same seed, the same noise"


def test_road_where_nothing_is_left():
    assert np.asarray(hide(PHOTO, np.ones((3, 5), dtype=bool), "road")).shape == (53, 67, 3)


def test_top_regions_by_hand():
    weights = np.array([[0.1, 0.4], [0.3, 0.2]])
    assert top_regions(weights, 0.5).tolist() == [[False, True], [True, False]]
    assert top_regions(weights, 0.01).sum() == 1, "at least one"
    assert top_regions(np.ones((3, 5)), 0.25).sum() == 4


def test_a_moved_shape_has_as_many_regions_elsewhere():
    random, shape = np.random.default_rng(1), np.zeros((5, 7), dtype=bool)
    shape[1:3, 2:5] = True
    places = {tuple(np.flatnonzero(moved(shape, random))) for _ in range(40)}
    assert {len(place) for place in places} == {6} and len(places) > 15
