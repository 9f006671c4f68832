"""The model in the package: what a newcomer meets first."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import SHARED, needs_shared
from PIL import Image, ImageDraw
from typer.testing import CliRunner

import seesay
from seesay.assets import demo_photos, packaged_models
from seesay.bundle.format import open_bundle
from seesay.calibration.observe import halves
from seesay.caption import Caption
from seesay.cli.app import app
from seesay.data.readers import read_dataset
from seesay.data.records import CaptionRecord
from seesay.data.tokens import split_words
from seesay.evaluation import Evaluation, evaluate
from seesay.metrics import CiderD

FOLDER = next(iter(packaged_models().values()))


@pytest.fixture(scope="module")
def model():
    return seesay.load()


def test_the_bundle_is_small_and_whole():
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 45e6
    bundle = open_bundle(FOLDER)
    assert bundle.name == FOLDER.name
    assert any("flickr8k" in split for split in bundle.scores)


def test_the_card_tells_data_command_seed_figures_and_failures():
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for part in ("flickr8k", "seesay train", "seed", "CIDEr", "failures"):
        assert part in card, part
    assert str(round(100 * next(iter(open_bundle(FOLDER).scores.values()))["cider"], 1)) in card


def test_demo_writes_one_page_that_needs_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "seesay-demo.html").read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["seesay-demo.html"]
    assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!data:|#)", page)
    for photo in demo_photos():
        assert f"{photo.name}: " in result.output
        assert photo.name in page


def test_captions_are_sentences_of_the_photo_in_hand(model):
    captions = [model.caption(photo) for photo in demo_photos()]
    assert len({caption.text for caption in captions}) >= 3
    for caption in captions:
        assert 3 <= len(caption.words) <= 30
        assert "<" not in caption.text


def test_attention_differs_between_words_and_between_photos(model):
    first, second = (model.caption(photo) for photo in demo_photos()[:2])
    maps = np.stack([word.attention for word in first.words]).reshape(len(first.words), -1)
    distances = 0.5 * np.abs(maps[:, None] - maps[None]).sum(-1)
    assert distances.max() > 0.1, "some two words look at different places"
    assert 0.5 * np.abs(first.words[1].attention - second.words[1].attention).sum() > 0.1


@pytest.fixture(scope="module")
def records() -> list[CaptionRecord]:
    return read_dataset(SHARED / "flickr8k").split("dev")[:200]


@pytest.fixture(scope="module")
def result(model, records) -> Evaluation:
    return evaluate(model, records, official=False)


@needs_shared
def test_the_figures_of_the_card_hold_on_photos_of_dev(result):
    """200 photos: within the sampling error of the card's 1,000; a broken encoder or vocabulary is far outside."""
    card = next(scores for split, scores in open_bundle(FOLDER).scores.items() if "flickr8k" in split)
    assert result.scores.bleu[3] == pytest.approx(card["bleu_4"], abs=0.05)
    assert result.scores.cider == pytest.approx(card["cider"], abs=0.12)


@needs_shared
def test_torch_and_onnx_write_the_same_captions(records):
    torch = pytest.importorskip("torch")
    from seesay.export.load import load_captioner
    from seesay.training.generate import generate

    photos = [record.image for record in records[:25]]
    model = seesay.load(precision="float32")
    captioner, bundle = load_captioner(model.bundle), model.bundle
    ours = [str(caption) for caption in model.caption_many(photos, likeliest=True)]
    with torch.inference_mode():
        memory = captioner.prepare(torch.from_numpy(np.stack([bundle.transform(photo) for photo in photos])))
    found = generate(captioner.decoder, memory, bundle.search)
    theirs = [bundle.tokenizer.decode(beams[0].tokens) for beams in found]
    assert sum(a == b for a, b in zip(ours, theirs, strict=True)) >= 24


@needs_shared
def test_8_bits_make_captions_others_but_not_worse(model, records, result):
    """About one in six; over six models CIDEr stays (docs/performance.md), and 200 photos tell some points apart."""
    if model.precision != "int8":
        pytest.skip("8 bits are not taken on this machine")
    exact = evaluate(seesay.load(precision="float32"), records, official=False)
    changed = sum(result.captions[name].text != caption.text for name, caption in exact.captions.items())
    assert 0 < changed <= 80
    assert result.scores.cider == pytest.approx(exact.scores.cider, abs=0.06)


@needs_shared
def test_full_size_photos_get_captions_as_good_as_small_ones(model):
    """The photos of `originals/` are also in flickr8k at 224 px: size and aspect must not spoil the captions."""
    records = {record.id: record for record in read_dataset(SHARED / "flickr8k").records}
    originals = sorted((SHARED / "originals").glob("*.jpg"))
    references = [[split_words(c) for c in records[photo.stem].captions] for photo in originals]
    cider = CiderD(references)

    def score(photos) -> float:
        captions = [c for c in model.caption_many(photos) if isinstance(c, Caption)]
        return float(cider.score([split_words(c.text) for c in captions]).mean())

    small = score([records[photo.stem].image for photo in originals])
    assert score(originals) > 0.75 * small


def test_json_lines_have_the_fields_of_the_design(model, tmp_path):
    out = tmp_path / "out.jsonl"
    photo = demo_photos()[0]
    assert CliRunner().invoke(app, ["caption", str(photo), "--json", str(out), "--attention"]).exit_code == 0
    entry = json.loads(out.read_text())
    assert entry["image"] == str(photo)
    assert entry["caption"] == model.caption(photo).text
    rows, cols = model.bundle.grid
    for word in entry["words"]:
        assert np.asarray(word["attention"]).shape == (rows, cols)
        assert np.sum(word["attention"]) == pytest.approx(1, abs=1e-3)
    assert sum(word["logprob"] for word in entry["words"]) >= entry["score"]


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize(("name", "photos"), [("flickr8k", 500), ("coco_part", 250)])
def test_confidence_knows_which_captions_people_would_accept(model, name: str, photos: int) -> None:
    """With margins: docs/confidence.md has the figures of all dev photos."""
    _, records = halves(read_dataset([SHARED / name]).split("dev"))
    result = evaluate(model, records[:photos], official=False)
    assert result.trust is not None
    figures = result.trust.captions
    assert figures is not None
    assert figures["auroc"][0] > 0.68
    assert figures["calibration_error"][0] < 0.1
    surest = [value for value, _, _ in figures["cider_of_surest"].values()]
    assert surest == sorted(surest, reverse=True)
    assert surest[1] > 1.1 * surest[-1]
    assert result.trust.refused is not None
    assert result.trust.refused <= 0.03
    assert result.trust.things["auroc"] > 0.72


def test_demo_photos_are_photos_and_unknown_things_are_unsure(model) -> None:
    captions = {Path(str(caption.image)).stem: caption for caption in model.caption_many(demo_photos())}
    assert {caption.kind for caption in captions.values()} == {"photo"}
    assert captions["astronaut"].confidence < 0.5
    assert captions["rocket"].confidence < 0.5
    assert not any(caption.withheld for caption in captions.values())


def test_a_page_of_text_is_no_photo(model) -> None:
    page = Image.new("RGB", (400, 400), "white")
    draw = ImageDraw.Draw(page)
    for line in range(10, 390, 16):
        draw.text((10, line), "the quick brown fox jumps over the lazy dog " * 2, "black")
    caption = model.caption(page)
    assert caption.withheld
    assert caption.shown == f"not a photo ({caption.kind})"
    assert caption.confidence < 0.2
    assert caption.text
