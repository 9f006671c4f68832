"""Cautious captions keep the rules that a caller gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import Cli

import seesay
from seesay.runtime import CaptionModel, Engine
from seesay.search import Forbidden


@pytest.fixture(scope="module")
def model(calibrated_bundle: Path) -> CaptionModel:
    return seesay.load(calibrated_bundle, threads=1)


def test_rules_hold(model: CaptionModel, tiny_photos: list[Path]) -> None:
    no_ball = Forbidden(tuple(model.bundle.tokenizer.encode("ball")))
    photos = [model.encode(photo) for photo in tiny_photos]
    assert any("ball" in str(model.caption(photo, cautious=True)) for photo in photos)
    for photo in photos:
        for said in (
            model.caption(photo, cautious=True, forbid="ball grass"),
            model.caption(photo, cautious=True, constraints=[no_ball]),
        ):
            assert said.text and "ball" not in said.text.split()
        assert model.caption(photo, cautious=True, prefix="two dogs").text.startswith("two dogs")
        assert len(model.caption(photo, cautious=True, max_words=3).words) <= 3
        caption = model.caption(photo, beam=1, cautious=True)
        assert caption.confidence is not None
        for word in caption.words:
            assert word.attention.shape == model.bundle.grid
            assert np.sum(word.attention) == pytest.approx(1, abs=1e-3)


def test_the_search_is_wide(model: CaptionModel, tiny_photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    beams = []
    search = Engine.search

    def spy(self, photos, options):
        beams.append(options.beam)
        return search(self, photos, options)

    monkeypatch.setattr(Engine, "search", spy)
    for beam in (None, 1, 30):
        model.caption(tiny_photos[0], beam=beam, cautious=True)
    assert beams == [24, 24, 30]


@pytest.mark.parametrize("several", [["--alternatives", "2"], ["--sample", "2"]])
def test_one_caption_only(cli: Cli, several: list[str]) -> None:
    done = cli("caption", "a.jpg", "--model", "never opened", "--cautious", *several)
    assert done.code == 2 and "--cautious gives one caption" in done.err


def test_the_command_takes_rules_and_withholds(cli: Cli, calibrated_bundle: Path, tiny_photos: list[Path]) -> None:
    asked = ("caption", *tiny_photos, "--model", calibrated_bundle, "--cautious", "--forbid", "ball")
    done = cli(*asked)
    assert done.code == 0 and "ball" not in done.out and len(done.out.splitlines()) == len(tiny_photos)
    done = cli("caption", *tiny_photos, "--model", calibrated_bundle, "--alternatives", "2", "--min-confidence", "1")
    lines = done.out.splitlines()
    assert len(lines) == 2 * len(tiny_photos) and any(line.endswith(": not sure") for line in lines)
