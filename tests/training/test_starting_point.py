"""Starting from a bundle: its weights, its vocabulary, its encoder, and the learning rate asked for."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file, save_file

from seesay.assets import packaged_models
from seesay.bundle.format import open_bundle, write_manifest
from seesay.config import Recipe
from seesay.errors import BundleError, RecipeError
from seesay.export.load import load_captioner
from seesay.export.write import write_bundle
from seesay.models.build import build_decoder, build_encoder
from seesay.models.captioner import Captioner
from seesay.models.finetune import finetune
from seesay.models.frozen import frozen_part
from seesay.search import BeamOptions
from seesay.training.starting_point import load_starting_point
from seesay.training.train import train

QUIET = Console(quiet=True)


def starting(base: Recipe, init: Path | str | list[Path], **sections: dict) -> Recipe:
    values = base.to_dict()
    values["train"] |= {"init": [str(each) for each in (init if isinstance(init, list) else [init])]}
    for section, keys in sections.items():
        values[section] |= keys
    return Recipe.from_dict(values)


def test_without_init_there_is_nothing_to_open(tiny_recipe):
    assert load_starting_point(tiny_recipe) is None


def test_the_model_is_the_bundles_with_the_recipes_dropout(tiny_recipe, tiny_bundle):
    initial = load_starting_point(starting(tiny_recipe, tiny_bundle, decoder={"dropout": 0.125}))
    assert initial is not None
    bundle = open_bundle(tiny_bundle)
    captioner = load_captioner(bundle)
    for ours, theirs in ((initial.encoder, captioner.encoder), (initial.decoder, captioner.decoder)):
        assert ours.state_dict().keys() == theirs.state_dict().keys()
        assert all(torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in ours.state_dict().items())
    assert initial.tokenizer.to_json() == bundle.tokenizer.to_json()
    rates = {module.p for module in initial.decoder.modules() if isinstance(module, torch.nn.Dropout)}
    assert rates == {0.125}


def test_every_key_that_differs_is_listed(tiny_recipe, tiny_bundle):
    recipe = starting(
        tiny_recipe,
        tiny_bundle,
        decoder={"size": 17, "dropout": 0.3},
        tokens={"min_count": 2, "max_words": 9},
        images={"size": 64},
    )
    with pytest.raises(RecipeError) as error:
        load_starting_point(recipe)
    said = str(error.value).splitlines()
    assert "train.init=" in said[0]
    assert "the recipe describes another model" in said[0]
    assert said[1:] == [
        "  images.size: the bundle has 96, the recipe 64",
        "  tokens.max_words: the bundle has 12, the recipe 9",
        "  decoder.size: the bundle has 13, the recipe 17",
    ]


@torch.no_grad()
def test_finer_regions_are_added_to_a_model_without_and_change_nothing_at_first(tiny_recipe, tiny_bundle):
    finer = load_starting_point(starting(tiny_recipe, tiny_bundle, encoder={"finer": True}))
    initial = load_starting_point(starting(tiny_recipe, tiny_bundle))
    assert finer is not None
    assert initial is not None
    rows, cols = initial.decoder.grid
    assert finer.decoder.grid == (2 * rows, 2 * cols)
    images = torch.rand(2, 3, 96, 96) - 0.5
    tokens, lengths = torch.tensor([[[1, 5, 6]], [[1, 7, 4]]]), torch.tensor([[3], [3]])
    hidden = []
    for model in (initial, finer):
        memory = model.decoder.eval().prepare(model.encoder.eval()(images).regions)
        hidden.append(model.decoder(tokens, lengths, memory).hidden)
    torch.testing.assert_close(hidden[1], hidden[0], atol=1e-5, rtol=1e-4)


def test_finer_regions_are_not_taken_away(tiny_recipe, tiny_tokenizer, tiny_bundle, tmp_path):
    recipe = Recipe.from_dict(tiny_recipe.to_dict() | {"encoder": tiny_recipe.to_dict()["encoder"] | {"finer": True}})
    encoder = build_encoder(recipe)
    captioner = Captioner(encoder, build_decoder(recipe, encoder, len(tiny_tokenizer))).eval()
    folder = write_bundle(tmp_path / "bundle", recipe, captioner, tiny_tokenizer, BeamOptions(beam=2, max_words=5))
    assert load_starting_point(starting(recipe, folder)) is not None
    with pytest.raises(RecipeError, match=r"encoder\.finer: the bundle has true, the recipe false"):
        load_starting_point(starting(tiny_recipe, folder))
    with pytest.raises(RecipeError, match=r"differs from .* in encoder\.finer, so their weights cannot be averaged"):
        load_starting_point(starting(recipe, [folder, tiny_bundle]))


def test_saying_a_default_is_the_same_as_leaving_it_out(tiny_recipe, tiny_bundle):
    said = {"score": "additive", "heads": 1}
    assert load_starting_point(
        starting(tiny_recipe, tiny_bundle, attention=said, decoder={"design": "show_attend_tell"})
    )
    with pytest.raises(RecipeError, match=r"attention\.score: the bundle has additive, the recipe dot"):
        load_starting_point(starting(tiny_recipe, tiny_bundle, attention={"score": "dot"}))


def test_a_packaged_models_name_is_enough(tiny_recipe, tiny_bundle, monkeypatch):
    monkeypatch.setattr("seesay.bundle.names.packaged_models", lambda: {"small": tiny_bundle})
    assert load_starting_point(starting(tiny_recipe, "small"))
    with pytest.raises(BundleError, match=r"model smal: no such folder, nor a packaged model.*Did you mean 'small'"):
        load_starting_point(starting(tiny_recipe, "smal"))


def test_the_packaged_recipe_describes_the_packaged_model(monkeypatch):
    """`seesay train flickr8k-grounded train.init=NAME` is the command of the documentation."""
    from seesay.config import load_recipe

    monkeypatch.setattr("seesay.training.starting_point._encoder", lambda trained, captioner: captioner.encoder)
    name = next(iter(packaged_models()))
    assert load_starting_point(load_recipe("flickr8k-grounded", [f"train.init={name}"]))


@pytest.fixture
def two_bundles(tiny_recipe, tiny_captioner, tiny_tokenizer, tiny_bundle, no_graphs, tmp_path) -> list[Path]:
    """Bundles of one shape whose weights differ."""
    captioner = copy.deepcopy(tiny_captioner)
    with torch.no_grad():
        for number, parameter in enumerate(captioner.decoder.parameters()):
            parameter += 0.25 * (number % 3)
    other = write_bundle(tmp_path / "other", tiny_recipe, captioner, tiny_tokenizer, BeamOptions(beam=2))
    return [tiny_bundle, other]


def test_several_bundles_are_their_mean(tiny_recipe, two_bundles):
    initial = load_starting_point(starting(tiny_recipe, two_bundles))
    assert initial is not None
    first, second = (load_captioner(open_bundle(folder)).decoder.state_dict() for folder in two_bundles)
    differ = 0
    for name, tensor in initial.decoder.state_dict().items():
        torch.testing.assert_close(tensor, (first[name] + second[name]) / 2)
        differ += not torch.equal(first[name], second[name])
    assert differ > 3
    again = load_starting_point(starting(tiny_recipe, [two_bundles[0]] * 3))
    assert again is not None
    for name, tensor in again.decoder.state_dict().items():
        torch.testing.assert_close(tensor, first[name])


def test_bundles_with_other_words_have_no_mean(tiny_recipe, tiny_captioner, two_bundles, tmp_path):
    recipe = starting(tiny_recipe, two_bundles)
    stored = two_bundles[1] / "tokenizer.json"
    values = json.loads(stored.read_text())
    vocab = values["model"]["vocab"]
    vocab["unheard"] = vocab.pop(max(vocab, key=vocab.__getitem__))
    stored.write_text(json.dumps(values))
    write_manifest(two_bundles[1], tiny_captioner.encoder.grid)
    with pytest.raises(RecipeError, match=r"train\.init=.*other: has another vocabulary"):
        load_starting_point(recipe)


def test_each_of_several_bundles_must_be_the_recipes_model(tiny_recipe, tiny_captioner, two_bundles):
    stored = two_bundles[1] / "recipe.yaml"
    stored.write_text(stored.read_text().replace("size: 13", "size: 17"))
    write_manifest(two_bundles[1], tiny_captioner.encoder.grid)
    with pytest.raises(RecipeError, match=r"train\.init=.*other: the recipe describes another model") as error:
        load_starting_point(starting(tiny_recipe, two_bundles))
    assert "  decoder.size: the bundle has 17, the recipe 13" in str(error.value).splitlines()


ASKED: dict[str, Any] = {"teachers": ("flickr8k-coco",), "teacher_sentences": 2, "distillation": 1.0}


def test_no_epochs_score_and_write_what_the_run_starts_from(tiny_recipe, tiny_data, two_bundles, tmp_path, monkeypatch):
    """How the mean of several models becomes a bundle, and again with --resume; teachers would have nothing to do."""
    monkeypatch.setattr("seesay.training.train.open_teachers", lambda *_: pytest.fail("a teacher was opened"))
    recipe = starting(tiny_recipe, two_bundles, data={"path": [str(tiny_data)]})
    recipe = replace(recipe, out=str(tmp_path / "run"), train=replace(recipe.train, epochs=0, **ASKED))
    expected = load_starting_point(recipe)
    assert expected is not None
    for resume in (False, True):
        written = open_bundle(train(recipe, resume, console=QUIET))
        [_, row] = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
        assert row.startswith("0,0,0.0,")
        names = "`, `".join(folder.parent.name if folder.name == "bundle" else folder.name for folder in two_bundles)
        assert f"from the mean of `{names}`, taught by" in (written.folder / "README.md").read_text()
        for name, tensor in load_captioner(written).decoder.state_dict().items():
            torch.testing.assert_close(tensor, expected.decoder.state_dict()[name], atol=1e-4, rtol=1e-3)  # half


@pytest.fixture
def from_file(tiny_recipe, tiny_captioner, tiny_tokenizer, no_graphs, tmp_path) -> tuple[Recipe, Path]:
    """A recipe whose encoder's weights are a file, and the bundle (without graphs) of a run with it."""
    file = tmp_path / "weights.safetensors"
    save_file({k: t.contiguous() for k, t in tiny_captioner.encoder.backbone.state_dict().items()}, file)
    recipe = replace(tiny_recipe, encoder=replace(tiny_recipe.encoder, weights=str(file)))
    return recipe, write_bundle(tmp_path / "b", recipe, tiny_captioner, tiny_tokenizer, BeamOptions())


def test_a_frozen_encoders_original_weights_are_found_again(from_file, tiny_captioner):
    """Folded and rounded in the bundle, they would have other features to be cached."""
    recipe, bundle = from_file
    initial = load_starting_point(starting(recipe, bundle))
    assert initial is not None
    assert initial.encoder.digest() == tiny_captioner.encoder.digest()
    assert load_captioner(open_bundle(bundle)).encoder.digest() != tiny_captioner.encoder.digest()


@pytest.mark.parametrize("how", ["other weights now", "file gone"])
def test_where_they_are_not_found_the_bundles_own_are_taken(how, from_file):
    recipe, bundle = from_file
    file = Path(recipe.encoder.weights)
    if how == "file gone":
        file.unlink()
    else:
        state = load_file(file)
        state["conv_stem.weight"][0] *= 1.1
        save_file(state, file)
    initial = load_starting_point(starting(recipe, bundle))
    assert initial is not None
    assert initial.encoder.digest() == load_captioner(open_bundle(bundle)).encoder.digest()


def test_of_a_tuned_encoder_the_original_stem_is_found_again(from_file, tiny_captioner, tiny_tokenizer, tmp_path):
    """So that what was cached of it serves on; the stages that were trained are the bundle's."""
    recipe = replace(from_file[0], encoder=replace(from_file[0].encoder, finetune=1))
    tuned = copy.deepcopy(tiny_captioner)
    finetune(tuned.encoder, 1)
    with torch.no_grad():
        for parameter in tuned.encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    bundle = write_bundle(tmp_path / "tuned", recipe, tuned, tiny_tokenizer, BeamOptions())
    initial = load_starting_point(starting(recipe, bundle))
    assert initial is not None
    finetune(initial.encoder, 1)
    frozen_parts = [frozen_part(encoder) for encoder in (initial.encoder, tuned.encoder)]
    assert frozen_parts[0] is not None and frozen_parts[1] is not None
    assert frozen_parts[0].identity() == frozen_parts[1].identity()
    images = torch.rand(2, 3, tuned.encoder.transform.size, tuned.encoder.transform.size)
    with torch.no_grad():
        ours, theirs, untuned = (
            e.eval()(images).regions for e in (initial.encoder, tuned.encoder, tiny_captioner.encoder)
        )
    assert (ours - theirs).norm() < 0.01 * theirs.norm() < 0.1 * (ours - untuned).norm()


def test_a_run_from_a_bundle_obeys_its_own_rate_and_keeps_the_vocabulary(
    tiny_recipe, tiny_bundle, tiny_data, tmp_path, monkeypatch
):
    """Even at a rate of next to nothing the first epoch is as good as the bundle: its weights are what is trained."""
    kept = {}

    def keep(folder, recipe, captioner, tokenizer, *rest):
        kept.update(captioner=captioner, tokenizer=tokenizer)
        return folder

    monkeypatch.setattr("seesay.training.train.write_bundle", keep)
    base = replace(tiny_recipe, out=str(tmp_path / "run"), data=replace(tiny_recipe.data, path=(str(tiny_data),)))
    train(starting(base, tiny_bundle, train={"lr": 1e-7, "epochs": 2}), console=QUIET)
    saved = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert all(0 <= group["lr"] <= 1e-7 for group in saved["optimizer"]["param_groups"])
    assert all(int(state["step"]) == 6 for state in saved["optimizer"]["state"].values())
    bundle = open_bundle(tiny_bundle)
    assert kept["tokenizer"].to_json() == bundle.tokenizer.to_json()
    before, after = load_captioner(bundle).decoder.state_dict(), kept["captioner"].decoder.state_dict()
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, atol=1e-5, rtol=0)


def test_a_damaged_bundle_is_refused_before_the_data_is_read(tiny_recipe, tiny_bundle, tmp_path):
    shutil.copytree(tiny_bundle, tmp_path / "b")
    recipe = yaml.safe_load((tmp_path / "b" / "recipe.yaml").read_text())
    recipe["decoder"]["size"] = 19
    (tmp_path / "b" / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    run = starting(tiny_recipe, tmp_path / "b", data={"path": [str(tmp_path / "nowhere")]})
    run = replace(run, out=str(tmp_path / "run"))
    with pytest.raises(RecipeError, match=r"nowhere: no such folder\n.*train\.init=.*recipe\.yaml was changed"):
        train(run, console=QUIET)
    write_manifest(tmp_path / "b", (3, 3))
    with pytest.raises(RecipeError, match=r"decoder\.size: the bundle has 19, the recipe 13"):
        train(run, console=QUIET)
