"""`seesay calibrate` from data to the bundle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import Cli, write_photo
from PIL import Image

import seesay
from seesay.bundle.confidence_file import ConfidenceHead
from seesay.calibration.fit import logistic_regression, low_rank_ridge, ridge_regression
from seesay.calibration.learn import calibrated, choose
from seesay.calibration.observe import Observation, halves, pictures_by_kind
from seesay.data.records import CaptionRecord
from seesay.errors import DataError
from seesay.runtime.confidence import Judge, Said


@pytest.fixture
def non_photos(tmp_path: Path) -> Path:
    """Blank and striped pictures."""
    for kind in ("blank", "chart"):
        (tmp_path / "non" / kind).mkdir(parents=True)
        for i in range(6):
            pixels = np.full((60, 60, 3), 40 * i, np.uint8)
            if kind == "chart":
                pixels[:, :: 4 + i] = 255
            Image.fromarray(pixels).save(tmp_path / "non" / kind / f"{i}.png")
    return tmp_path / "non"


def test_calibrate_writes_a_head_into_the_bundle(
    tiny_bundle: Path, tiny_data: Path, non_photos: Path, tmp_path: Path, cli: Cli
) -> None:
    folder = shutil.copytree(tiny_bundle, tmp_path / "mine")
    before = seesay.load(folder).caption(tiny_data / "Images" / "photo00.jpg")
    options = ["--data", tiny_data, "--non-photos", non_photos, "--json", "figures.json"]
    done = cli("calibrate", folder, *options)
    assert done.code == 0, done.err
    assert "each half judged by the other" in done.out
    assert str(folder) in done.out
    figures = json.loads(Path("figures.json").read_text("utf-8"))
    assert figures["photos"] == 12
    assert figures["figures"][tiny_data.name]["photos"] == 5
    model = seesay.load(folder)
    photo = tiny_data / "Images" / "photo00.jpg"
    after, likeliest = model.caption(photo), model.caption(photo, likeliest=True)
    assert (likeliest.text, likeliest.score) == (before.text, before.score)
    assert after.confidence is not None
    assert after.kind in ("photo", "blank", "chart")
    assert model.caption(Image.open(non_photos / "chart" / "0.png")).photo_probability < 0.5  # pyright: ignore

    first = (folder / "confidence.safetensors").read_bytes()
    assert cli("calibrate", folder, *options).code == 0  # again: the same head
    assert (folder / "confidence.safetensors").read_bytes() == first


def test_calibrate_can_leave_the_bundle_alone(tiny_bundle: Path, tiny_data: Path, tmp_path: Path, cli: Cli) -> None:
    done = cli("calibrate", tiny_bundle, "--data", tiny_data, "--out", tmp_path / "new", "--limit", "5")
    assert done.code == 0, done.err
    assert seesay.load(tiny_bundle).bundle.confidence is None
    caption = seesay.load(tmp_path / "new").caption(write_photo(tmp_path / "a.png", 1))
    assert caption.confidence is not None
    assert caption.kind is None  # no pictures of other kinds were given
    done = cli("calibrate", tiny_bundle, "--data", tiny_data, "--out", tmp_path / "new")
    assert done.code == 1
    assert "exists" in done.err


def test_calibrate_names_what_is_missing(tiny_bundle: Path, tiny_data: Path, tmp_path: Path, cli: Cli) -> None:
    done = cli("calibrate", tiny_bundle, "--data", tiny_data, "--non-photos", tmp_path / "nowhere")
    assert done.code == 1
    assert "expected folders of pictures" in done.err
    (tmp_path / "photo").mkdir()
    write_photo(tmp_path / "photo" / "a.png", 1)
    with pytest.raises(DataError, match="found photo"):
        pictures_by_kind(tmp_path)
    without = shutil.copytree(tiny_data, tmp_path / "without")
    (without / "dev.txt").unlink()
    done = cli("calibrate", tiny_bundle, "--data", without, "--splits", str(without))
    assert done.code == 1
    assert "dev" in done.err


def test_regressions_are_learnt_on_the_sentences_that_they_choose() -> None:
    """The likeliest sentence is always of grass; the photo knows where a dog is instead, and where neither is."""
    head = ConfidenceHead(
        grams=("dog", "grass"),
        idf=np.ones(2),
        mean=np.zeros(2),
        scale=np.ones(2),
        project=np.eye(2),
        shares=np.eye(2),
        base=np.zeros(2),
        accept=np.zeros(4),
        word=np.zeros(5),
    )
    photos = []
    for number in range(90):
        there = ("dog", "grass", "sea")[number % 3]
        sentences = [Said([word], [-1.0, -0.1], [(word, -1.0)]) for word in ("grass", "dog")]
        references = ((there,),) * 3
        photos.append(Observation(np.eye(3)[number % 3, :2], tuple(sentences), references, frozenset([there])))
    judge = Judge(calibrated(head, [photos]))
    for number, photo in enumerate(photos[:3]):
        evidence = judge.evidence(photo.features)
        chosen = choose(judge, evidence, photo)
        sure = judge.confidence(evidence, chosen)
        assert (chosen.words, sure > 0.8) == [(["dog"], True), (["grass"], True), (["grass"], False)][number]
        assert sure > 0.8 or sure < 0.2


def test_halves_depend_on_ids_alone() -> None:
    records = [CaptionRecord(id=f"p{i}", image=Path(f"p{i}.jpg"), captions=("a",), split="dev") for i in range(9)]
    first, second = halves(records)
    again, _ = halves(records[::-1])
    assert [r.id for r in first] == [r.id for r in again]
    assert (len(first), len(second)) == (5, 4)
    assert not {r.id for r in first} & {r.id for r in second}


def test_regressions_find_what_the_data_were_made_with() -> None:
    random = np.random.default_rng(0)
    inputs = random.normal(size=(400, 6))
    inputs -= inputs.mean(axis=0)
    true = np.outer([1, 2, 0, 0, -1, 0], [1.0, -1.0, 0.5, 2.0])  # rank 1
    targets = inputs @ true + 3
    fitted = low_rank_ridge(inputs, targets, np.ones(4), 1e-6, 1)
    assert fitted.project.shape == (6, 1)
    np.testing.assert_allclose(fitted(inputs), targets, atol=0.3)
    whole = ridge_regression(inputs, targets, np.ones(400), 1e-6)
    np.testing.assert_allclose(whole(inputs), targets, atol=1e-3)
    happened = (random.uniform(size=400) < 1 / (1 + np.exp(-2 * inputs[:, 0] - 1))).astype(float)
    weights = logistic_regression(inputs, happened, ridge=0.1)
    assert weights[0] == pytest.approx(2, abs=0.5)
    assert weights[-1] == pytest.approx(1, abs=0.4)
