"""Fine-tuning and augmentation: what moves and what must not, and both ways of reading photos give one answer."""

from __future__ import annotations

import copy
import io
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import stopped_at
from PIL import Image
from rich.console import Console
from test_training import QUIET, last_state

from seesay.config import Recipe
from seesay.data.augment import Augmentation, may_be_mirrored
from seesay.data.feature_cache import PhotoFeatures
from seesay.data.records import CaptionRecord
from seesay.data.splits import part_of
from seesay.errors import DataError, RecipeError
from seesay.models.captioner import Captioner
from seesay.models.embedding import WordEmbedding
from seesay.models.encoder_weights import load_encoder
from seesay.models.finetune import finetune
from seesay.models.frozen import FrozenPart, frozen_part, module_chain
from seesay.models.show_attend_tell import ShowAttendTell
from seesay.training.inputs.batches import CaptionBatches
from seesay.training.inputs.features import cached_features, encode_on, feature_cache
from seesay.training.inputs.photos import PhotoFiles, encode_views, readable_photos
from seesay.training.learning_rate import learning_rate
from seesay.training.loop import Trainer
from seesay.training.objectives.cross_entropy import CrossEntropy
from seesay.training.objectives.with_encoder import WithEncoder
from seesay.training.preflight import preflight
from seesay.training.train import train

ENCODER = "test_resnet"  # 0.5 M weights, with batch norms
CAPTIONS = [[[4, 5, 6], [7, 8]], [[9]], [[5, 4]], [[6, 6, 6, 6]], [[7]], [[8, 9, 4]], [[4]]]


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training without its last part: the graphs take seconds to export."""
    monkeypatch.setattr("seesay.training.train.write_bundle", lambda folder, *rest: folder)


@pytest.fixture
def recipe(tiny_recipe: Recipe, tiny_data: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """A recipe on the tiny data: keys of `train`, and whole sections by their name."""

    def make(
        out: str = "run", encoder: dict | None = None, augment: bool = False, views: int | None = None, **train_keys
    ) -> Recipe:
        values = tiny_recipe.to_dict() | {"out": str(tmp_path / out), "data": {"path": [str(tiny_data)]}}
        values["images"] = {"size": 64, "augment": augment, "views": views}
        values["encoder"] |= {"name": ENCODER, **(encoder or {})}
        values["train"] |= train_keys
        return Recipe.from_dict(values)

    return make


@pytest.fixture
def records(tiny_photos: list[Path]) -> list[CaptionRecord]:
    return [CaptionRecord(p.stem, p, (f"A photo number {i} .",), "train") for i, p in enumerate(tiny_photos)]


def with_encoder(which: str | int, train_norms: bool = False) -> WithEncoder:
    torch.manual_seed(0)
    encoder = load_encoder(ENCODER, "none", 64)
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # timm's are born with zeros that no gradient gets past
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    finetune(encoder, which)  # pyright: ignore[reportArgumentType]
    return WithEncoder(
        encoder,
        CrossEntropy(
            ShowAttendTell(WordEmbedding(11, 7), encoder.depth, encoder.grid, size=13, attention_size=5, dropout=0.0)
        ),
        train_norms=train_norms,
    )


# two ways to one answer


def test_cached_features_and_photos_give_the_same_loss(records):
    objective = with_encoder("none")
    features = cached_features(FrozenPart(objective.encoder), [record.image for record in records])
    cached = CaptionBatches(features, CAPTIONS, 3, 9, seed=2)
    read = CaptionBatches(PhotoFiles(records, objective.encoder.transform), CAPTIONS, 3, 9, seed=2)
    with torch.no_grad():
        objective.objective.train()
        losses = [[float(objective.objective(batch)) for batch in cached.epoch(1)]]
        objective.train()
        losses.append([float(objective(batch)) for batch in read.epoch(1)])
    assert len(losses[0]) == 3
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)  # features are kept in half precision
    assert max(losses[0]) - min(losses[0]) > 0.01


@pytest.mark.parametrize("start", [0, 1, 2, 3])
def test_an_epoch_of_photos_goes_on_where_it_stopped(records, start):
    files = PhotoFiles(records, load_encoder(ENCODER, "none", 64).transform, Augmentation(), seed=5)
    batches = CaptionBatches(files, CAPTIONS, 3, 9, seed=2)
    whole, rest = list(batches.epoch(4)), list(batches.epoch(4, start))
    assert len(rest) == len(whole) - start
    for ours, theirs in zip(rest, whole[start:], strict=True):
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


def test_photos_lie_beside_their_own_captions(records):
    files = PhotoFiles(records, load_encoder(ENCODER, "none", 64).transform)
    batches = CaptionBatches(files, [[[10 + i]] for i in range(7)], 3, 9, seed=2)
    for batch in batches.epoch(0):
        for image, targets in zip(batch[0], batch.targets, strict=True):
            assert np.array_equal(image.numpy(), files.image(int(targets[0, 0]) - 10))


def test_who_stops_in_the_middle_leaves_no_threads(records):
    before = threading.active_count()
    reading = PhotoFiles(records, load_encoder(ENCODER, "none", 64).transform).read([np.arange(2)] * 50)
    next(reading)
    assert threading.active_count() > before
    reading.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert threading.active_count() == before


# what is cached: the features of the frozen part


@pytest.mark.parametrize(
    ("name", "layer"),
    [("test_resnet", None), ("test_resnet", "layer2"), ("test_efficientnet", None), ("resnet18", -2), ("vgg11", -1)],
)
def test_a_chain_makes_the_grid(name, layer):
    encoder = load_encoder(name, "none", 64, layer).eval()
    images = torch.rand(2, 3, 64, 64)
    maps = torch.nn.Sequential(*module_chain(encoder))(images)
    assert torch.allclose(maps.flatten(2).transpose(1, 2), encoder(images).regions, atol=1e-5)


@pytest.mark.parametrize("which", ["none", 1, 2])
def test_stem_and_rest_are_the_encoder(which):
    encoder = with_encoder(which).encoder
    frozen = frozen_part(encoder)
    assert frozen is not None
    images = torch.rand(3, 3, 64, 64)
    seen = frozen(images)
    assert seen.shape == (3, frozen.grid[0] * frozen.grid[1], frozen.depth)
    assert torch.allclose(frozen.run_trained_part(seen), encoder(images).regions, atol=1e-5)
    assert not any(p.requires_grad for p in (frozen.frozen if which != "none" else encoder).parameters())


def test_no_stem_where_the_first_weights_are_trained_or_the_model_is_no_chain():
    assert frozen_part(with_encoder("all").encoder) is None
    transformer = load_encoder("test_vit", "none", 64)
    assert module_chain(transformer.eval()) == []
    finetune(transformer, 1)
    assert frozen_part(transformer) is None
    finetune(transformer, "none")
    assert frozen_part(transformer) is not None


def test_stems_that_differ_have_caches_of_their_own():
    names = set()
    for which in ("none", 1, 2):
        frozen = frozen_part(with_encoder(which).encoder)
        assert frozen is not None
        names.add(feature_cache(frozen).folder)
    assert len(names) == 3


def test_a_kept_stem_and_photos_give_the_same_loss_and_gradient(records):
    losses, gradients = [], []
    for kept in (True, False):
        objective = with_encoder("last")
        frozen = frozen_part(objective.encoder)
        assert frozen is not None
        features = PhotoFiles(records, objective.encoder.transform)
        if kept:
            objective = WithEncoder(objective.encoder, objective.objective, frozen)
            features = cached_features(frozen, [record.image for record in records])
        batches = CaptionBatches(features, CAPTIONS, 3, 9, seed=2)
        losses.append([objective.train()(batch) for batch in batches.epoch(1)])
        losses[-1][0].backward()
        gradients.append({n: p.grad for n, p in objective.named_parameters() if p.grad is not None})
    assert [loss.item() for loss in losses[0]] == pytest.approx([loss.item() for loss in losses[1]], rel=1e-3)
    assert gradients[0].keys() == gradients[1].keys() > {"encoder.backbone.layer3.0.conv1.weight"}
    for name, gradient in gradients[1].items():  # half precision may put a value on the other side of a relu
        assert float((gradients[0][name] - gradient).norm()) < 0.05 * float(gradient.norm()), name


def test_onnx_runtime_and_torch_encode_alike(records):
    frozen = frozen_part(with_encoder(1).encoder)
    assert frozen is not None
    images = np.stack([frozen.encoder.transform(record.image) for record in records])
    one, other = (encode_on(frozen, torch.device("cpu"), many)(images) for many in (True, False))
    assert one.shape == other.shape == (7, frozen.grid[0] * frozen.grid[1], frozen.depth)
    assert np.abs(one - other).max() < 1e-4 * np.abs(other).max()


# what moves


@pytest.mark.parametrize("which", ["none", 1, "last", "all"])
def test_only_what_is_trained_moves_and_no_statistic_does(records, which):
    objective = with_encoder(which)
    objective.train()
    before = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
    trained = [p for p in objective.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    batches = CaptionBatches(PhotoFiles(records, objective.encoder.transform), CAPTIONS, 4, 9, seed=0)
    for batch in batches.epoch(0):
        objective(batch).backward()
    ours = dict(objective.named_parameters())
    assert {n for n, p in ours.items() if p.grad is not None} == {n for n, p in ours.items() if p.requires_grad}
    optimizer.step()
    moved = {name for name, tensor in objective.state_dict().items() if not torch.equal(tensor, before[name])}
    stages = {"none": (), 1: ("layer4",), "last": ("layer3", "layer4"), "all": ("",)}[which]
    wanted = {n for n in ours if n.startswith(tuple(f"encoder.backbone.{stage}" for stage in stages))}
    assert {name for name in moved if name.startswith("encoder.")} == wanted
    assert not any("running" in name or "num_batches" in name for name in moved)
    assert any(name.startswith("objective.decoder.") for name in moved)


def test_norms_of_an_encoder_that_starts_from_random_weights_follow_the_photos(records):
    objective = with_encoder("all", train_norms=True).train()
    norms = [module for module in objective.encoder.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert all(norm.training for norm in norms)
    batches = CaptionBatches(PhotoFiles(records, objective.encoder.transform), CAPTIONS, 6, 9, seed=0)
    for batch in batches.epoch(0):
        before = [int(norm.num_batches_tracked or 0) for norm in norms]
        objective(batch).backward()
        moved = [int(norm.num_batches_tracked or 0) > count for norm, count in zip(norms, before, strict=True)]
        assert moved == [len(batch[0]) > 1] * len(norms), "one photo alone has no statistics"
    objective.train(False)
    assert not any(module.training for module in objective.encoder.modules())


def test_a_run_from_random_weights_trains_and_averages_statistics(no_export, recipe, tmp_path, monkeypatch):
    """What is validated and kept are the averaged statistics, those of the averaged weights."""
    whole = {"finetune": "all", "weights": "none"}
    kept = []
    validate = Trainer._validate

    def noted(self: Trainer) -> None:
        validate(self)
        kept.append({name: average.clone() for name, average in self.averaged.items()})

    monkeypatch.setattr(Trainer, "_validate", noted)
    train(recipe(encoder=whole, epochs=1, ema=0.9), console=QUIET)
    names = [name for name in kept[0] if name.endswith("running_var")]
    assert len(names) > 3
    best = torch.load(tmp_path / "run" / "best.ckpt", weights_only=True)
    last = last_state(tmp_path / "run")
    for name in names:
        assert torch.equal(best[name], kept[0][name])
        assert not torch.equal(best[name], last["model"][name])
        assert torch.equal(last["averaged"][name], kept[0][name])


@pytest.mark.parametrize("keys", [{"finetune": "last"}, {"finetune": "all", "weights": "FILE"}])
def test_norms_of_other_encoders_keep_their_statistics(keys, no_export, recipe, tmp_path):
    if keys.get("weights") == "FILE":
        torch.save(load_encoder(ENCODER, "none", 64).backbone.state_dict(), tmp_path / "weights.pt")
        keys = keys | {"weights": str(tmp_path / "weights.pt")}
    train(recipe(encoder=keys, max_steps=2), console=QUIET)
    assert not any("running" in name for name in last_state(tmp_path / "run")["averaged"])


def test_training_mode_reaches_the_decoder_and_not_the_encoder():
    objective = with_encoder("all").train()
    assert objective.objective.training
    assert not any(module.training for module in objective.encoder.modules())
    assert not any(module.training for module in objective.eval().modules())


def test_the_encoder_has_its_own_rate_of_the_same_shape(recipe):
    some = recipe(encoder={"lr": 0.004}, lr=0.1)
    for step in (0, 1, 5, 9):
        assert learning_rate(some, step, 10, encoder=True) == pytest.approx(0.04 * learning_rate(some, step, 10))


def test_rates_reach_the_weights_they_are_meant_for(recipe, no_export, monkeypatch):
    seen, step = [], Trainer._step

    def watched(self, batch):
        loss = step(self, batch)
        names = {id(p): name for name, p in self.raw.named_parameters()}
        seen.append({names[id(p)]: group["lr"] for group in self.optimizer.param_groups for p in group["params"]})
        return loss

    monkeypatch.setattr(Trainer, "_step", watched)
    train(recipe(encoder={"finetune": 1, "lr": 0.004}, lr=0.1, max_steps=2, warmup=0.0), console=QUIET)
    assert seen[0]["objective.decoder.regions.value.weight"] == pytest.approx(0.1)
    encoder = {name: rate for name, rate in seen[0].items() if name.startswith("encoder.")}
    assert encoder
    assert all(name.startswith("encoder.backbone.layer4") for name in encoder)
    assert [*encoder.values()] == pytest.approx([0.004] * len(encoder))


# whole runs


def test_a_resumed_run_equals_a_straight_one_with_everything_on(recipe, no_export):
    keys = {"encoder": {"finetune": "all", "lr": 0.01}, "augment": True, "epochs": 3, "ema": 0.9, "lr": 0.01}
    straight, stopped = recipe("straight", **keys), recipe("stopped", **keys)
    train(straight, console=QUIET)
    with stopped_at(4), pytest.raises(KeyboardInterrupt):  # inside the second epoch of three batches
        train(stopped, console=QUIET)
    train(stopped, resume=True, console=QUIET)
    one, other = (last_state(Path(r.folder)) for r in (straight, stopped))
    assert other["state"]["step"] == one["state"]["step"] == 9
    for part in ("model", "averaged"):
        assert any(name.startswith("encoder.") for name in one[part])
        for name, tensor in one[part].items():
            assert torch.equal(tensor, other[part][name]), f"{part} {name}"
    best = [torch.load(Path(r.folder) / "best.ckpt", weights_only=True) for r in (straight, stopped)]
    assert all(torch.equal(tensor, best[1][name]) for name, tensor in best[0].items())


def test_what_is_bundled_and_scored_is_the_best_tuned_encoder(recipe, monkeypatch):
    kept = {}

    def instead(folder, recipe, captioner, tokenizer, search, score):
        kept.update(captioner=captioner, seen=score(captioner), blind=score(_blinded(captioner)))
        return folder

    monkeypatch.setattr("seesay.training.train.write_bundle", instead)
    monkeypatch.setattr(
        "seesay.training.validate.score_captions", lambda said, *_: SimpleNamespace(to_dict=lambda: said)
    )
    made = recipe(encoder={"finetune": "last", "lr": 0.05, "layer": "layer3"}, epochs=4, lr=0.03)
    train(made, console=QUIET)
    best = torch.load(Path(made.folder) / "best.ckpt", weights_only=True)
    for name, tensor in kept["captioner"].encoder.state_dict().items():
        assert torch.equal(tensor, best[f"encoder.{name}"]), name
    assert best.keys() > {"encoder.backbone.layer3.0.conv1.weight", "objective.decoder.regions.value.weight"}
    assert len(kept["seen"]["dev"].keys() - {"chosen_by"}) == 5
    assert kept["blind"] != kept["seen"], "the dev photos were not read by the captioner that is scored"


def _blinded(captioner: Captioner) -> Captioner:
    """The same with an encoder that sees nothing but extremes."""
    blind = copy.deepcopy(captioner)
    with torch.no_grad():
        for parameter in blind.encoder.parameters():
            parameter.mul_(-3)
    return blind


def test_augmentation_alone_trains_the_decoder_alone(recipe, no_export):
    made = recipe(augment=True, epochs=1)
    train(made, console=QUIET)
    saved = last_state(Path(made.folder))
    assert not any(name.startswith("encoder.") for name in saved["averaged"])
    assert any(name.startswith("objective.decoder.") for name in saved["averaged"])


def test_a_broken_photo_is_left_out_before_training(records, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no photo")
    many = [*records] * 2
    said = Console(record=True, width=200, file=io.StringIO())
    splits = [[CaptionRecord("x", broken, ("A photo .",), "train"), *many], records[:2]]
    training, dev = readable_photos(splits, said)
    assert (training, dev) == (many, records[:2])
    assert said.export_text().count("broken.jpg: photo left out") == 1
    with pytest.raises(DataError, match="1 of 2 photos cannot be read, more than a tenth"):
        readable_photos([[splits[0][0]], records[:1]], said)


# views: variants that are kept


def test_views_are_what_the_first_epochs_would_see_and_are_taken_in_turn(recipe, records):
    made, frozen = recipe(augment=True, views=3), frozen_part(with_encoder("none").encoder)
    assert frozen is not None
    seen = encode_views(frozen, records, made, torch.device("cpu"), QUIET)
    assert isinstance(seen.features, PhotoFeatures)
    files = PhotoFiles(records, frozen.encoder.transform, Augmentation(), made.seed)
    encode = encode_on(frozen, torch.device("cpu"), many=False)
    for epoch in range(5):
        found = seen.features.take(np.arange(7), epoch)
        wanted = encode(np.stack([files.image(photo, (photo + epoch) % 3) for photo in range(7)]))
        assert np.allclose(found, wanted, rtol=2e-3, atol=2e-3)
    assert not np.allclose(seen.features.take(np.arange(7), 0), seen.features.take(np.arange(7), 1), atol=1e-2)


def test_a_photo_that_is_broken_in_all_its_views_is_said_once(recipe, records, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no photo")
    frozen, said = frozen_part(with_encoder("none").encoder), Console(record=True, width=200, file=io.StringIO())
    assert frozen is not None
    many = [CaptionRecord("x", broken, ("A photo .",), "train"), *records, *records]
    seen = encode_views(frozen, many, recipe(augment=True, views=2), torch.device("cpu"), said)
    assert seen.records == many[1:]
    assert isinstance(seen.features, PhotoFeatures)
    assert seen.features.row_numbers.shape == (14, 2)
    assert said.export_text().count("broken.jpg") == 1


def test_a_run_on_views_with_a_stem_resumes_as_a_straight_one(recipe, no_export):
    keys = {"encoder": {"finetune": 1, "lr": 0.01}, "augment": True, "views": 2, "epochs": 3, "ema": 0.9, "lr": 0.01}
    straight, stopped = recipe("straight", **keys), recipe("stopped", **keys)
    train(straight, console=QUIET)
    with stopped_at(4), pytest.raises(KeyboardInterrupt):
        train(stopped, console=QUIET)
    train(stopped, resume=True, console=QUIET)
    one, other = (last_state(Path(r.folder)) for r in (straight, stopped))
    assert other["state"]["step"] == one["state"]["step"] == 9
    for name, tensor in one["averaged"].items():
        assert torch.equal(tensor, other["averaged"][name]), name
    trained = {name.split(".")[2] for name in one["averaged"] if name.startswith("encoder.")}
    assert trained == {"layer4"}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"views": 2}, "images.views=2: caches augmented variants of photos, but images.augment=false"),
        (
            {"views": 2, "augment": True, "encoder": {"finetune": "all"}},
            "images.views=2: caches features of the frozen part",
        ),
    ],
)
def test_views_that_cannot_be(recipe, keys, said):
    with pytest.raises(RecipeError, match=said):
        recipe(**keys)


def test_words_seen_need_an_encoder_that_learns(recipe):
    with pytest.raises(RecipeError, match=r"train\.words_seen=0\.5: only affects the encoder, but enc"):
        recipe(words_seen=0.5, encoder={"finetune": "none"})


def test_views_of_a_model_that_cannot_be_cut_are_refused_before_data_is_read(recipe):
    made = recipe(augment=True, views=2, encoder={"name": "test_vit", "finetune": 1})
    with pytest.raises(RecipeError, match="no features of test_vit can be cached"):
        preflight(made)


# augmentation


def photo_of(width: int = 61, height: int = 43) -> Image.Image:
    """Red grows from left to right, green from top to bottom."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(20, 220, width)
    pixels[..., 1] = np.linspace(20, 220, height)[:, None]
    pixels[..., 2] = 90
    return Image.fromarray(pixels)


def test_variants_depend_on_seed_epoch_and_name_alone(records, tmp_path):
    transform = load_encoder(ENCODER, "none", 64).transform
    other = replace(records[0], image=shutil.copy(records[0].image, tmp_path / "other.png"))

    def variant(seed: int, epoch: int, record: CaptionRecord, before: Sequence[CaptionRecord] = ()) -> bytes:
        files = PhotoFiles([*before, record], transform, Augmentation(), seed)
        return files.image(len(before), epoch).tobytes()

    assert variant(0, 0, records[0]) == variant(0, 0, records[0], before=records[1:3])
    seen = [(0, 0, records[0]), (1, 0, records[0]), (0, 1, records[0]), (0, 0, other)]
    assert len({variant(*place) for place in seen}) == 4


def test_a_part_of_the_photos_is_encoded_already(recipe, records):
    frozen, said = frozen_part(with_encoder("none").encoder), Console(record=True, width=200, file=io.StringIO())
    assert frozen is not None
    made, cpu = recipe(augment=True, views=2), torch.device("cpu")
    whole = encode_views(frozen, records, made, cpu, QUIET).features
    part = encode_views(frozen, part_of(records, 2, 3), made, cpu, said).features
    assert isinstance(whole, PhotoFeatures)
    assert isinstance(part, PhotoFeatures)
    assert np.array_equal(part.rows[part.row_numbers], whole.rows[whole.row_numbers[[1, 4]]])
    assert "encoding" not in said.export_text()


def test_boxes_stay_inside_and_keep_most_of_the_photo():
    random, augmentation = np.random.default_rng(0), Augmentation()
    areas, stretches = [], []
    for _ in range(400):
        left, top, right, bottom = augmentation._box((610, 430), random)
        assert 0 <= left < right <= 610
        assert 0 <= top < bottom <= 430
        areas.append((right - left) * (bottom - top) / (610 * 430))
        stretches.append(((right - left) / 610) / ((bottom - top) / 430))
    assert 0.6 < min(areas) < 0.72
    assert max(areas) > 0.95
    assert 0.79 < min(stretches) < 0.85
    assert 1.18 < max(stretches) < 1.26
    assert augmentation._box((1, 1), random) == (0, 0, 1, 1)


def test_half_of_the_variants_are_mirrored_where_they_may_be():
    random = np.random.default_rng(0)

    def rises(mirror: bool) -> bool:
        pixels = np.asarray(Augmentation()(photo_of(), random, mirror)).astype(int)
        return bool(pixels[20, -1, 0] > pixels[20, 0, 0])

    assert 60 < sum(rises(True) for _ in range(200)) < 140
    assert all(rises(False) for _ in range(50))


def test_colours_change_mildly_and_without_colour_and_crop_nothing_does():
    photo, random = photo_of(), np.random.default_rng(3)
    same = Augmentation(area=1.0, aspect=1.0, colour=0.0)(photo, random, mirror=False)
    assert np.array_equal(np.asarray(same), np.asarray(photo))
    other = np.asarray(Augmentation(area=1.0, aspect=1.0)(photo, random, mirror=False)).astype(int)
    change = np.abs(other - np.asarray(photo)).mean()
    assert 0.5 < change < 60


@pytest.mark.parametrize(
    ("captions", "allowed"),
    [
        (("A dog runs .", "A man sits on the right ."), False),
        (("LEFT of the tree",), False),
        (("a left-handed player",), False),
        (("A brightly lit street", "an upright piano"), True),
    ],
)
def test_captions_that_tell_sides_forbid_the_mirror(captions, allowed):
    assert may_be_mirrored(captions) is allowed


def test_the_photo_of_such_captions_is_never_mirrored(tmp_path):
    photo_of().save(tmp_path / "sides.png")
    transform = load_encoder(ENCODER, "none", 64).transform
    rises = {}
    for caption in ("A man on the right .", "A man ."):
        record = CaptionRecord("sides", tmp_path / "sides.png", (caption,), "train")
        files = PhotoFiles([record], transform, Augmentation())
        images = [files.image(0, epoch) for epoch in range(20)]
        rises[caption] = [bool(image[0, 30, -1] > image[0, 30, 0]) for image in images]
    assert all(rises["A man on the right ."])
    assert set(rises["A man ."]) == {True, False}
