"""Scores of a bundle on data: those of the captions that are served."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import write_photo

from seesay.data.readers import read_dataset
from seesay.data.records import CaptionRecord
from seesay.data.tokens import split_words
from seesay.errors import DataError
from seesay.evaluation import evaluate
from seesay.metrics import CiderD, basic_scores, caption_statistics
from seesay.metrics.attention_maps import attention_statistics
from seesay.runtime import CaptionModel


@pytest.fixture(scope="module")
def model(tiny_bundle: Path) -> CaptionModel:
    return CaptionModel.load(tiny_bundle)


@pytest.fixture(scope="module")
def records(tiny_data: Path) -> list[CaptionRecord]:
    return read_dataset(tiny_data).split("train")


def test_numbers_are_those_of_the_served_captions(model: CaptionModel, records: list[CaptionRecord]) -> None:
    advanced: list[None] = []
    training = ["A red ball lies on the grass ."]
    result = evaluate(model, records, official=False, training_captions=training, advance=lambda: advanced.append(None))
    captions = [model.caption(record.image) for record in records]
    assert {name: caption.text for name, caption in result.captions.items()} == {
        record.id: caption.text for record, caption in zip(records, captions, strict=True)
    }
    words = [split_words(caption.text) for caption in captions]
    expected = basic_scores(words, [[split_words(text) for text in record.captions] for record in records])
    assert result.scores.bleu == pytest.approx(expected.bleu)
    assert result.scores.cider == pytest.approx(expected.cider)
    assert result.scores.rouge_l == pytest.approx(expected.rouge_l)
    assert result.scores.rouge_l > 0, "the tiny model says something of the right words"
    assert result.scores.meteor is None
    assert result.statistics == caption_statistics(words, [split_words(text) for text in training])
    assert len(advanced) == len(records) == 12
    assert result.failures == []
    assert result.about == {
        "model": "tiny",
        "seesay": result.about["seesay"],
        "beam": 3,
        "chosen_by": "log-probability",
        "precision": model.precision,
        "encoder_precision": "float32",
        "images": 12,
        "references": sum(len(record.captions) for record in records),
    }


def test_beam_is_handed_on(model: CaptionModel, records: list[CaptionRecord]) -> None:
    greedy = evaluate(model, records[:4], beam=1, official=False)
    assert greedy.about["beam"] == 1
    assert [c.text for c in greedy.captions.values()] == [model.caption(r.image, beam=1).text for r in records[:4]]


def test_json_form(model: CaptionModel, records: list[CaptionRecord]) -> None:
    result = evaluate(model, records[:3], official=False)
    values = json.loads(json.dumps(result.to_dict()))
    assert set(values) == {
        *("model", "seesay", "beam", "chosen_by", "precision", "encoder_precision", "images", "references"),
        *("scores", "statistics", "failures", "captions", "per_photo", "confidence"),
    }
    assert values["captions"] == {name: caption.text for name, caption in result.captions.items()}
    assert values["scores"]["cider"] == result.scores.cider
    assert {name: found["caption"] for name, found in values["per_photo"].items()} == values["captions"]
    attention = json.loads(json.dumps(result.to_dict(attention=True)))["attention"]
    maps = [np.stack([word.attention for word in caption.words]) for caption in result.captions.values()]
    assert attention == attention_statistics(maps).to_dict()
    assert set(attention) == {"entropy", "between_words", "between_photos"}


def test_each_photo_has_its_own_cider(model: CaptionModel, records: list[CaptionRecord]) -> None:
    result = evaluate(model, records, official=False)
    judge = CiderD([[split_words(text) for text in record.captions] for record in records])
    for number, record in enumerate(records):
        found = result.per_photo[record.id]
        [cider] = judge.score([split_words(found["caption"])], images=[number])
        assert found["cider"] == pytest.approx(cider)
    ciders = [found["cider"] for found in result.per_photo.values()]
    assert np.mean(ciders) == pytest.approx(result.scores.cider) and len(set(ciders)) > 1


def test_examples_are_one_fixed_draw(model: CaptionModel, records: list[CaptionRecord]) -> None:
    result, other = evaluate(model, records, official=False), evaluate(model, records[::-1], official=False)
    drawn = result.examples(5)
    assert [example["cider"] for example in drawn] == sorted((e["cider"] for e in drawn), reverse=True)
    assert {e["id"] for e in drawn} == {e["id"] for e in other.examples(5)} != {e["id"] for e in result.examples(5, 1)}
    assert all(result.per_photo[e["id"]] == {"caption": e["caption"], "cider": e["cider"]} for e in drawn)
    assert len({e["id"] for e in drawn}) == 5 and len(result.examples(99)) == 12


def test_a_few_broken_photos_are_left_out_and_named(
    model: CaptionModel, records: list[CaptionRecord], tmp_path: Path
) -> None:
    broken = write_photo(tmp_path / "broken.jpg", 5)
    broken.write_bytes(broken.read_bytes()[:200])
    with_broken = [*records[:6], CaptionRecord("broken", broken, ("a dog",), "test"), *records[6:]]
    result = evaluate(model, with_broken, official=False)
    assert result.scores == evaluate(model, records, official=False).scores
    assert result.about["images"] == 12
    assert "broken" not in result.captions
    (problem,) = result.failures
    assert str(problem).startswith(f"error: {broken}: damaged"), "the name once"
    assert result.to_dict()["failures"] == [str(problem)]


def test_more_than_a_tenth_broken_is_an_error(
    model: CaptionModel, records: list[CaptionRecord], tmp_path: Path
) -> None:
    gone = [CaptionRecord(f"gone{i}", tmp_path / f"gone{i}.jpg", ("a dog",), "test") for i in range(2)]
    with pytest.raises(DataError, match=r"2 of 14 photos cannot be read(.|\n)*gone0\.jpg: no such file"):
        evaluate(model, [*records, *gone], official=False)


def test_no_photos(model: CaptionModel) -> None:
    with pytest.raises(DataError, match="no images to score"):
        evaluate(model, [], official=False)


# how attention looks


def test_attention_statistics_by_hand() -> None:
    point, other, even = [1, 0, 0, 0], [0, 1, 0, 0], [0.25] * 4
    a, b = np.array([point, other, even], float), np.array([other, other], float)
    found = attention_statistics([a, np.zeros((0, 4)), b.reshape(2, 2, 2)])
    assert found.entropy == pytest.approx(1 / 5)  # one even map of five
    assert found.between_words == pytest.approx((1 + 0.75 + 0) / 3)
    assert found.between_photos == 0.0  # the photo between them has no words
    found = attention_statistics([a, b])
    assert found.between_photos == pytest.approx((1 + 0) / 2)  # first words differ, second ones do not
    assert found.to_dict() == {
        "entropy": found.entropy,
        "between_words": found.between_words,
        "between_photos": found.between_photos,
    }


@pytest.mark.parametrize("maps", [[], [np.zeros((0, 9))], [np.ones((1, 1))], [np.ones((2, 1, 1))] * 2])
def test_attention_statistics_of_next_to_nothing(maps: list[np.ndarray]) -> None:
    assert set(attention_statistics(maps).to_dict().values()) == {0.0}


def test_flat_and_equal_maps_are_told() -> None:
    flat = attention_statistics([np.full((3, 3, 3), 1 / 9, np.float32)] * 3)
    assert (flat.entropy, flat.between_words, flat.between_photos) == (pytest.approx(1), 0, 0)
    assert attention_statistics([np.full((3, 16), 1.001 / 16)]).entropy == 1, "rounding must not lead beyond 1"
