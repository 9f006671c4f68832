"""`seesay train` ends with the calibration of its model, which never endangers the model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Cli, references_of, write_photo

import seesay
from seesay.bundle.format import write_manifest
from seesay.cli import train as ending
from seesay.cli.train import (
    CalibrationStoppedError,
    by_data_set,
    calibrate_trained,
    calibration_of,
    model_files,
)
from seesay.data.records import CaptionRecord, Dataset

Read = Callable[[], Dataset]


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """With one sentence a photo, so that nothing is chosen: a judge that saw few photos may choose badly."""
    folder = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    search = json.loads((folder / "search.json").read_text("utf-8"))
    (folder / "search.json").write_text(json.dumps(search | {"beam": 1}), "utf-8")
    write_manifest(folder, (3, 3), "soft")
    return folder


@pytest.fixture
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "FEWEST_TRAINING", 8)
    monkeypatch.setattr(ending, "FEWEST_DEV", 4)


def data_of(bundle: Path, folder: Path, right: Callable[[int], bool]) -> Read:
    """Photos; people wrote the model's caption of those with a right number, and another one of the others."""
    model, records = seesay.load(bundle), []
    folder.mkdir()
    for i in range(14):
        photo = write_photo(folder / f"{i}.png", i)
        captions = references_of(str(model.caption(photo)), right(i))
        records.append(CaptionRecord(f"{folder.name}/{i}", photo, captions, "train" if i < 9 else "dev"))
    return lambda: Dataset("folder", tuple(records))


def test_a_trained_model_gets_its_confidence(
    bundle: Path, tmp_path: Path, few_are_enough: None, capsys: pytest.CaptureFixture[str]
) -> None:
    calibrate_trained(bundle, [str(tmp_path / "data")], data_of(bundle, tmp_path / "data", lambda i: i % 2 == 0))
    said = capsys.readouterr().err
    assert said.startswith("data, 5 photos of dev, each half judged by the other: accepted 40.0 %")
    assert seesay.load(bundle).caption(tmp_path / "data" / "0.png").confidence is not None


def test_too_few_photos_and_equal_captions_are_one_line(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (bundle / "manifest.json").read_bytes()
    read = data_of(bundle, tmp_path / "data", lambda _: True)
    calibrate_trained(bundle, [str(tmp_path / "data")], read)
    reason = "9 training and 5 dev photos, expected 100 and 50 or more"
    assert capsys.readouterr().err == f"not calibrated, so captions have no confidence: {reason}\n"
    monkeypatch.setattr(ending, "FEWEST_TRAINING", 8)
    monkeypatch.setattr(ending, "FEWEST_DEV", 4)
    calibrate_trained(bundle, [str(tmp_path / "data")], read)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("not calibrated") and "would accept all of the captions of dev" in last
    assert (bundle / "manifest.json").read_bytes() == before


def test_an_interrupted_calibration_leaves_the_model(
    bundle: Path, tmp_path: Path, few_are_enough: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ending, "with_confidence", interrupted)
    read = data_of(bundle, tmp_path / "data", lambda i: i % 2 == 0)
    with pytest.raises(CalibrationStoppedError, match=r"is complete.*add --resume to calibrate it"):
        calibrate_trained(bundle, [str(tmp_path / "data")], read)
    assert seesay.load(bundle).caption(tmp_path / "data" / "0.png").confidence is None


def test_the_command_calibrates_unless_the_recipe_says_otherwise(
    bundle: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, few_are_enough: None
) -> None:
    read = data_of(bundle, tmp_path / "data", lambda i: i % 2 == 0)
    monkeypatch.setattr("seesay.training.train.train", lambda *_: bundle)
    monkeypatch.setattr("seesay.training.train.read_data", lambda *_: read())
    command = ("train", "flickr8k", f"data.path={tmp_path / 'data'}")
    done = cli(*command, "train.calibrate=false")
    assert (done.code, done.out, done.err) == (0, f"{bundle}\n", "")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ending, "calibrate", interrupted)
        done = cli(*command)
    assert done.code == 130 and f"the model in {bundle} is complete" in done.err
    done = cli(*command, "--resume")
    assert (done.code, done.out) == (0, f"{bundle}\n")
    assert seesay.load(bundle).judge is not None


def test_a_run_that_had_ended_keeps_its_calibration(
    calibrated_bundle: Path, tiny_bundle: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that `seesay calibrate --non-photos` made."""
    bundle = shutil.copytree(calibrated_bundle, tmp_path / "run" / "bundle")

    def exported(*_: object) -> Path:
        shutil.rmtree(bundle)
        return shutil.copytree(tiny_bundle, bundle)

    monkeypatch.setattr("seesay.training.train.train", exported)
    monkeypatch.setattr("seesay.training.train.read_data", lambda *_: pytest.fail("it is calibrated again"))
    done = cli("train", "flickr8k", "data.path=x", f"out={tmp_path / 'run'}", "--resume")
    assert (done.code, done.out) == (0, f"{bundle}\n")
    assert seesay.load(bundle).caption(write_photo(tmp_path / "a.png", 1)).kind == "photo"

    search = (tiny_other := shutil.copytree(tiny_bundle, tmp_path / "other")) / "search.json"
    search.write_text(search.read_text("utf-8").replace('"beam": 3', '"beam": 2'), "utf-8")
    assert calibration_of(bundle) and calibration_of(tiny_bundle) is None and calibration_of(tmp_path) is None
    write_manifest(tiny_other, (3, 3), "soft")
    assert model_files(tiny_other) != model_files(bundle) == model_files(tiny_bundle)


def test_data_sets_have_thresholds_of_their_own_if_they_are_large_enough(few_are_enough: None) -> None:
    def records(folder: str, number: int) -> list[CaptionRecord]:
        return [CaptionRecord(f"{folder}{i}", Path(folder) / f"{i}.jpg", ("a",), "") for i in range(number)]

    large, small = (records("x/a", 9), records("x/a", 5)), (records("x/b", 9), records("x/b", 2))
    groups = by_data_set(["x/a", "x/b"], [*large[0], *large[0]], [*large[1], *large[1]])
    assert list(groups) == ["a and b"], "photos of one folder only"
    groups = by_data_set(["x/a", "x/b"], [*large[0], *small[0]], [*large[1], *small[1]])
    assert list(groups) == ["a and b"]
    groups = by_data_set(["x/a", "x/b"], [*large[0], *records("x/b", 8)], [*large[1], *records("x/b", 4)])
    assert {name: (len(train), len(dev)) for name, (train, dev) in groups.items()} == {"a": (9, 5), "b": (8, 4)}
