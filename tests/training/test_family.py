"""Every part that a recipe can name trains, and leaves a bundle that captions; torch and ONNX Runtime agree on it."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ONE_LAYER, SHARED, needs_shared, stopped_at
from rich.console import Console
from safetensors.torch import load_file

from seesay.bundle.format import Bundle, open_bundle
from seesay.caption import Caption
from seesay.config import Recipe, find_recipe, load_recipe, packaged_recipes
from seesay.config.recipe import contradictions
from seesay.export.load import load_captioner
from seesay.runtime import CaptionModel
from seesay.search import Hypothesis
from seesay.training.generate import generate
from seesay.training.train import train

QUIET = Console(quiet=True)

VARIANTS: dict[str, dict[str, Any]] = {
    "rnn": {"decoder.kind": "rnn"},
    "gru, two layers": {"decoder.kind": "gru", "decoder.layers": 2},
    "dot": {"attention.score": "dot", "attention.heads": 2},
    "scaled dot, its own output words": {"attention.score": "scaled_dot", "embedding.tied": False},
    "hard": {"attention.kind": "hard"},
    "hard up-down gru": {"attention.kind": "hard", "decoder.design": "up_down", "decoder.kind": "gru"},
    "adaptive": {"decoder.design": "adaptive"},
    "up-down": {"decoder.design": "up_down"},
    "transformer": {"decoder.kind": "transformer", "decoder.layers": 2},
    "region self-attention": {"encoder.self_attention": 1},
}
TABLE: dict[str, list[str]] = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "family.py"))["VARIANTS"]
BEST = ("flickr8k-best", "flickr30k-best", "coco-best")
PAPERS = ("show-attend-tell-soft", "show-attend-tell-hard", "adaptive", "up-down-grid", "transformer")


def changed(recipe: Recipe, data: Path, out: Path, changes: dict[str, Any]) -> Recipe:
    """The recipe on this data, for two steps, with the changes given."""
    values = recipe.to_dict()
    everything = {"out": str(out), "data.path": [str(data)], "train.max_steps": 2, "train.batch_size": 3, **changes}
    for key, value in everything.items():
        section, _, name = key.rpartition(".")
        (values[section] if section else values)[name] = value
    return Recipe.from_dict(values)


def on_torch(bundle: Bundle, photos: list[Path]) -> list[Hypothesis]:
    """The best sentence for each photo, by the weights of a bundle."""
    captioner, images = load_captioner(bundle), np.stack([bundle.transform(photo) for photo in photos])
    with torch.inference_mode():
        memory = captioner.prepare(torch.from_numpy(images))
    return [found[0] for found in generate(captioner.decoder, memory, bundle.search)]


def check_weights(folder: Path, photos: list[Path]) -> None:
    """Torch captions with it."""
    bundle = open_bundle(folder)
    for found in on_torch(bundle, photos):
        assert np.isfinite(found.score)  # after two steps a sentence may well end before its first word
        np.testing.assert_allclose(found.attention.sum(1), 1.0, atol=1e-4)


def check_bundle(folder: Path, photos: list[Path]) -> None:
    """It captions on ONNX Runtime what torch captions."""
    bundle = open_bundle(folder)
    model, expected = CaptionModel(bundle, precision="float32"), on_torch(bundle, photos)
    captions = [caption for caption in model.caption_many(photos) if isinstance(caption, Caption)]
    for ours, theirs in zip(captions, expected, strict=True):
        assert ours.text == bundle.tokenizer.decode(theirs.tokens)
        assert ours.score == pytest.approx(theirs.score, abs=1e-3)
        spans = bundle.tokenizer.words(theirs.tokens)
        for word, span in zip(ours.words, spans, strict=True):
            looked = theirs.attention[span.start : span.stop].mean(0).reshape(bundle.grid)
            np.testing.assert_allclose(word.attention, looked, atol=1e-4)
            assert word.attention.sum() == pytest.approx(1.0, abs=1e-4)
    single = model.caption(photos[0])
    assert (single.text, single.score) == (captions[0].text, pytest.approx(captions[0].score, abs=1e-3))


@pytest.mark.parametrize("changes", list(VARIANTS.values()), ids=list(VARIANTS))
def test_variant(changes, tiny_recipe, tiny_data, tiny_photos, tmp_path):
    sizes = {"decoder.size": 26, "attention.size": 14, "search.beam": 2, "images.size": 32}
    sizes |= {f"encoder.{key}": value for key, value in ONE_LAYER.items()}
    recipe = changed(tiny_recipe, tiny_data, tmp_path / "run", sizes | changes)
    check_bundle(train(recipe, console=QUIET), tiny_photos[:3])


@pytest.mark.parametrize("how", ["hard attention", "scheduled sampling", "self-critical", "hidden words", "teachers"])
def test_a_resumed_run_equals_a_straight_one(how, tiny_recipe, tiny_data, tiny_bundle, tmp_path, monkeypatch):
    """Draws of regions, words and sentences depend on seed and step alone, and REINFORCE's baseline is saved."""
    monkeypatch.setattr("seesay.training.train.write_bundle", lambda folder, *rest: folder)
    changes: dict[str, Any] = {
        "hard attention": {"attention.kind": "hard"},
        "scheduled sampling": {"train.scheduled_sampling": 0.5},
        "teachers": {"train.teachers": [str(tiny_bundle)], "train.init": str(tiny_bundle), "train.distillation": 0.7},
        "hidden words": {"train.word_dropout": 0.4, "train.words_seen": 0.7, "encoder.finetune": 1},
        "self-critical": {
            "train.objective": "self_critical",
            "train.init": str(tiny_bundle),
            "train.sentences": "drawn",
            "train.baseline": "samples",
            "train.samples": 3,
        },
    }[how]
    changes |= {"train.max_steps": 7, "train.ema": 0.9, "train.lr": 0.01}
    straight, stopped = (changed(tiny_recipe, tiny_data, tmp_path / name, changes) for name in ("straight", "stopped"))
    train(straight, console=QUIET)
    with stopped_at(5), pytest.raises(KeyboardInterrupt):  # inside the second epoch of four batches
        train(stopped, console=QUIET)
    train(stopped, resume=True, console=QUIET)
    one, other = (torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("straight", "stopped"))
    assert one["state"]["step"] == other["state"]["step"] == 7
    assert one["model"].keys() == other["model"].keys()
    for part in ("model", "averaged"):
        for name, tensor in one[part].items():
            assert torch.equal(tensor, other[part][name]), (part, name)


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize("name", ["hard", "bpe"])  # the others differ in less
def test_row_of_the_family_table_on_real_photos(name, tmp_path):
    """The command of docs/family.md, two steps on sixteen photos."""
    keys = [*TABLE[name], "train.max_steps=2", "data.limit=16", "train.batch_size=8", "tokens.min_count=1"]
    data = SHARED / "flickr8k"
    recipe = load_recipe("flickr8k", [f"data.path={data}", *keys, f"out={tmp_path / 'run'}", "train.precision=32-true"])
    photos = sorted((data / "Images").iterdir())[:3]
    check_bundle(train(recipe, console=QUIET), photos)


SMALL = {
    "images.size": 64,
    "data.splits": "auto",
    "encoder.name": "test_efficientnet",
    "encoder.layer": None,
    "encoder.weights": "none",
    "embedding.size": 22,
    "decoder.size": 32,
    "attention.size": 14,
    "tokens.min_count": 1,
    "train.precision": "32-true",
}


@pytest.fixture(params=["weights", pytest.param("graphs", marks=pytest.mark.slow)])
def check(request: pytest.FixtureRequest) -> Callable[[Path, list[Path]], None]:
    """Bundles by what torch makes of them; with graphs, which are slow to export, by ONNX Runtime too."""
    if request.param == "graphs":
        return check_bundle
    request.getfixturevalue("no_graphs")
    return check_weights


@pytest.mark.parametrize("name", [*PAPERS, *BEST])
def test_recipe_trains(name, check, tiny_data, tiny_photos, tmp_path):
    """Everything as in the recipe, but for a tiny encoder and smaller widths."""
    recipe = changed(load_recipe(name), tiny_data, tmp_path / "run", SMALL)
    check(train(recipe, console=QUIET), tiny_photos[:3])


def test_the_packaged_model_can_be_made_again(check, tiny_data, tiny_photos, tmp_path):
    """Its three commands (docs/training.md): cross-entropy, its own sentences by two seeds, the mean of the two."""
    best = train(changed(load_recipe("flickr8k-best"), tiny_data, tmp_path / "best", SMALL), console=QUIET)
    tuned = []
    for seed in (1, 2):
        recipe = replace(load_recipe("flickr8k-critical"), seed=seed)
        changes = SMALL | {"train.init": [str(best)], "train.lr": 0.01}
        tuned.append(train(changed(recipe, tiny_data, tmp_path / str(seed), changes), console=QUIET))
    changes = SMALL | {"train.init": [str(folder) for folder in tuned], "train.epochs": 0}
    mean = train(changed(load_recipe("flickr8k-critical"), tiny_data, tmp_path / "mean", changes), console=QUIET)
    check(mean, tiny_photos[:3])
    first, second, both = (load_file(folder / "weights.safetensors") for folder in (*tuned, mean))
    name = max(first, key=lambda name: (first[name].float() - second[name].float()).abs().max())
    assert (first[name].float() - second[name].float()).abs().max() > 1e-3
    middle = (first[name].float() + second[name].float()) / 2
    torch.testing.assert_close(both[name].float(), middle, atol=1e-3, rtol=1e-2)  # half precision


def test_every_paper_of_the_package_is_tested():
    data_sets = {"flickr8k", "flickr30k", "shapes", "flickr8k-critical", "flickr8k-grounded", *BEST}
    data_sets |= {"coco-1gpu", "coco-8gpu"}  # coco-best for GPUs
    assert len(PAPERS) == 5
    assert set(packaged_recipes()) == data_sets | set(PAPERS)
    for name in packaged_recipes():
        text = find_recipe(name).read_text(encoding="utf-8")
        assert contradictions(load_recipe(name)) == []
        if name in PAPERS:
            assert "https://arxiv.org/abs/" in text
            assert "# Differs:" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"attention.heads": 3}, "attention.heads=3: does not divide decoder.size=512"),
        ({"attention.heads": 128, "attention.size": 96}, "attention.heads=128: does not divide attention.size=96"),
        (
            {"attention.kind": "hard", "attention.heads": 2},
            "attention.heads=2: attention.kind=hard chooses a single region",
        ),
        (
            {"attention.kind": "hard", "decoder.kind": "transformer"},
            "attention.kind=hard: is not implemented for decoder.kind=tr",
        ),
        (
            {"attention.score": "dot", "decoder.kind": "transformer"},
            "attention.score=dot: decoder.kind=transformer always uses",
        ),
        (
            {"decoder.design": "up_down", "decoder.kind": "transformer"},
            "decoder.design=up_down: is a design of recurrent",
        ),
        (
            {"decoder.design": "adaptive", "decoder.kind": "gru"},
            "decoder.design=adaptive: needs the cell state of an LSTM",
        ),
        ({"decoder.design": "adaptive", "attention.heads": 2}, "attention.heads=2: decoder.design=adaptive compares"),
        ({"decoder.design": "up_down", "decoder.layers": 2}, "decoder.layers=2: decoder.design=up_down has a fixed"),
        ({"tokens.kind": "bpe", "embedding.kind": "glove"}, "embedding.kind=glove: has vectors of words"),
        (
            {"tokens.kind": "bpe", "embedding.kind": "word2vec", "embedding.path": "v.txt"},
            "embedding.path=v.txt: has vectors of words",
        ),
        ({"embedding.path": "v.txt"}, "embedding.path=v.txt: is not read with embedding.kind=learned"),
        ({"embedding.train": False}, "embedding.train=false: random word vectors (embedding.kind=learned)"),
        ({"train.objective": "self_critical"}, "train.objective=self_critical: needs a trained model to start from"),
        (
            {"train.objective": "self_critical", "train.init": "x", "train.scheduled_sampling": 0.2},
            "train.scheduled_sampling=0.2: does not affect train.objective=self_critical",
        ),
        (
            {"train.objective": "self_critical", "train.init": "x", "attention.kind": "hard"},
            "attention.kind=hard: cannot be combined with train.objective=self_critical",
        ),
    ],
)
def test_contradictions(changes: dict[str, Any], said: str) -> None:
    values: dict[str, Any] = {}
    for key, value in changes.items():
        section, _, name = key.partition(".")
        values.setdefault(section, {})[name] = value
    recipe = Recipe.from_dict({key: {} for key in values})
    assert contradictions(recipe) == []
    with pytest.raises(Exception, match="the recipe cannot be used") as caught:
        Recipe.from_dict(values)
    (line,) = str(caught.value).splitlines()[1:]
    assert line.strip().startswith(said)
