"""Batches: an order that depends on seed and epoch alone, every photo once, padding that stands for nothing."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch

from seesay.data.feature_cache import PhotoFeatures
from seesay.data.tokens import BOS, EOS, PAD, UNK
from seesay.training.inputs.batches import POOL_BATCHES, CaptionBatch, CaptionBatches, prefetch


def features_of(count: int, unreadable: tuple[int, ...] = ()) -> PhotoFeatures:
    """The features of photo i are i everywhere; unreadable photos have no row."""
    place = np.full(count, -1)
    readable = [i for i in range(count) if i not in unreadable]
    place[readable] = np.arange(len(readable))[::-1]
    rows = np.zeros((len(readable), 2, 3), np.float16)
    rows[place[readable]] = np.array(readable, np.float16)[:, None, None]
    return PhotoFeatures(rows, place, (1, 2), ())


def batches_of(count: int, batch_size: int = 4, seed: int = 0, unreadable: tuple[int, ...] = ()) -> CaptionBatches:
    random = np.random.default_rng(count)
    captions = [
        [random.integers(4, 50, random.integers(1, 12)).tolist() for _ in range(random.integers(1, 6))]
        for _ in range(count)
    ]
    return CaptionBatches(features_of(count, unreadable), captions, batch_size, 10, seed)


def orders(batches: CaptionBatches, epoch: int) -> list[list[int]]:
    return [photos.tolist() for photos in batches.order(epoch)]


def test_a_batch_by_hand():
    captions = [[[10, 11], [12, 13, 14]], [[20]], [[30, 31], [UNK, 33], []]]
    batch = CaptionBatches(features_of(3), captions, 3, 9, 0).batch(np.array([2, 0, 1]))
    assert batch.targets.tolist() == [
        [[30, 31, EOS, PAD], [UNK, 33, EOS, PAD], [EOS, PAD, PAD, PAD]],
        [[12, 13, 14, EOS], [10, 11, EOS, PAD], [PAD] * 4],
        [[20, EOS, PAD, PAD], [PAD] * 4, [PAD] * 4],
    ]
    assert batch.lengths.tolist() == [[3, 3, 1], [4, 3, 0], [2, 0, 0]]
    assert batch.inputs.tolist()[1] == [[BOS, 12, 13, 14], [BOS, 10, 11, EOS], [BOS, PAD, PAD, PAD]]
    assert batch.regions.dtype == torch.float32
    assert batch.regions[:, 0, 0].tolist() == [2, 0, 1]


def test_captions_carry_their_weights_in_the_order_that_they_come_in():
    captions = [[[10, 11], [12, 13, 14], [12, 13, 15, 16]], [[20]]]
    plain, weighted = (CaptionBatches(features_of(2), captions, 2, 9, 0, share) for share in (0.0, 1.0))
    assert plain.batch(np.array([0, 1])).weights.numel() == 0
    batch = weighted.batch(np.array([1, 0]))
    assert batch.weights.tolist()[0] == [1, 0, 0]
    longest, middle, shortest = batch.weights[1].tolist()
    assert longest > 0 and middle > 0 and shortest == 0  # it shares the end with them, which all captions have
    assert longest + middle == pytest.approx(3)
    assert batch.to(torch.device("cpu")).weights.tolist() == batch.weights.tolist()


def test_a_cut_caption_has_no_end():
    captions = [[[5, 6, 7], [5, 6, 7, 8], [5, 6, 7, 8, 9]]]
    batch = CaptionBatches(features_of(1), captions, 1, 3, 0).batch(np.array([0]))
    assert batch.targets.tolist() == [[[5, 6, 7, EOS], [5, 6, 7, PAD], [5, 6, 7, PAD]]]
    assert batch.lengths.tolist() == [[4, 3, 3]]


@pytest.mark.parametrize(("count", "batch_size"), [(1, 4), (4, 4), (23, 4), (POOL_BATCHES * 3 + 5, 3)])
@pytest.mark.parametrize("epoch", [0, 5])
def test_every_photo_once_an_epoch(count, batch_size, epoch):
    batches = batches_of(count, batch_size)
    found = orders(batches, epoch)
    assert sorted(chain(*found)) == list(range(count))
    assert len(found) == len(batches) == len(list(batches.epoch(epoch)))
    sizes = sorted(map(len, found))
    assert sizes[1:] == [batch_size] * (len(found) - 1)


def test_unreadable_photos_are_left_out():
    batches = batches_of(23, unreadable=(0, 7, 22))
    found = orders(batches, 0)
    assert sorted(chain(*found)) == [i for i in range(23) if i not in (0, 7, 22)]
    assert len(batches) == 5
    for photos, batch in zip(found, batches.epoch(0), strict=True):
        assert isinstance(batch, CaptionBatch)
        assert batch.regions[:, 1, 2].tolist() == photos, "features of another photo"


def test_the_order_depends_on_seed_and_epoch_alone():
    first = orders(batches_of(60), 3)
    torch.manual_seed(9)  # other generators must not matter
    batches = batches_of(60)
    list(batches.epoch(1))
    assert orders(batches, 3) == first
    assert orders(batches, 2) != first
    assert orders(batches_of(60, seed=1), 3) != first


@pytest.mark.parametrize("start", [0, 1, 4, 6])
def test_an_epoch_goes_on_where_it_stopped(start):
    batches = batches_of(23)
    whole, rest = list(batches.epoch(2)), list(batches.epoch(2, start))
    assert len(rest) == len(whole) - start
    for ours, theirs in zip(rest, whole[start:], strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert torch.equal(one, other)


def test_photos_of_one_batch_are_alike_in_length_and_batches_come_in_any_order():
    batches = batches_of(POOL_BATCHES * 8, batch_size=8)
    work = [[sum(map(len, batches.captions[p])) for p in photos] for photos in orders(batches, 0)]
    within = np.mean([np.std(batch) for batch in work])
    assert within < 0.3 * np.std([*chain(*work)])
    means = [np.mean(batch) for batch in work]
    assert means != sorted(means)


def test_captions_of_a_photo_come_longest_first():
    for batch in batches_of(23).epoch(0):
        assert bool((batch.lengths[:, 1:] <= batch.lengths[:, :-1]).all())
        real = torch.arange(batch.targets.shape[2]) < batch.lengths[..., None]
        assert bool(((batch.targets != PAD) == real).all())
        assert batch.targets.shape[2] == int(batch.lengths.max())


def test_to_a_device_keeps_everything():
    batch = next(batches_of(5).epoch(0))
    moved = batch.to(torch.device("cpu"))
    assert type(moved) is type(batch)
    assert all(torch.equal(one, other) for one, other in zip(batch, moved, strict=True))


def test_batches_are_made_one_ahead_in_their_order():
    made: list[int] = []

    def making():
        for number in range(5):
            made.append(number)
            yield number

    given = []
    for number in prefetch(making()):
        given.append(number)
        assert len(made) <= number + 3
    assert given == made == [0, 1, 2, 3, 4]


def test_what_goes_wrong_in_making_a_batch_is_said_where_it_was_wanted():
    def making():
        yield 1
        raise ValueError("torn")

    batches = prefetch(making())
    assert next(batches) == 1
    with pytest.raises(ValueError, match="torn"):
        next(batches)
