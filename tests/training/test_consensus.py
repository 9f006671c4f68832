"""Captions weighted by what the photo's others say."""

from __future__ import annotations

import numpy as np
import pytest

from seesay.metrics import CiderD
from seesay.training.inputs.consensus import caption_weights

CAPTIONS = [
    [[4, 5, 6, 7], [4, 5, 6, 8], [9, 10, 11]],  # the first two agree, the third says something else
    [[9, 12, 13, 14]],
    [[4, 15], [16, 17]],
    [],
    [[18, 19, 20, 21], [18, 19, 20, 21]],
]


def test_weights_by_hand():
    weights = caption_weights(CAPTIONS, 0.8)
    scores = [
        CiderD(
            [[caption for j, caption in enumerate(CAPTIONS[0]) if j != k]],
            corpus=[photo for photo in CAPTIONS if photo],
        ).score([CAPTIONS[0][k]])
        for k in range(3)
    ]
    scores = np.concatenate(scores)
    np.testing.assert_allclose(weights[0], 0.2 + 0.8 * scores / scores.mean(), rtol=1e-6)
    assert weights[0][0] == weights[0][1] > 1 > weights[0][2] == pytest.approx(0.2)


def test_where_nothing_is_agreed_on_all_captions_count_the_same():
    weights = caption_weights(CAPTIONS, 1.0)
    assert [found.tolist() for found in weights[1:]] == [[1], [1, 1], [], [1, 1]]
    assert all(found.mean() == pytest.approx(1) for found in weights if len(found))
    assert all((found == 1).all() for found in caption_weights(CAPTIONS, 0.0))
