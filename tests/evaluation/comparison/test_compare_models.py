"""Models on the same photos: intervals of every figure, paired tests, scores files."""

from __future__ import annotations

import csv
import io
import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from seesay.cli.app import app
from seesay.data.records import CaptionRecord
from seesay.errors import DataError, MissingExtraError
from seesay.evaluation.comparison import compare_models, read_scores
from seesay.evaluation.comparison.models import ScoredModel
from seesay.metrics import basic_scores, bleu, bootstrap_interval
from seesay.metrics.meteor_statistics import additive, meteor_of
from seesay.metrics.resampling import PerImage, difference, figure, resampled

WORDS = [*"abcdefghijklmnop"]


def corpus(seed: int, images: int = 40, good: float = 0.5) -> tuple[list[list[str]], list[list[list[str]]]]:
    """(hypotheses, references): each word of a hypothesis is the reference's with the chance `good`."""
    fixed, changing = random.Random(0), random.Random(seed)
    references = [[fixed.choices(WORDS, k=fixed.randint(5, 9)) for _ in range(3)] for _ in range(images)]
    hypotheses = [
        [word if changing.random() < good else changing.choice(WORDS) for word in captions[0]]
        for captions in references
    ]
    return hypotheses, references


def scored(name: str, seed: int, good: float = 0.5, images: int = 40, how: str = "beam 3") -> ScoredModel:
    per_image = basic_scores(*corpus(seed, images, good)).per_image
    assert per_image is not None
    return ScoredModel(name, how, tuple(f"p{i}" for i in range(images)), per_image, "seesay")


# ---- figures


def test_corpus_scores_come_from_what_images_add() -> None:
    hypotheses, references = corpus(1)
    whole = basic_scores(hypotheses, references)
    assert whole.per_image is not None
    once = whole.per_image.figures(np.ones((1, len(hypotheses))))
    assert [once[f"bleu_{n}"][0] for n in range(1, 5)] == pytest.approx(whole.bleu, abs=1e-12)
    assert (once["rouge_l"][0], once["cider"][0]) == pytest.approx((whole.rouge_l, whole.cider))
    assert "meteor" not in once
    numbers = [3, 3, 0, 7, 39]  # a resample is scored as that corpus would be
    times = np.bincount(numbers, minlength=len(hypotheses))[None].astype(float)
    direct = bleu([hypotheses[i] for i in numbers], [references[i] for i in numbers])
    again = whole.per_image.figures(times)
    assert [again[f"bleu_{n}"][0] for n in range(1, 5)] == pytest.approx(direct, abs=1e-12)


def test_the_interval_of_cider_is_that_of_evaluate() -> None:
    one = scored("one", 1).per_image
    found = figure(resampled({"one": one})["one"]["cider"])
    assert (found.low, found.high) == pytest.approx(bootstrap_interval(one.cider, seed=0))
    assert found.low < found.value < found.high and found.p is None


def test_a_better_model_is_told_from_an_equal_one() -> None:
    scores = {"good": scored("", 1, 0.9), "bad": scored("", 2, 0.3), "as bad": scored("", 3, 0.3)}
    values = resampled({name: model.per_image for name, model in scores.items()})
    for key in ("bleu_1", "bleu_4", "rouge_l", "cider"):
        clear = difference(values["good"][key], values["bad"][key])
        assert clear.value > 0 and clear.low > 0 and clear.p == 0.001
        back = difference(values["bad"][key], values["good"][key])
        assert (back.value, back.p) == (-clear.value, clear.p)
    unclear = difference(values["bad"]["cider"], values["as bad"]["cider"])
    assert unclear.low < 0 < unclear.high and unclear.p is not None and unclear.p > 0.05
    same = difference(values["bad"]["cider"], values["bad"]["cider"])
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_pairing_sees_what_two_intervals_hide() -> None:
    one = scored("one", 1)
    better = replace(one, name="better", per_image=replace(one.per_image, cider=one.per_image.cider + 0.05))
    comparison = compare_models([one, better])
    low, high = comparison.scores["one"]["cider"], comparison.scores["better"]["cider"]
    assert high.low < low.high  # they overlap
    apart = comparison.differences["better", "one"]["cider"]
    assert apart.p == 0.001 and apart.low == pytest.approx(0.05) == apart.high


def test_meteor_of_a_twin_and_of_nothing() -> None:
    twin = np.array([[7, 6, 4, 3, 2, 2, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 1, 7, 6]], np.float64)
    assert additive(twin)[0, 20] == 0 and twin[0, 20] == 1
    nothing = np.zeros(23)
    nothing[:4] = 5, 6, 2, 2
    assert meteor_of(np.stack([additive(twin)[0], nothing, np.zeros(23)]))[1:].tolist() == [0, 0]
    # P = R = (2 * 0.75 + 3 * 0.25 + 0.6 * (0.75 + 0.25)) / (3 * 0.75 + 4 * 0.25), up to the other length; one piece
    precision = (0.75 * 2 + 0.25 * 3 + 0.6 * (0.75 + 0.25)) / (0.75 * 3 + 0.25 * 4)
    recall = (0.75 * 2 + 0.25 * 3 + 0.6 * 0.75) / (0.75 * 3 + 0.25 * 3)
    assert meteor_of(additive(twin))[0] == pytest.approx(1 / (0.15 / precision + 0.85 / recall))


# ---- tables


def test_the_table_says_what_was_compared() -> None:
    comparison = compare_models([scored("one", 1), scored("two", 2), scored("one", 3)], "test of data")
    text = comparison.table()
    assert "one-2" in text and "two - one " in text and "one-2 - two" in text
    assert "40 photos of test of data, tokeniser 'seesay'." in text and "All models: beam 3." in text
    assert "METEOR" not in text.split("Without METEOR")[0]
    assert max(map(len, text.splitlines())) <= 120
    rows = list(csv.DictReader(io.StringIO(comparison.csv())))
    assert len(rows) == 6 * 6  # three models and three pairs, six figures without METEOR
    cider = next(row for row in rows if row["model"] == "two" and row["minus"] == "one" and row["figure"] == "cider")
    found = comparison.differences["two", "one"]["cider"]
    assert [float(cider[key]) for key in ("value", "low", "high", "p")] == [found.value, found.low, found.high, found.p]
    markdown = comparison.markdown().splitlines()
    assert markdown[0].startswith("| model | BLEU-1 |") and any(line.startswith("| two - one |") for line in markdown)


def test_captions_made_in_other_ways_are_a_warning() -> None:
    comparison = compare_models([scored("one", 1), scored("two", 2, how="beam 5, decoder in int8")])
    assert "Warning: not all captions were made in the same way: one: beam 3; two: beam 5, decoder in int8." in str(
        comparison.about
    )


def test_only_photos_that_all_models_have_count() -> None:
    one, two = scored("one", 1), scored("two", 2)
    part = np.arange(10, 40)[::-1]
    fewer = replace(two, ids=tuple(two.ids[i] for i in part), per_image=two.per_image.take(part))
    comparison = compare_models([one, fewer])
    assert "30 photos" in comparison.about[0] and "one 10" in comparison.about[1]
    whole = compare_models([replace(one, ids=one.ids[10:], per_image=one.per_image.take(np.arange(10, 40)))])
    assert comparison.scores["one"] == whole.scores["one"]
    with pytest.raises(DataError, match="no photo has captions of all models"):
        compare_models([one, replace(two, ids=tuple(f"q{i}" for i in range(40)))])
    with pytest.raises(DataError, match=r"different tokenisers \(one: seesay; two: ptb\)"):
        compare_models([one, replace(two, tokeniser="ptb")])


# ---- scores files


def scores_file(path: Path, seed: int, **more: object) -> Path:
    hypotheses, references = corpus(seed)
    found = basic_scores(hypotheses, references)
    assert found.per_image is not None
    values = {
        "beam": 3,
        "precision": "int8",
        "encoder_precision": "int8",
        "scores": found.to_dict(),
        "captions": {f"p{i}": " ".join(words) for i, words in enumerate(hypotheses)},
        "per_image": found.per_image.to_dict(),
    }
    path.write_text(json.dumps(values | more))
    return path


def test_scores_files_are_compared_as_they_are(tmp_path: Path) -> None:
    paths = [scores_file(tmp_path / f"run{seed}.json", seed) for seed in (1, 2)]
    result = CliRunner().invoke(app, ["compare", *map(str, paths), "--csv", str(tmp_path / "out.csv")])
    assert result.exit_code == 0, result.output
    expected = compare_models([replace(scored(f"run{seed}", seed), how="") for seed in (1, 2)])
    assert read_scores(paths[0]).per_image.cider.tolist() == expected.models[0].per_image.cider.tolist()
    assert (tmp_path / "out.csv").read_text() == expected.csv()
    assert "All models: beam 3, encoder in int8, decoder in int8." in result.output


def test_scores_files_are_scored_again_on_data(tmp_path: Path) -> None:
    path = scores_file(tmp_path / "run.json", 1, per_image=None)
    hypotheses, references = corpus(1)
    records = [
        CaptionRecord(f"p{i}", tmp_path, tuple(" ".join(words) for words in captions), "test")
        for i, captions in enumerate(references)
    ]
    found = read_scores(path, records[:20])
    assert found.ids == tuple(f"p{i}" for i in range(20))
    assert found.per_image.bleu[:, 8].tolist() == [len(words) for words in hypotheses[:20]]
    strangers = [replace(record, id=f"x/{record.id}") for record in records]
    with pytest.raises(DataError, match=r"none of its 40 photos is among the 40 of the data; .* 'p0', .* 'x/p0'"):
        read_scores(path, strangers)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"scores\.json:1: not JSON .*; expected what `seesay evaluate --json` writes"),
        (100_000 * "[", "JSON that cannot be read"),
        ("[]", "no captions in it"),
        ('{"captions": {"a": 3}}', "no captions in it"),
        ('{"captions": {"a": "A dog"}}', "has no scores of each image"),
        ('{"captions": {"a": "A dog"}, "scores": {"tokeniser": "ptb"}, "per_image": [1]}', "per_image: expected lists"),
        (
            '{"captions": {"a": "A dog"}, "scores": {"tokeniser": "ptb"}, '
            '"per_image": {"bleu": [[1]], "rouge_l": [1], "cider": [1], "meteor": null}}',
            "as many finite rows",
        ),
    ],
)
def test_files_that_are_no_scores(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "scores.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_scores(path)


def test_per_image_scores_as_json_and_back() -> None:
    one = replace(scored("", 1).per_image, meteor=np.ones((40, 23)))
    back = PerImage.from_dict(json.loads(json.dumps(one.to_dict())))
    for key in ("bleu", "rouge_l", "cider", "meteor"):
        np.testing.assert_array_equal(getattr(back, key), getattr(one, key))


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    path = scores_file(tmp_path / "run.json", 1)
    mixed = CliRunner().invoke(app, ["compare", str(path), str(tmp_path)])
    assert mixed.exit_code == 2 and "need --data PATH" in mixed.output
    sort = CliRunner().invoke(app, ["compare", str(path), "--sort", "cider"])
    assert sort.exit_code == 2 and "without --data and scores files" in sort.output


# ---- models


def test_models_are_scored_on_the_same_photos(
    tmp_path: Path, tiny_bundle: Path, tiny_photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seesay.metrics.official.official_scores", _no_java)
    rows = "".join(f"{photo.name},A dog number {n} runs .,test\n" for n, photo in enumerate(tiny_photos))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/captions.csv").write_text("image,caption,split\n" + rows)
    for photo in tiny_photos:
        (tmp_path / "data" / photo.name).write_bytes(photo.read_bytes())
    run = tmp_path / "run"
    run.mkdir()
    (run / "bundle").symlink_to(tiny_bundle)
    models = [str(tiny_bundle), str(run)]
    result = CliRunner().invoke(app, ["compare", *models, "--data", str(tmp_path / "data"), "--beam", "2"])
    assert result.exit_code == 0, result.output
    assert "run - tiny" in result.output and "7 photos of test of" in result.output
    assert "All models: beam 2, encoder in float32, decoder in float32." in " ".join(result.output.split())


def _no_java(*_: object) -> None:
    raise MissingExtraError("no Java in this test")
