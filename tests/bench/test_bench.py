"""The bench: what it measures can only be checked by what must hold on any machine; its page by made-up figures."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from seesay.bench import Options, Report, run_bench
from seesay.bench.captioning import BEAMS, encoder_only, latency, linear, memory, stages, start_up, throughput
from seesay.bench.machine import machine, peak_memory
from seesay.bench.make_photos import SIZE, make_photos
from seesay.bench.metrics import made_up_captions, metrics
from seesay.bench.serving import serving
from seesay.bench.timing import Figure, figure, interleaved
from seesay.caption import Caption, Failure
from seesay.cli import main
from seesay.config import Recipe
from seesay.data.images import open_photo
from seesay.runtime import CaptionModel
from seesay.runtime.engine import Engine

KEYS = {"what", "unit", "value", "low", "high", "repeats", "limit", "against", "ratio"}


@pytest.fixture(scope="session")
def model(tiny_bundle: Path) -> CaptionModel:
    return CaptionModel.load(tiny_bundle)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_photos(tmp_path_factory.mktemp("bench"), 5)


def checked(found: Iterable[Figure]) -> dict[str, Figure]:
    """The figures by key, each with what must hold for any."""
    figures = {each.key: each for each in found}
    for each in figures.values():
        assert each.low <= each.value <= each.high and each.low > 0, each
        assert (each.limit is None) == (each.ratio is None)
        assert each.limit is None or (each.limit > 0 and each.against)
    return figures


def test_the_ratio_is_of_pairs() -> None:
    made = figure("a.b", "some", "s", [1.0, 6.0, 20.0], [1.0, 3.0, 40.0], "other")
    assert (made.value, made.low, made.high, made.limit, made.ratio) == (6.0, 1.0, 20.0, 3.0, 1.0)


def test_tasks_take_turns() -> None:
    order: list[str] = []
    seconds = interleaved(2, a=lambda: order.append("a"), b=lambda: order.append("b"))
    assert order == ["a", "b", "a", "b"]
    assert {name: len(each) for name, each in seconds.items()} == {"a": 2, "b": 2}


def test_photos_are_of_one_size_and_all_different(photos: list[Path], tmp_path: Path) -> None:
    assert {open_photo(photo).size for photo in photos} == {SIZE}
    assert len({photo.read_bytes() for photo in photos}) == len(photos)
    again = make_photos(tmp_path, 2)
    assert [photo.read_bytes() for photo in again] == [photo.read_bytes() for photo in photos[:2]]


def test_captioning_is_measured_for_every_beam(model: CaptionModel, photos: list[Path]) -> None:
    figures = checked(throughput(model, photos, repeats=1))
    assert list(figures) == [f"captioning.beam_{beam}" for beam in BEAMS]
    assert len({each.limit for each in figures.values()}) == 1


def test_the_limit_reads_the_same_photos_and_writes_nothing(model: CaptionModel, photos: list[Path]) -> None:
    results = list(encoder_only(model).caption_many([photos[0], "nowhere.jpg", photos[1]]))
    assert [(r.image, isinstance(r, Failure)) for r in results] == [
        (str(photos[0]), False),
        ("nowhere.jpg", True),
        (str(photos[1]), False),
    ]
    assert model.caption(photos[0]).text, "the model itself stays as it was"


def test_the_limit_of_a_calibrated_model(photos: list[Path]) -> None:
    (caption,) = encoder_only(CaptionModel.load()).caption_many([photos[0]])
    assert isinstance(caption, Caption)
    assert caption.text == ""
    assert caption.confidence is not None


def test_half_of_the_photos_are_quicker_than_the_slow_ones(model: CaptionModel, photos: list[Path]) -> None:
    figures = checked(latency(model, photos, repeats=2))
    assert figures["latency.median"].value <= figures["latency.p95"].value


def test_an_encoder_in_8_bits_stands_beside_the_one_in_float32(
    photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    model, made, real = CaptionModel.load(), [], Engine.open
    assert model.encoder_precision == "int8"

    def make(*arguments: object) -> Engine:
        made.append(real(*arguments))  # pyright: ignore[reportArgumentType]
        return made[-1]

    monkeypatch.setattr(Engine, "open", make)
    figures = checked(latency(model, photos[:2], repeats=1))
    assert [engine.encoder_precision for engine in made] == ["float32"]
    both = [figures[f"latency.{key}"] for key in ("median", "beside_float32")]
    assert [each.against for each in both] == ["encoder alone", "encoder alone, float32"]
    assert both[0].value == both[1].value


def test_shares_of_the_stages_sum_to_one(model: CaptionModel, photos: list[Path]) -> None:
    shares = {each.key.split(".")[1]: each.value for each in stages(model, photos, repeats=2)}
    assert list(shares) == ["decode", "encode", "decoder", "search", "rest"]
    assert sum(shares.values()) == pytest.approx(1)
    # photos are decoded by several threads, which may take longer in sum than there was time
    assert all(share > 0 for name, share in shares.items() if name != "rest")
    assert model.caption(photos[0]).text, "the model itself stays as it was"


def test_a_fresh_process_takes_longer_than_its_engine_alone(
    tiny_bundle: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(__file__).resolve().parents[2] / "src"
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(source), os.environ.get("PYTHONPATH", "")]))
    (found,) = checked(start_up(str(tiny_bundle), photos[0], repeats=1)).values()
    assert found.ratio is not None and found.ratio > 1


def test_memory_and_speed_of_a_process_of_its_own(tiny_bundle: Path, photos: list[Path]) -> None:
    (peak,) = checked(memory(str(tiny_bundle), photos)).values()
    assert 10 < peak.value < 2000, "MB"
    figures = checked(linear(str(tiny_bundle), photos, times=2))
    assert list(figures) == ["linear.speed", "linear.memory"]
    assert (figures["linear.speed"].what, figures["linear.speed"].against) == ("10 photos, beam 3", "5 photos")


@pytest.mark.slow
def test_the_server_stands_beside_the_folder(
    tiny_bundle: Path, model: CaptionModel, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fastapi", reason="the extra serve is not installed")
    monkeypatch.setenv("SEESAY_TOKEN", "a token of another server")
    figures = checked(serving(model, photos, 1, str(tiny_bundle)))
    assert set(figures) == {f"serve.clients_{n}{what}" for n in (1, 8, 32) for what in ("", "_p50", "_p95")}
    assert all((each.ratio is None) == key.endswith(("_p50", "_p95")) for key, each in figures.items())


def test_made_up_captions_are_like_real_ones() -> None:
    captions = made_up_captions(300, 0)
    assert {len(caption) for caption in captions} == set(range(7, 17))
    words = [word for caption in captions for word in caption]
    assert words.count("0") > 3 * words.count("9") > 0, "Zipf: ten times as often"
    assert captions == made_up_captions(300, 0) != made_up_captions(300, 1)


def test_scores_stand_beside_pycocoevalcap() -> None:
    figures = checked(metrics(30, repeats=1))
    assert [*figures] == [f"metrics.{name}" for name in ("cider_d", "cider_d_prepared", "bleu", "rouge_l")]
    assert {each.against for each in figures.values()} == {"pycocoevalcap"}
    assert all(each.limit for each in figures.values())


def test_without_the_extra_scores_say_how_to_get_the_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocoevalcap.cider.cider", None)
    for each in checked(metrics(30, repeats=1)).values():
        assert each.limit is None and "pip install 'seesay[eval]'" in each.against


@pytest.fixture
def training(tiny_recipe: Recipe):
    from seesay.bench.training import Training

    return Training(tiny_recipe, SimpleNamespace(grid=(3, 3), depth=17, finer_depth=0), steps=2)  # pyright: ignore[reportArgumentType]


def test_a_step_multiplies_at_least_its_words_by_the_vocabulary(training) -> None:
    from seesay.bench.training import VOCABULARY

    words = sum(int((batch.targets > 3).sum()) for batch, _ in zip(training.batches.epoch(0), range(2), strict=False))
    output = 2 * 3 * words / 2 * VOCABULARY * training.recipe.embedding.size  # forward, and twice backward
    assert output < training.flops() < 3 * output


def test_training_trains(training) -> None:
    before = [weights.detach().clone() for weights in training.objective.parameters()]
    assert training.run() > 0
    assert training.captions == 2 * 5 * training.recipe.train.batch_size
    after = list(training.objective.parameters())
    assert any(not np.array_equal(old, new.detach()) for old, new in zip(before, after, strict=True))
    assert not Path(training.recipe.folder).exists(), "no file is written"


def test_decoders_and_features_have_their_limits(
    tiny_recipe: Recipe, model: CaptionModel, photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import seesay.bench.training as room

    (tmp_path / "tiny.yaml").write_text(tiny_recipe.to_yaml(), encoding="utf-8")
    monkeypatch.setattr(room, "DECODERS", {"tiny": str(tmp_path / "tiny.yaml")})
    figures = checked(room.training(repeats=1, steps=1))
    assert list(figures) == ["training.tiny", "training.tiny_product"] and figures["training.tiny"].limit
    (found,) = checked(room.features(model, photos, repeats=1, batch=2)).values()
    assert found.limit and found.unit == "photos/s"


def test_what_a_card_would_do_is_done_by_the_same_search(model: CaptionModel, photos: list[Path]) -> None:
    from seesay.bench.on_gpu import captioning_on_device

    figures = checked(captioning_on_device(model, photos, repeats=1, device="cpu"))
    assert list(figures) == [f"device.beam_{beam}" for beam in BEAMS]
    assert all(each.limit for each in figures.values())


def run(tiny_bundle: Path, *kept: str) -> Report:
    return run_bench(Options(str(tiny_bundle), photos=3, repeats=1, images=20, only=kept), Console(quiet=True))


def test_without_torch_what_needs_it_is_left_out_and_said(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "seesay.bench.training", raising=False)
    report = run(tiny_bundle, "stages", "training", "features")
    assert {each.key.split(".")[0] for each in report.figures} == {"stages"}
    assert set(report.left_out) == {"training", "features"}
    assert "left out: training: " in report.table() and "pip install 'seesay[train]'" in report.table()
    assert report.machine["gpu"] is None


def test_json_has_every_figure_by_its_key(tiny_bundle: Path) -> None:
    found = json.loads(json.dumps(run(tiny_bundle, "metrics").to_dict()))
    assert set(found) == {"date", "model", "precision", "machine", "options", "seconds", "figures", "left_out"}
    assert all(set(each) == KEYS for each in found["figures"].values()) and found["figures"]
    assert set(found["machine"]) == {"cpu", "cores", "instructions", "memory_bytes", "system", "versions", "gpu"}
    assert {"seesay", "python", "onnxruntime", "numpy"} <= set(found["machine"]["versions"])


def test_the_machine_is_known() -> None:
    found = machine()
    assert found["cpu"] and found["cores"] >= 1
    assert (peak_memory() or 1e9) > 1e7


def test_the_table_by_hand() -> None:
    machine = {"cpu": "Abacus", "cores": 2, "instructions": ["avx2"], "memory_bytes": 3 * 2**30, "gpu": None}
    machine |= {"system": "Wood", "versions": {"seesay": "1.0", "numpy": "2.0"}}
    figures = [
        figure("captioning.beam_1", "photos", "photos/s", [30.0, 40.0, 50.0], [60.0, 50.0, 40.0], "encoder"),
        Figure("captioning.beam_3", "more photos", "photos/s", 1234.5, 1000.0, 2000.0, 3),
        Figure("memory", "peak", "MB", 512.0, 512.0, 512.0, 1),
    ]
    report = Report("2030-01-02", "tiny", "encoder in wood", machine, {}, 61.0, figures, {"training": "needs 'torch'"})
    assert report.table().splitlines() == [
        "Abacus, 2 cores (avx2), 3 GiB",
        "Wood; seesay 1.0, numpy 2.0",
        "model tiny, encoder in wood, 2030-01-02, 61 s",
        "",
        "             figure              low   high  limit  ratio  limit: what",
        "photos         40.0  photos/s   30.0   50.0   50.0   0.80  encoder",
        "more photos   1,234  photos/s  1,000  2,000",
        "",
        "peak            512  MB",
        "",
        "low and high: of the repeats. ratio: figure / limit, the median over the repeats.",
        "left out: training: needs 'torch'",
    ]
    card = dataclasses.replace(report, machine={**machine, "gpu": "Loom"})
    assert "graphics card: Loom" in card.table().splitlines()


def test_bench_prints_the_page_and_writes_json(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bench.json"
    options = ["--model", str(tiny_bundle), "--photos", "2", "--repeats", "1", "--only", "stages", "--json", str(out)]
    monkeypatch.setattr(sys, "argv", ["seesay", "bench", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "search and captions" in capsys.readouterr().out
    assert set(json.loads(out.read_text("utf-8"))["figures"]) == {
        f"stages.{name}" for name in ("decode", "encode", "decoder", "search", "rest")
    }


def test_a_part_that_is_none_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["seesay", "bench", "--only", "trainings"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "Did you mean 'training'?" in capsys.readouterr().err
