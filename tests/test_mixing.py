"""Photos mixed with photos like them: each has the share in the reward that it has in what is seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from rich.console import Console
from test_self_critical import batch_of, objective_of

from seesay.config import Recipe
from seesay.data.features import PhotoFeatures
from seesay.data.tokens import CaptionTokenizer
from seesay.errors import RecipeError
from seesay.training.batches import CaptionBatches
from seesay.training.mixing import Mixing, most_alike
from seesay.training.train import train

CAPTIONS = [["a dog runs", "the dog runs fast"], ["a red ball", "the ball is red"], ["two cats play", "cats play"]]


def features_of(points: np.ndarray, views: int = 1) -> PhotoFeatures:
    """(N, D) mean regions -> two regions a photo with those means; further variants are of other photos altogether."""
    random = np.random.default_rng(0)
    aside = random.normal(size=points.shape)
    rows = np.stack([points + aside, points - aside], axis=1).astype(np.float16)
    place = np.random.default_rng(1).permutation(len(points))
    rows = rows[np.argsort(place)]
    if views == 1:
        return PhotoFeatures(rows, place, (1, 2), ())
    return PhotoFeatures(
        np.concatenate([rows, random.normal(size=rows.shape).astype(np.float16)]),
        np.stack([place, len(points) + place], axis=1),
        (1, 2),
        (),
    )


@pytest.mark.parametrize("views", [1, 2])
def test_photos_of_a_kind_are_the_most_alike(views):
    """Kinds lie in other directions; most of the spread is in one that says nothing of them."""
    random = np.random.default_rng(3)
    kind = random.integers(0, 7, 613)  # more than two groups of rows
    points = np.eye(23)[kind] + random.normal(0, 0.05, (613, 23))
    points[:, 22] += random.normal(0, 2, 613)
    alike = most_alike(features_of(points, views), 5)
    assert alike.shape == (613, 5)
    assert (alike != np.arange(613)[:, None]).all()
    assert all(len(set(found)) == 5 for found in alike.tolist())
    same = kind[alike] == kind[:, None]
    if views == 2:  # in the first epoch odd photos are seen in their second variant
        same = same[::2][alike[::2] % 2 == 0]
        assert len(same) > 300
    assert same.mean() > 0.95


def test_the_most_alike_comes_first():
    angle = np.array([0, 0.1, 0.3, 0.6, np.pi, np.pi + 0.15])
    alike = most_alike(features_of(np.stack([np.cos(angle), np.sin(angle)], axis=1)))
    assert alike.shape == (6, 5)
    assert alike[0, :3].tolist() == [1, 2, 3]
    assert alike[4, 0] == 5 and alike[5, 0] == 4


@pytest.mark.parametrize(("count", "found"), [(1, [[0]]), (2, [[1], [0]])])
def test_a_photo_with_few_or_no_others(count, found):
    assert most_alike(features_of(np.eye(2)[:count])).tolist() == found


def test_photos_that_all_look_the_same_are_mixed_with_one_another():
    alike = most_alike(features_of(np.ones((4, 3))))
    assert [sorted(found) for found in alike.tolist()] == [[j for j in range(4) if j != i] for i in range(4)]


def test_what_is_drawn_depends_on_seed_and_epoch_alone():
    alike = np.array([[(i + j) % 101 for j in range(1, 8)] for i in range(101)])
    photos = np.array([3, 97, 50])
    others, shares = Mixing(alike, 0.6, seed=5).draw(photos, 2)
    single = [Mixing(alike, 0.6, seed=5).draw(np.array([photo]), 2) for photo in photos]
    assert [int(other[0]) for other, _ in single] == others.tolist()
    assert [share[0] for _, share in single] == shares.tolist()
    everyone = np.arange(101)
    draws = [Mixing(alike, 0.6, seed).draw(everyone, epoch) for seed, epoch in ((5, 2), (5, 3), (6, 2))]
    for others, shares in draws:
        assert all(other in alike[photo] for photo, other in enumerate(others))
        assert 0 <= shares.min() < 0.05 < 0.55 < shares.max() <= 0.6
        assert shares.dtype == np.float32
    assert not np.array_equal(draws[0][1], draws[1][1]) and not np.array_equal(draws[0][1], draws[2][1])


def test_a_batch_has_the_regions_of_both():
    features = features_of(np.random.default_rng(0).normal(size=(7, 5)))
    captions = [[[10 + i, 11]] for i in range(7)]
    mixing = Mixing(np.array([[(i + 1) % 7] for i in range(7)]), 0.8, seed=1)
    plain, mixed = (CaptionBatches(features, captions, 3, 9, 0, mixing=each) for each in (None, mixing))
    photos = np.array([6, 2, 4])
    batch, alone, others = mixed.batch(photos, 3), plain.batch(photos, 3), plain.batch((photos + 1) % 7, 3)
    share = batch.shares[:, None, None]
    torch.testing.assert_close(batch.regions, (1 - share) * alone.regions + share * others.regions)
    assert batch.others.tolist() == [0, 3, 5]
    assert torch.equal(batch.targets, alone.targets) and torch.equal(batch.photos, alone.photos)
    assert alone.others.numel() == alone.shares.numel() == 0
    assert batch.to(torch.device("cpu")).others.tolist() == [0, 3, 5]


@pytest.mark.parametrize("baseline", ["greedy", "samples", "expected"])
def test_each_of_two_photos_has_its_share_in_the_reward(baseline):
    """Where the other has all of it, it is as if the caption were the other's; in between the gradient is too."""
    tokenizer = CaptionTokenizer.build((c for photo in CAPTIONS for c in photo), min_count=1)
    objective = objective_of(tokenizer, baseline=baseline, samples=4)
    batch = batch_of(tokenizer, [0, 1, 2])
    others = torch.tensor([1, 0, 0])

    def learnt(batch):
        objective.zero_grad()
        loss = objective(batch)
        loss.backward()
        return [loss.detach(), *(p.grad.clone() for p in objective.parameters() if p.grad is not None)]

    own, theirs = learnt(batch), learnt(batch._replace(photos=others))
    assert not torch.allclose(own[0], theirs[0])
    for share in (0.0, 0.3, 1.0):
        mixed = learnt(batch._replace(others=others, shares=torch.full((3,), share)))
        for each, one, other in zip(mixed, own, theirs, strict=True):
            torch.testing.assert_close(each, (1 - share) * one + share * other, rtol=1e-4, atol=1e-6)


def test_a_recipe_mixes_photos_whose_features_are_kept(tiny_recipe):
    values = tiny_recipe.to_dict()

    def refused(**changes) -> str:
        keys = {"mixing": 0.5, "objective": "self_critical", "init": "x"}
        changed = values | {"train": values["train"] | keys | changes.pop("train", {})}
        changed |= {part: values[part] | given for part, given in changes.items()}
        with pytest.raises(RecipeError) as raised:
            Recipe.from_dict(changed)
        return str(raised.value)

    assert "train.mixing=0.5: train.objective=self_critical mixes photos" in refused(
        train={"objective": "cross_entropy"}
    )
    assert "train.mixing with train.cross_entropy_weight" in refused(train={"cross_entropy_weight": 0.1})
    assert "train.mixing=0.5 mixes features that are kept" in refused(encoder={"finetune": "all"})
    assert "train.mixing=0.5 mixes features that are kept" in refused(images={"augment": True})
    assert "train.mixing=1.5: expected 0 to 1" in refused(train={"mixing": 1.5}).replace("0.0", "0").replace("1.0", "1")


def test_an_encoder_whose_features_cannot_be_kept_is_named(tiny_recipe, tiny_data, tiny_bundle, tmp_path):
    """As many stages as it has, but given as a number: only the model tells that nothing is left to keep."""
    values = tiny_recipe.to_dict() | {"out": str(tmp_path / "run"), "data": {"path": [str(tiny_data)]}}
    values["train"] |= {"objective": "self_critical", "init": str(tiny_bundle), "mixing": 0.5}
    values["encoder"] |= {"finetune": 5}
    with pytest.raises(RecipeError, match=r"train\.mixing=0\.5 mixes features that are kept, and with .*finetune=5"):
        train(Recipe.from_dict(values), console=Console(quiet=True))
