"""A run's folder: one run writes to it, a resumed run finds what it began with, and what is damaged is named."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import stopped_at, write_photo
from test_training import QUIET, last_state, no_export, recipe_for, rows_of, wait_for_step  # noqa: F401

from seesay.config import Recipe
from seesay.errors import BusyError, RecipeError, RunError, SeesayError
from seesay.training.run_folder import LOCK, open_run
from seesay.training.train import train
from seesay.writing import SCRATCH

pytestmark = pytest.mark.usefixtures("no_export")


@pytest.fixture
def data(tiny_data: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(tiny_data, tmp_path / "data")


@pytest.fixture
def stopped(tiny_recipe: Recipe, data: Path, tmp_path: Path) -> Recipe:
    """A recipe whose run was killed after its first epoch and one step of the second."""
    recipe = recipe_for(tiny_recipe, data, tmp_path / "run", epochs=2)
    with pytest.raises(KeyboardInterrupt), stopped_at(4):
        train(recipe, console=QUIET)
    return recipe


def resumed(recipe: Recipe) -> None:
    train(recipe, resume=True, console=QUIET)


def in_process(recipe: Recipe, folder: Path, *more: str) -> subprocess.Popen[str]:
    file = folder / "recipe.yaml"
    file.write_text(recipe.to_yaml())
    command = [sys.executable, "-m", "seesay", "train", str(file), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# one run at a time


@pytest.mark.parametrize("resume", [False, True])
def test_a_second_run_is_refused_before_it_reads_data(resume, tiny_recipe, tiny_data, tmp_path, monkeypatch):
    recipe = recipe_for(tiny_recipe, tiny_data, tmp_path / "run")
    monkeypatch.setattr("seesay.training.train.read_dataset", lambda *_: pytest.fail("data was read"))
    with open_run(recipe, resume=False), pytest.raises(BusyError) as error:
        train(recipe, resume, console=QUIET)
    assert str(error.value) == (
        f"{tmp_path}/run: another process is training into it; wait until it ends, or give another out=FOLDER"
    )


def test_the_lock_lasts_as_long_as_the_run(tiny_recipe, tiny_data, tmp_path, monkeypatch):
    recipe = recipe_for(tiny_recipe, tiny_data, tmp_path / "run", epochs=1)
    refused = []

    def write_bundle(folder, *_):
        with pytest.raises(BusyError), open_run(recipe, resume=True):
            pass
        refused.append(folder)

    monkeypatch.setattr("seesay.training.train.write_bundle", write_bundle)
    train(recipe, console=QUIET)
    assert refused == [tmp_path / "run" / "bundle"]
    assert not (tmp_path / "run" / LOCK).exists()
    resumed(recipe)
    assert len(refused) == 2


@pytest.mark.slow
def test_two_runs_started_at_once(tiny_recipe, tiny_data, tmp_path):
    recipe = recipe_for(tiny_recipe, tiny_data, tmp_path / "run", epochs=3000)
    runs = [in_process(recipe, tmp_path) for _ in range(2)]
    deadline = time.monotonic() + 240
    while not (ended := [run for run in runs if run.poll() is not None]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(ended) == 1
    assert ended[0].returncode == 1
    assert "another process is training into it" in ended[0].communicate()[1]
    (running,) = (run for run in runs if run is not ended[0])
    wait_for_step(tmp_path / "run", running, at_least=1)
    running.kill()
    running.communicate()
    assert (tmp_path / "run" / LOCK).exists(), "the dead left it"
    reached = last_state(tmp_path / "run")["state"]["step"]
    resumed(replace(recipe, train=replace(recipe.train, max_steps=reached + 1)))
    assert last_state(tmp_path / "run")["state"]["step"] == reached + 1


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signal")
@pytest.mark.parametrize("ignored", [False, True], ids=["hang-up", "nohup"])
def test_a_terminal_that_closes(ignored, tiny_recipe, tiny_data, tmp_path):
    """The run saves and ends; with nohup it goes on."""
    recipe = recipe_for(tiny_recipe, tiny_data, tmp_path / "run", epochs=60)
    said = []

    def hang_up(folder: Path) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        said.append(folder)

    from seesay.training.loop import StoppedError, Trainer

    average = Trainer._average

    def at_step(self: Trainer) -> None:
        average(self)
        if self.state.step == 4:
            hang_up(self.run.folder)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Trainer, "_average", at_step)
            if ignored:
                train(replace(recipe, train=replace(recipe.train, max_steps=6)), console=QUIET)
            else:
                with pytest.raises(StoppedError):
                    train(recipe, console=QUIET)
        assert signal.getsignal(signal.SIGHUP) == (signal.SIG_IGN if ignored else signal.SIG_DFL)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert said
    assert last_state(tmp_path / "run")["state"]["step"] == (6 if ignored else 4)


# the data that it began with


def exchange_first_captions(data: Path, one: str, other: str) -> None:
    lines = (data / "captions.txt").read_text().splitlines()
    places = [next(i for i, line in enumerate(lines) if line.startswith(f"{name},")) for name in (one, other)]
    captions = [lines[place].partition(",")[2] for place in places]
    for place, name, caption in zip(places, (one, other), reversed(captions), strict=True):
        lines[place] = f"{name},{caption}"
    (data / "captions.txt").write_text("\n".join(lines) + "\n")


def exchange_captions(data: Path) -> None:
    exchange_first_captions(data, "photo00.jpg", "photo01.jpg")


def exchange_dev_captions(data: Path) -> None:
    exchange_first_captions(data, "photo13.jpg", "photo14.jpg")


def move_a_photo_to_dev(data: Path) -> None:
    names = (data / "train.txt").read_text().split()
    (data / "train.txt").write_text("\n".join(names[:-1]))
    (data / "dev.txt").write_text((data / "dev.txt").read_text() + names[-1])


def leave_a_dev_photo_out(data: Path) -> None:
    (data / "dev.txt").write_text("\n".join((data / "dev.txt").read_text().split()[1:]))


def another_dev_photo(data: Path) -> None:
    write_photo(data / "Images" / "photo14.jpg", 999)


def another_training_photo(data: Path) -> None:
    write_photo(data / "Images" / "photo03.jpg", 999)


CHANGES = {
    exchange_captions: "the training captions",
    exchange_dev_captions: "the dev captions",
    move_a_photo_to_dev: "the training captions and the training photos and the dev captions and the dev photos",
    leave_a_dev_photo_out: "the dev captions and the dev photos",
    another_dev_photo: "the dev photos",
    another_training_photo: "the training photos",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_run_goes_on_with_its_own_data_only(change, stopped, data, tmp_path, monkeypatch):
    change(data)
    with monkeypatch.context() as patched:
        patched.setattr("seesay.training.train.load_features", lambda *_: pytest.fail("photos were encoded"))
        with pytest.raises(RecipeError) as error:
            resumed(stopped)
    assert str(error.value) == (
        f"{tmp_path}/run was trained with other data: {CHANGES[change]} are not those that the run began with; "
        "give those (data.path), or another out=FOLDER"
    )


def test_data_may_be_moved(stopped, data, tmp_path):
    moved = shutil.move(data, tmp_path / "elsewhere")
    resumed(replace(stopped, data=replace(stopped.data, path=(str(moved),))))
    assert len(rows_of(tmp_path / "run")) == 2


def test_an_early_run_does_not_say_what_its_data_was(stopped, tmp_path):
    (tmp_path / "run" / "data.json").unlink()
    resumed(stopped)
    assert set(json.loads((tmp_path / "run" / "data.json").read_text())) == {
        f"the {split} {part}" for split in ("training", "dev") for part in ("captions", "photos")
    }


# damage


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def other_shape(path: Path) -> None:
    state = torch.load(path, weights_only=True)
    weights = state.get("model", state)
    weights[next(iter(weights))] = torch.zeros(3)
    torch.save(state, path)


DAMAGES = {
    "an empty checkpoint": ("last.ckpt", lambda path: path.write_bytes(b""), "damaged, cannot be read ("),
    "a cut checkpoint": ("last.ckpt", cut, "damaged, cannot be read ("),
    "a flipped bit": ("last.ckpt", flip, "damaged, cannot be read ("),
    "text as a checkpoint": ("last.ckpt", lambda path: path.write_text("hello"), "damaged, cannot be read ("),
    "a list as a checkpoint": ("last.ckpt", lambda path: torch.save([1], path), "it holds a list"),
    "nothing in the checkpoint": ("last.ckpt", lambda path: torch.save({}, path), "is not of this run, or another"),
    "other weights": ("last.ckpt", other_shape, "is not of this run, or another version of seesay"),
    "no best weights": ("best.ckpt", Path.unlink, "missing, and with it the weights of the best epoch"),
    "cut best weights": ("best.ckpt", cut, "damaged, cannot be read ("),
    "an empty recipe": ("recipe.yaml", lambda path: path.write_text(""), "empty, so it cannot be told"),
    "no recipe": ("recipe.yaml", Path.unlink, "missing, so it cannot be told"),
    "a recipe that is no YAML": ("recipe.yaml", lambda path: path.write_text("a: [b"), "damaged ("),
    "a recipe that is a list": ("recipe.yaml", lambda path: path.write_text("- a"), "damaged, so it cannot be told"),
    "bytes as a recipe": ("recipe.yaml", lambda path: path.write_bytes(b"\xff\xfe"), "damaged ("),
    "data.json": ("data.json", lambda path: path.write_text("{"), "damaged ("),
}


@pytest.mark.parametrize(("name", "damage", "said"), DAMAGES.values(), ids=DAMAGES)
def test_what_is_damaged_is_named_before_training(name, damage, said, stopped, tmp_path):
    damage(tmp_path / "run" / name)
    with pytest.raises(RunError) as error:
        resumed(stopped)
    text = str(error.value)
    assert len(text.splitlines()) == 1
    assert text.startswith(f"{tmp_path}/run/{name}: ")
    assert said in text
    assert text.endswith("put back a copy of it, or delete last.ckpt to start the run again from its beginning")
    (tmp_path / "run" / "last.ckpt").unlink()
    resumed(stopped)
    assert len(rows_of(tmp_path / "run")) == 2


def test_best_weights_that_vanish_during_training(stopped, tmp_path, monkeypatch):
    monkeypatch.setattr("seesay.training.loop.Trainer.fit", lambda self: self.run.best.unlink())
    with pytest.raises(RunError, match=r"best\.ckpt: missing, and with it the weights of the best epoch"):
        resumed(stopped)


@pytest.mark.parametrize("anew", [False, True], ids=["deleted", "and made anew"])
def test_a_folder_that_is_deleted_during_training(anew, tiny_recipe, tiny_data, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    recipe = recipe_for(tiny_recipe, tiny_data, folder)

    def delete(self) -> None:
        shutil.rmtree(folder)
        if anew:
            with open_run(recipe, resume=False):
                self.save()
        self.save()

    monkeypatch.setattr("seesay.training.loop.Trainer.fit", delete)
    with pytest.raises(
        RunError, match=r"run: was deleted or replaced while the run wrote to it, so the run ends; start"
    ):
        train(recipe, console=QUIET)
    assert (folder / "last.ckpt").exists() is False


def test_a_folder_that_cannot_be_made(tiny_recipe, tiny_data, tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(RunError, match=r"run: cannot be made \(File exists\), and the run needs it; give another out="):
        train(recipe_for(tiny_recipe, tiny_data, tmp_path / "run"), console=QUIET)


def test_unfinished_files_of_a_killed_run_are_swept_up(stopped, tmp_path):
    (tmp_path / "run" / f"{SCRATCH}1234.ckpt").write_text("half")
    resumed(stopped)
    assert not list((tmp_path / "run").glob(f"{SCRATCH}*"))


def test_a_full_disk_leaves_the_checkpoint_before(stopped, tmp_path, monkeypatch):
    from test_writing import files_up_to

    before = last_state(tmp_path / "run")["state"]["step"]

    def no_room(self) -> None:
        with files_up_to(1000):
            self.state.step = 77
            self.save()

    with monkeypatch.context() as patched:
        patched.setattr("seesay.training.loop.Trainer.fit", no_room)
        with pytest.raises(SeesayError, match=r"run/last\.ckpt: cannot be written: File too large"):
            resumed(stopped)
    assert last_state(tmp_path / "run")["state"]["step"] == before
    resumed(stopped)
