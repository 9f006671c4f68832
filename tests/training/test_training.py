"""Training: it learns, it can be killed at any step and go on as if never interrupted, and it obeys its recipe."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import ONE_LAYER
from rich.console import Console
from torch import nn

from seesay.bundle.format import open_bundle
from seesay.caption import Caption
from seesay.cli import main
from seesay.config import Recipe
from seesay.data.readers import read_dataset
from seesay.data.records import BoxedObject
from seesay.data.tokens import join_words
from seesay.errors import DataError, RecipeError, SeesayError
from seesay.export.load import load_captioner
from seesay.runtime import CaptionModel
from seesay.training.generate import generate
from seesay.training.learning_rate import learning_rate
from seesay.training.loop import Trainer, TrainState
from seesay.training.run_folder import RunFolder
from seesay.training.train import train, training_part

QUIET = Console(quiet=True)


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training without its last part, the bundle, which test_bundle.py looks at."""
    monkeypatch.setattr("seesay.training.train.write_bundle", lambda folder, *rest: folder)


def recipe_for(base: Recipe, data: Path, out: Path, **train_keys) -> Recipe:
    """The tiny recipe on this data and folder."""
    values = base.to_dict()
    values |= {"out": str(out), "data": {"path": [str(data)]}}
    values["train"] |= train_keys
    return Recipe.from_dict(values)


def last_state(folder: Path) -> dict:
    return torch.load(folder / "last.ckpt", map_location="cpu", weights_only=True)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("no_graphs")
def test_training_learns_and_leaves_a_bundle(tiny_recipe, tiny_data, tmp_path):
    recipe = recipe_for(tiny_recipe, tiny_data, tmp_path / "run", epochs=25, lr=0.02, ema=0.9)
    folder = train(recipe, console=QUIET)
    rows = rows_of(tmp_path / "run")
    assert [int(row["epoch"]) for row in rows] == list(range(1, 26))
    assert float(rows[-1]["loss"]) < 0.7 * float(rows[0]["loss"])
    bundle = open_bundle(folder)
    assert bundle.recipe == recipe.to_dict()
    # the bundle holds the best epoch's weights, not the last one's: its score is the best one logged
    assert (
        bundle.scores["dev"]["cider"] == pytest.approx(max(float(row["cider"]) for row in rows), abs=0.02)
        or bundle.scores["dev"]["comparable"]
    )


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_a_run_that_was_stopped_ends_with_the_same_weights(how, no_export, tiny_recipe, tiny_data, tmp_path, capsys):
    keys = {"epochs": 12, "save_minutes": 0.0, "ema": 0.9, "lr": 0.01}
    straight = recipe_for(tiny_recipe, tiny_data, tmp_path / "straight", **keys)
    train(straight, console=QUIET)

    stopped = recipe_for(tiny_recipe, tiny_data, tmp_path / "stopped", **keys)
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(stopped.to_dict()))
    if how == signal.SIGKILL:
        kill_at_step(4, file, tmp_path / "stopped")
    else:
        assert train_until_signal(how, 4, file) == 130
        said = capsys.readouterr().err
        assert "--resume" in said
        assert "Traceback" not in said
    reached = last_state(tmp_path / "stopped")["state"]["step"]
    assert 4 <= reached < 36, "the run was to be stopped on its way"

    train(stopped, resume=True, console=QUIET)
    one, other = last_state(tmp_path / "straight"), last_state(tmp_path / "stopped")
    assert other["state"]["step"] == one["state"]["step"] == 36
    for part in ("model", "averaged"):
        for name, tensor in one[part].items():
            assert torch.equal(tensor, other[part][name]), f"{part} {name}"
    without_time = [
        [{k: v for k, v in r.items() if k != "seconds"} for r in s["state"]["history"]] for s in (one, other)
    ]
    assert without_time[0] == without_time[1]
    best = [torch.load(tmp_path / name / "best.ckpt", weights_only=True) for name in ("straight", "stopped")]
    assert all(torch.equal(tensor, best[1][name]) for name, tensor in best[0].items())


def kill_at_step(step: int, file: Path, folder: Path) -> None:
    """`seesay train FILE` in a process of its own, killed once a checkpoint of that step is there."""
    command, pipe = [sys.executable, "-m", "seesay", "train", str(file)], subprocess.PIPE
    with subprocess.Popen(command, stderr=pipe, stdout=pipe, text=True) as process:
        wait_for_step(folder, process, at_least=step)
        process.kill()


def train_until_signal(number: int, step: int, file: Path) -> int:
    """The exit code of `seesay train FILE`, run in this process, which gets the signal after that step."""
    average = Trainer._average

    def then_stop(self: Trainer) -> None:
        average(self)
        if self.state.step == step:
            signal.raise_signal(number)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(Trainer, "_average", then_stop)
        patch.setattr(sys, "argv", ["seesay", "train", str(file)])
        main()
    return int(ended.value.code or 0)


def wait_for_step(folder: Path, process: subprocess.Popen, at_least: int) -> None:
    """Until a checkpoint of that step is there; fails with the run's own words if it ends before."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (folder / "last.ckpt").exists() and last_state(folder)["state"]["step"] >= at_least:
            return
        if process.poll() is not None:
            pytest.fail(f"the run ended by itself: {process.communicate()[1]}")
        time.sleep(0.02)
    process.kill()
    pytest.fail("no checkpoint within two minutes")


def test_resume_where_nothing_was_saved_starts_afresh(no_export, tiny_recipe, tiny_data, tmp_path):
    recipe = recipe_for(tiny_recipe, tiny_data, tmp_path / "run", epochs=1)
    train(recipe, resume=True, console=QUIET)
    assert len(rows_of(tmp_path / "run")) == 1


def test_a_run_is_not_overwritten_by_mistake(no_export, tiny_recipe, tiny_data, tmp_path):
    recipe = recipe_for(tiny_recipe, tiny_data, tmp_path / "run", epochs=1)
    train(recipe, console=QUIET)
    with pytest.raises(RecipeError, match=r"holds a run already: add --resume .*out=FOLDER"):
        train(recipe, console=QUIET)


def test_a_run_resumed_with_another_recipe_is_refused_by_key(no_export, tiny_recipe, tiny_data, tmp_path):
    recipe = recipe_for(tiny_recipe, tiny_data, tmp_path / "run", epochs=1)
    train(recipe, console=QUIET)
    other = replace(recipe, decoder=replace(recipe.decoder, size=17), seed=99)
    with pytest.raises(RecipeError) as error:
        RunFolder(other, resume=True)
    assert "decoder.size: was 13, now 17" in str(error.value)
    assert "seed: was 3, now 99" in str(error.value)


def test_a_run_goes_on_with_the_captions_that_it_began_with_only(no_export, tiny_recipe, tiny_data, tmp_path):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    keys = {"data": data, "out": tmp_path / "run"}
    train(recipe_for(tiny_recipe, **keys, epochs=1), console=QUIET)
    captions = data / "captions.txt"
    before = captions.read_text()
    captions.write_text(before.replace("dog", "wolf"))
    assert captions.read_text() != before
    with pytest.raises(RecipeError, match=r"run was trained with other data: the training captions and the"):
        train(recipe_for(tiny_recipe, **keys, epochs=2), resume=True, console=QUIET)
    kept = tmp_path / "run" / "data.json"
    digests = kept.read_bytes()
    kept.unlink()  # early runs have none
    with pytest.raises(RecipeError, match=r"vocabulary\.json: is not the vocabulary of these captions, so they are o"):
        train(recipe_for(tiny_recipe, **keys, epochs=2), resume=True, console=QUIET)
    kept.write_bytes(digests)
    captions.write_text(before)
    saved = last_state(tmp_path / "run")
    saved["per_epoch"] = 977
    torch.save(saved, tmp_path / "run" / "last.ckpt")
    with pytest.raises(RecipeError, match=r"an epoch had 977 steps, now it has 3, so the training photos are others"):
        train(recipe_for(tiny_recipe, **keys, epochs=2), resume=True, console=QUIET)


@pytest.mark.parametrize("key", ["path", "boxes", "splits"])
def test_a_run_resumes_where_its_data_lie_now(key, tiny_recipe, tmp_path):
    """That they are the same data is what data.json is for."""
    value = "elsewhere" if key == "splits" else ("elsewhere",)
    recipe = replace(tiny_recipe, out=str(tmp_path))
    RunFolder(recipe, resume=False).save_last({})
    RunFolder(replace(recipe, data=replace(recipe.data, **{key: value})), resume=True)


@pytest.mark.parametrize("objective", ["cross_entropy", "self_critical"])
def test_what_sentences_are_learnt_from_does_not_change_on_the_way(objective, tiny_recipe, tmp_path):
    critical = {"objective": objective, "init": ("x",)}
    recipe = replace(tiny_recipe, out=str(tmp_path), train=replace(tiny_recipe.train, **critical))
    RunFolder(recipe, resume=False).save_last({})
    other = replace(recipe, search=replace(recipe.search, block_words=not recipe.search.block_words))
    if objective == "cross_entropy":
        RunFolder(other, resume=True)
        return
    with pytest.raises(RecipeError, match=r"search\.block_words: was False, now True"):
        RunFolder(other, resume=True)


def test_a_resumed_run_obeys_the_rate_asked_for_now(no_export, tiny_recipe, tiny_data, tmp_path):
    folder = tmp_path / "run"
    train(recipe_for(tiny_recipe, tiny_data, folder, epochs=1, lr=0.01), console=QUIET)
    train(recipe_for(tiny_recipe, tiny_data, folder, epochs=2, lr=1e-5), resume=True, console=QUIET)
    rates = [float(row["lr"]) for row in rows_of(folder)]
    assert rates[1] < 1e-5 < rates[0]
    saved = last_state(folder)["optimizer"]["param_groups"]
    assert all(group["lr"] <= 1e-5 for group in saved)


def test_max_steps_ends_inside_an_epoch_and_still_validates(no_export, tiny_recipe, tiny_data, tmp_path):
    train(recipe_for(tiny_recipe, tiny_data, tmp_path / "run", max_steps=2), console=QUIET)
    rows = rows_of(tmp_path / "run")
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "2")]


def test_patience_ends_a_run_that_no_longer_improves(no_export, tiny_recipe, tiny_data, tmp_path):
    train(recipe_for(tiny_recipe, tiny_data, tmp_path / "run", epochs=30, lr=0.0, patience=2), console=QUIET)
    assert len(rows_of(tmp_path / "run")) == 3  # a rate of 0 cannot improve: the first epoch is the best


def test_a_missing_dev_split_is_said_before_training(tiny_recipe, tiny_data, tmp_path):
    ids = tmp_path / "ids"
    ids.mkdir()
    names = (tiny_data / "train.txt").read_text() + (tiny_data / "dev.txt").read_text()
    (ids / "train.txt").write_text(names)
    recipe = recipe_for(tiny_recipe, tiny_data, tmp_path / "run")
    recipe = replace(recipe, data=replace(recipe.data, splits=str(ids)))
    with pytest.raises(DataError, match=r"no photo in dev; give data\.splits=0\.8/0\.1/0\.1"):
        train(recipe, console=QUIET)


def test_data_path_is_asked_for(tiny_recipe, tmp_path):
    recipe = replace(tiny_recipe, out=str(tmp_path / "run"))
    with pytest.raises(RecipeError, match=r"data\.path is not set"):
        train(recipe, console=QUIET)


def test_learning_rate_warms_up_then_falls_to_nothing(tiny_recipe):
    recipe = replace(tiny_recipe, train=replace(tiny_recipe.train, lr=1.0, warmup=0.2))
    rates = [learning_rate(recipe, step, 10) for step in range(11)]
    # two steps of warm-up, then half a cosine over the other eight
    expected = [0.5, 1.0, 1.0, 0.96194, 0.85355, 0.69134, 0.5, 0.30866, 0.14645, 0.03806, 0.0]
    assert rates == pytest.approx(expected, abs=1e-5)


def test_averaged_weights_follow_their_equation(tiny_recipe, tmp_path):
    """avg <- avg + (1 - d) (w - avg), with d = min(ema, step / (step + 10))."""
    trainer = Trainer.__new__(Trainer)
    trainer.recipe = replace(tiny_recipe, train=replace(tiny_recipe.train, ema=0.5))
    trainer.raw = nn.Linear(1, 1, bias=False)
    trainer.averaged = {"weight": torch.zeros(1, 1)}
    trainer.state = TrainState(step=1)
    with torch.no_grad():
        trainer.raw.weight.fill_(11.0)
    trainer._average()
    assert trainer.averaged["weight"].item() == pytest.approx(10.0)  # d = 1 / 11
    trainer.state.step = 90
    trainer._average()
    assert trainer.averaged["weight"].item() == pytest.approx(10.5)  # d = 0.5


@pytest.mark.slow
def test_two_devices_share_the_work_and_agree(tiny_recipe, tiny_data, tmp_path):
    """Two processes on the CPU: one run's folder, one bundle, and weights that learned from both halves."""
    recipe = recipe_for(tiny_recipe, tiny_data, tmp_path / "run", epochs=2, devices=2)
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe.to_yaml())
    done = subprocess.run(
        [sys.executable, "-m", "seesay", "train", str(file)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert len(rows_of(tmp_path / "run")) == 2
    assert open_bundle(tmp_path / "run" / "bundle").name == "tiny"
    assert done.stderr.count("epoch 2/2") == 1


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_two_devices_stop_together(how, tiny_recipe, tiny_data, tmp_path):
    """The signal reaches one of the processes only, which must not leave the other waiting for it."""
    recipe = recipe_for(tiny_recipe, tiny_data, tmp_path / "run", epochs=200, devices=2, save_minutes=0.0)
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe.to_yaml())
    command = [sys.executable, "-m", "seesay", "train", str(file)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    wait_for_step(tmp_path / "run", process, at_least=4)
    process.send_signal(how)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    reached = last_state(tmp_path / "run")["state"]["step"]
    changed = [*command, "--resume", "train.epochs=1", f"train.max_steps={reached + 2}"]
    done = subprocess.run(changed, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("devices", [0, -2, "two", "0,"])
def test_devices_that_there_are_not(devices, tiny_recipe, tiny_data, tmp_path):
    with pytest.raises(RecipeError, match=rf"train\.devices={devices}: expected auto, a number from 1"):
        recipe_for(tiny_recipe, tiny_data, tmp_path, devices=devices)


def test_devices_that_this_machine_has_not(tiny_recipe, tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr("seesay.training.train.Fabric", lambda **_: 1 / 0)
    with pytest.raises(RecipeError, match=r"train\.devices=3: not on this machine: division by zero"):
        train(recipe_for(tiny_recipe, tiny_data, tmp_path, devices=3), console=QUIET)


def test_a_part_of_the_training_photos_or_all_the_others(no_export, tiny_recipe, tiny_data, tmp_path):
    recipe = recipe_for(tiny_recipe, tiny_data, tmp_path / "run", epochs=1)
    everything = read_dataset([tiny_data]).split("train")
    second = everything[1::3]

    def asked(**keys: Any) -> Recipe:
        return replace(recipe, data=replace(recipe.data, **keys))

    assert training_part(recipe, everything) == everything
    assert training_part(asked(only="2/3"), everything) == second
    assert training_part(asked(leave_out="2/3"), everything) == [r for r in everything if r not in second]
    with pytest.raises(DataError, match=r"part 7 of 9 of 6 training photos has none; give fewer parts"):
        training_part(asked(only="7/9"), everything[:6])
    with pytest.raises(DataError, match=r"data\.only=boxed: none of the \d+ training photos has boxes"):
        training_part(asked(only="boxed", boxes=("x",)), everything)
    thing = BoxedObject("other", ((0.0, 0.0, 1.0, 1.0),), frozenset({"ball"}))
    boxed = [replace(record, objects=(thing,)) if record in second else record for record in everything]
    assert training_part(asked(only="boxed", boxes=("x",)), boxed) == [r for r in boxed if r.objects]
    said = Console(record=True, width=200, file=io.StringIO())
    train(asked(only="2/3"), console=said)
    assert re.search(rf"^{len(second)} training photos", said.export_text(), re.MULTILINE)


def test_a_loss_that_is_no_number_ends_the_run_with_advice(no_export, tiny_recipe, tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "seesay.training.objectives.cross_entropy.CrossEntropy.forward", lambda *_: torch.tensor(float("nan"))
    )
    with pytest.raises(SeesayError, match=r"step 0: the loss is nan; give a lower train\.lr"):
        train(recipe_for(tiny_recipe, tiny_data, tmp_path / "run"), console=QUIET)


def test_a_gradient_that_is_no_number_ends_the_run_too(no_export, tiny_recipe, tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "seesay.training.objectives.cross_entropy.CrossEntropy.forward",
        lambda objective, *_: (0 * next(objective.decoder.parameters())).sum().sqrt(),  # 0, and infinitely steep
    )
    with pytest.raises(SeesayError, match=r"step 0: the gradient's norm is nan; give a lower train\.lr"):
        train(recipe_for(tiny_recipe, tiny_data, tmp_path / "run"), console=QUIET)


def test_seeds_do_not_depend_on_the_process():
    """`hash` of integers is not salted, so that a resumed process draws the same dropout."""
    code = "print(hash((3, 17, 0)))"
    answers = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(answers) == 1


WORDS = {
    "frozen glove, projected": {"embedding": {"kind": "glove", "path": "v.txt", "size": 11, "train": False}},
    "word2vec of pieces": {
        "tokens": {"kind": "bpe", "vocab_size": 60},
        "embedding": {"kind": "word2vec", "size": 5, "tied": False},
    },
}


@pytest.mark.parametrize("keys", list(WORDS.values()), ids=list(WORDS))
def test_tokens_and_vectors_make_bundles_that_caption(keys, tiny_recipe, tiny_data, tiny_photos, tmp_path):
    """Two steps; torch and ONNX Runtime agree on the bundle, without the file that its vectors came from."""
    values = recipe_for(tiny_recipe, tiny_data, tmp_path / "run", max_steps=2, ema=0.9).to_dict()
    values["encoder"] |= ONE_LAYER
    for section, changed in keys.items():
        values[section] |= changed
    file = tmp_path / "v.txt"
    file.write_text("the 1 2 0 -3\ndog 0.1 2 3 4\nball -1 1 -1 1\n")
    if values["embedding"]["path"]:
        values["embedding"]["path"] = str(file)
    said = io.StringIO()
    folder = train(Recipe.from_dict(values), console=Console(file=said, width=200))
    file.unlink()

    bundle = open_bundle(folder)
    captioner = load_captioner(bundle)
    table = captioner.decoder.embedding.weight
    if values["embedding"]["kind"] == "glove":
        assert "GloVe: 3 of 19 words found (15.8 %); not found: a, grass, on, red, " in said.getvalue()
        assert table.shape == (23, 4)
        assert_frozen(tmp_path / "run", bundle.tokenizer.encode("dog")[0], table)
    else:
        assert re.search(r"word2vec: \d+ of 56 pieces found", said.getvalue())
        assert table.shape == (60, 5)

    images = torch.from_numpy(np.stack([bundle.transform(photo) for photo in tiny_photos]))
    with torch.inference_mode():
        found = generate(captioner.decoder, captioner.prepare(images), bundle.search)
    captions = CaptionModel(bundle, precision="float32").caption_many(tiny_photos)
    for caption, beams in zip(captions, found, strict=True):
        assert isinstance(caption, Caption)
        assert caption.text == bundle.tokenizer.decode(beams[0].tokens) == join_words(w.text for w in caption.words)
        assert sum(word.logprob for word in caption.words) == pytest.approx(sum(beams[0].logprobs[:-1]), abs=1e-3)
        assert all(word.attention.sum() == pytest.approx(1, abs=1e-4) for word in caption.words)


def assert_frozen(run: Path, dog: int, bundled: torch.Tensor) -> None:
    """The table is in every file as it was read: the row of dog, 0.1 2 3 4, by one scale for all."""
    best, last = torch.load(run / "best.ckpt", weights_only=True), last_state(run)
    for table in (best["decoder.embedding.weight"], last["model"]["decoder.embedding.weight"], bundled):
        row = table[dog]
        torch.testing.assert_close(row / row[1], torch.tensor([0.05, 1, 1.5, 2]), atol=2e-3, rtol=1e-3)
    assert "decoder.embedding.weight" not in last["averaged"]
    assert "decoder.embedding.bias" in last["averaged"]


def test_everything_missing_is_said_at_once_before_data_is_read(tiny_recipe, tmp_path, monkeypatch):
    values = tiny_recipe.to_dict()
    values["data"]["path"] = [str(tmp_path / "photos")]
    values["encoder"]["weights"] = str(tmp_path / "encoder.pt")
    values["embedding"] |= {"kind": "glove", "path": str(tmp_path / "v.txt")}
    values["out"] = str(tmp_path / "run")
    monkeypatch.setattr("seesay.training.train.read_dataset", lambda *_: pytest.fail("data was read"))
    with pytest.raises(RecipeError) as error:
        train(Recipe.from_dict(values), console=QUIET)
    assert str(error.value).splitlines() == [
        "the run cannot start:",
        f"  data.path={tmp_path}/photos: no such folder",
        f"  embedding.path={tmp_path}/v.txt: no such file; expected GloVe or word2vec (.txt, .vec, .bin)",
        f"  encoder.weights={tmp_path}/encoder.pt: no such file (auto, pip, hub, none or a file of weights)",
    ]
    values["train"]["init"] = str(tmp_path / "bundle")  # the encoder and the vectors are then the bundle's
    with pytest.raises(RecipeError) as error:
        train(Recipe.from_dict(values), console=QUIET)
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    assert lines[2].startswith(f"  train.init={tmp_path}/bundle: ")
    assert not (tmp_path / "run").exists()
