"""Runs side by side: made-up folders whose tables can be checked by hand."""

from __future__ import annotations

import csv
import dataclasses
import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from seesay.bundle.format import FILES, write_json, write_manifest
from seesay.cli import main
from seesay.config import Recipe, load_recipe
from seesay.data.images import ImageTransform
from seesay.data.tokens import CaptionTokenizer
from seesay.errors import BundleError, DataError, RecipeError, RunError
from seesay.evaluation.comparison import RunSummary, compare, measure_speed, read_run
from seesay.evaluation.comparison.chart import BAR, RUNNING_BAR, draw_chart
from seesay.metrics import Scores

if TYPE_CHECKING:
    from seesay.models.captioner import Captioner

HISTORY = ((1, 0.30, 60.5), (2, 0.52, 121.0), (3, 0.50, 181.5))  # epoch, CIDEr, seconds since the start
ENCODER, DECODER = 3 * 4 + 4, 5 * 6


def recipe_of(folder: Path, **keys: Any) -> Recipe:
    """The default recipe in `folder`, with `train__lr=...` for train.lr."""
    values: dict[str, Any] = {"name": "made up", "out": str(folder), "data": {"path": ["/data/flickr8k"]}}
    for key, value in {"train__epochs": 4, **keys}.items():
        section, _, name = key.rpartition("__")
        (values.setdefault(section, {}) if section else values)[name] = value
    return Recipe.from_dict(values)


def scores_of(cider: float, interval: tuple[float, float], images: int = 1000, tokeniser: str = "ptb") -> Scores:
    return Scores(
        bleu=(0.6, 0.4, 0.3, 0.215),
        meteor=0.2 if tokeniser == "ptb" else None,
        rouge_l=0.45,
        cider=cider,
        cider_interval=interval,
        comparable=tokeniser == "ptb",
        tokeniser=tokeniser,
        images=images,
        references=5 * images,
    )


def write_history(folder: Path, rows: Sequence[tuple[float, float, float]] = HISTORY) -> None:
    lines = ["epoch,step,loss,lr,cider,bleu4,seconds"]
    lines += [f"{epoch},{100 * epoch},3.5,0.001,{cider},0.2,{seconds}" for epoch, cider, seconds in rows]
    (folder / "metrics.csv").write_text("\r\n".join(lines) + "\r\n", encoding="utf-8")


def write_run(folder: Path, scores: dict[str, Any] | Scores | None = None, **keys: Any) -> Path:
    """A run's folder; a finished one with a bundle (whose graphs are empty) if there are scores."""
    folder.mkdir(parents=True)
    recipe = recipe_of(folder, **keys)
    (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    write_history(folder)
    if scores is not None:
        found = {"dev": scores.to_dict()} if isinstance(scores, Scores) else scores
        write_fake_bundle(folder / "bundle", recipe, found)
    return folder


def write_fake_bundle(folder: Path, recipe: Recipe, scores: dict[str, Any]) -> None:
    folder.mkdir()
    for name in FILES:
        (folder / name).write_bytes(b"")
    (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    (folder / "tokenizer.json").write_text(CaptionTokenizer.build(["a dog"], min_count=1).to_json(), encoding="utf-8")
    write_json(folder / "preprocessing.json", ImageTransform(96, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic").to_dict())
    write_json(folder / "search.json", {"beam": 3})
    write_json(folder / "scores.json", scores)
    weights = {
        "encoder.conv.weight": np.zeros((3, 4), np.float16),
        "encoder.norm.bias": np.zeros(4, np.float32),
        "encoder.norm.running_mean": np.zeros(4, np.float32),
        "encoder.norm.num_batches_tracked": np.zeros((), np.int64),
        "decoder.word_out.weight": np.zeros((5, 6), np.float16),
    }
    save_file(weights, folder / "weights.safetensors")
    write_manifest(folder, (3, 3))


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two finished runs that differ in size and rate, and one without a bundle."""
    small = write_run(tmp_path / "small", scores_of(0.55, (0.51, 0.59)), decoder__size=256)
    large = write_run(tmp_path / "large", scores_of(0.6, (0.565, 0.635)), train__lr=0.002)
    running = write_run(tmp_path / "running")
    return [small, large, running]


def rows_of(table: str) -> list[list[str]]:
    """Cells of the first block of a table; they are two blanks apart."""
    return [[cell for cell in line.split("  ") if cell.strip()] for line in table.split("\n\n")[0].splitlines()]


def test_a_finished_run_is_read(runs: list[Path]):
    run = read_run(runs[0])
    assert (run.name, run.state, run.bundle) == ("small", "finished", runs[0] / "bundle")
    assert (run.cider, run.interval, run.tokeniser) == (0.55, (0.51, 0.59), "ptb")
    assert (run.epochs, run.best_epoch, run.training_cider, run.seconds) == (3, 2, 0.52, 181.5)
    assert (run.encoder_parameters, run.decoder_parameters) == (ENCODER, DECODER)
    assert run.recipe["decoder.size"] == 256


def test_a_running_run_has_the_best_epochs_cider(runs: list[Path]):
    run = read_run(str(runs[2]))
    assert (run.state, run.bundle, run.scores, run.encoder_parameters) == ("running", None, None, None)
    assert (run.cider, run.interval, run.tokeniser) == (0.52, None, "seesay")


@pytest.mark.parametrize("changed", ["train.epochs", "train.lr", "encoder.lr", "train.patience"])
def test_a_bundle_of_before_the_run_was_resumed_is_not_its_result(changed: str, runs: list[Path]):
    recipe = load_recipe(runs[0] / "recipe.yaml", [f"{changed}=9"])
    (runs[0] / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    assert (read_run(runs[0]).state, read_run(runs[0]).scores) == ("running", None)


def test_a_run_in_its_first_epoch_has_no_figures(tmp_path: Path):
    folder = write_run(tmp_path / "young")
    (folder / "metrics.csv").unlink()
    run = read_run(folder)
    assert (run.epochs, run.cider, run.seconds, run.tokeniser) == (0, None, None, None)
    assert [cell.strip() for cell in rows_of(compare([run]).table())[1]] == ["young", "running", "0/4"]


def test_a_bundle_alone_is_read(runs: list[Path]):
    run = read_run(runs[1] / "bundle")
    assert (run.state, run.cider, run.epochs, run.seconds) == ("bundle", 0.6, None, None)
    assert compare([run]).runs[0].name == "large/bundle"


def test_scores_of_before_a_resumption_do_not_count(runs: list[Path]):
    (runs[0] / "recipe.yaml").write_text(recipe_of(runs[0], train__epochs=9).to_yaml(), encoding="utf-8")
    run = read_run(runs[0])
    assert (run.state, run.cider, run.decoder_parameters) == ("running", 0.52, DECODER)


def test_scores_of_another_format_give_way_to_trainings_figure(tmp_path: Path):
    flat = scores_of(0.9, (0.8, 1.0)).to_dict()
    comparison = compare([read_run(write_run(tmp_path / "old", flat)), read_run(write_run(tmp_path / "none", {}))])
    assert [run.cider for run in comparison.runs] == [0.52, 0.52]
    assert "52.0 in training" in comparison.table()
    assert "No dev scores of this format in the bundle: old, none" in comparison.table()


def test_the_table(runs: list[Path]):
    comparison = compare(map(read_run, runs))
    assert comparison.differences == ("decoder.size", "train.lr")
    figures = [
        "run      CIDEr               BLEU-4  METEOR  ROUGE-L  epochs  best     time  encoder  decoder",
        "small     55.0 [51.0, 59.0]    21.5    20.0     45.0     3/4     2  3.0 min   0.00 M   0.00 M",
        "large     60.0 [56.5, 63.5]    21.5    20.0     45.0     3/4     2  3.0 min   0.00 M   0.00 M",
        "running   52.0 running            -       -        -     3/4     2  3.0 min        -        -",
    ]
    recipes = ["decoder.size  train.lr", "256           0.0012", "512           0.002", "512           0.0012"]
    wide = [f"{left}  {right}" for left, right in zip(figures, recipes, strict=True)]
    assert comparison.table().splitlines()[:5] == [*wide, ""]
    names = ["run    ", "small  ", "large  ", "running"]
    below = [f"{name}  {right}" for name, right in zip(names, recipes, strict=True)]
    assert comparison.table(width=100).splitlines()[:10] == [*figures, "", *below, ""]


def test_large_figures_are_shown_in_large_units(runs: list[Path]):
    run = dataclasses.replace(
        read_run(runs[0]), seconds=9000.0, encoder_parameters=4_811_072, captions_per_second=61.27
    )
    titles, cells = rows_of(compare([run]).table())
    assert titles[-1].strip() == "captions/s"
    assert [cell.strip() for cell in cells[-4:]] == ["2.5 h", "4.81 M", "0.00 M", "61.3"]


def test_no_line_is_wider_than_asked(tmp_path: Path):
    one = write_run(tmp_path / "one", train__lr=0.1, encoder__name="x" * 70, decoder__dropout=0.1, tokens__min_count=3)
    two = write_run(tmp_path / "two", scores_of(0.5, (0.4, 0.6), images=50), train__batch_size=7, train__ema=0.9)
    for width in (60, 120):
        table = compare([read_run(one), read_run(two)]).table(width)
        assert max(map(len, table.splitlines())) <= width
        assert f"{'x' * 37}..." in table


def test_own_names_and_places_are_no_differences(tmp_path: Path):
    one = write_run(tmp_path / "one", data__path=["/data/flickr8k"], encoder__weights="/a/lite0.safetensors")
    two = write_run(tmp_path / "two", data__path=["/mnt/flickr8k/"], encoder__weights="/b/lite0.safetensors", name="b")
    comparison = compare([read_run(one), read_run(two)])
    assert comparison.differences == ()
    assert not any("equal terms" in warning for warning in comparison.warnings)


@pytest.mark.parametrize("key", ["data__path", "data__boxes", "train__init", "train__teachers"])
def test_paths_are_compared_by_their_last_names(key: str, tmp_path: Path):
    folders = {"one": "/here/a", "two": "/elsewhere/a", "three": "/here/b"}
    one, two, three = (write_run(tmp_path / name, None, **{key: [path]}) for name, path in folders.items())
    assert compare(map(read_run, (one, two))).differences == ()
    assert compare(map(read_run, (one, three))).differences == (key.replace("__", "."),)


def test_keys_of_other_versions_are_compared(tmp_path: Path):
    one, two = write_run(tmp_path / "one"), write_run(tmp_path / "two")
    with (two / "recipe.yaml").open("a", encoding="utf-8") as file:
        file.write("gone:\n  flag: true\n")
    comparison = compare([read_run(one), read_run(two)])
    assert comparison.differences == ("gone.flag",)
    assert comparison.columns()[-1].cells == ["null", "true"]


def test_names_are_the_shortest_that_differ(tmp_path: Path):
    folders = [write_run(tmp_path / where) for where in ("a/run", "b/run", "b/other")]
    folders.append(write_run(tmp_path / "c", scores_of(0.5, (0.4, 0.6))) / "bundle")
    assert [run.name for run in compare(map(read_run, folders)).runs] == ["a/run", "b/run", "other", "c/bundle"]


@pytest.mark.parametrize(
    ("key", "order"),
    [
        (None, ["small", "large", "running"]),
        ("cider", ["large", "small", "running"]),
        ("cider_low", ["large", "small", "running"]),
        ("name", ["large", "running", "small"]),
        ("seconds", ["large", "running", "small"]),
    ],
)
def test_sorting(runs: list[Path], key: str | None, order: list[str]):
    write_history(runs[0], [(1, 0.5, 999.0)])
    assert [run.name for run in compare(map(read_run, runs), key).runs] == order


def test_sorting_by_nothing_known(runs: list[Path]):
    with pytest.raises(RunError, match=r"cannot sort by 'cidr'.*Did you mean 'cider'"):
        compare(map(read_run, runs), "cidr")
    with pytest.raises(RunError, match="no runs"):
        compare([])


def warning_of(*runs: Path) -> str:
    return next((text for text in compare(map(read_run, runs)).warnings if "equal terms" in text), "")


def test_unequal_terms_are_said(tmp_path: Path, runs: list[Path]):
    assert warning_of(runs[0], runs[1]) == ""
    half = write_run(tmp_path / "half", scores_of(0.5, (0.4, 0.6), images=500), data__limit=500)
    assert "dev photos 1,000 (small), 500 (half); references 5,000 (small), 2,500 (half)" in warning_of(runs[0], half)
    assert "data.limit null (small), 500 (half)" in warning_of(runs[0], half)
    own = write_run(tmp_path / "own", scores_of(0.5, (0.4, 0.6), tokeniser="seesay"))
    assert warning_of(*runs, own).endswith("tokeniser ptb (small, large), seesay (running, own).")
    other = write_run(tmp_path / "other", scores_of(0.5, (0.4, 0.6)), data__path=["coco", "flickr8k"])
    assert "data.path flickr8k (small), coco+flickr8k (other)" in warning_of(runs[0], other)


def test_shares_are_drawn_by_the_seed(tmp_path: Path):
    one, two = (write_run(tmp_path / f"{seed}", data__splits="0.8/0.1/0.1", seed=seed) for seed in (1, 2))
    assert "seed of the dev photos 1 (1), 2 (2)" in warning_of(one, two)
    one, two = (write_run(tmp_path / f"{seed}", seed=seed) for seed in (3, 4))
    assert warning_of(one, two) == ""


def test_where_tokenisers_differ_the_common_figure_is_given(runs: list[Path]):
    warnings = compare(map(read_run, runs)).warnings
    assert any(text.endswith("small 52.0, large 52.0, running 52.0.") for text in warnings)


def test_notes_of_the_scores_are_passed_on(tmp_path: Path):
    one, two = (write_run(tmp_path / name, scores_of(0.5, (0.4, 0.6), images=50)) for name in ("one", "two"))
    assert any(
        text.startswith("one, two: CIDEr on 50 images says little")
        for text in compare([read_run(one), read_run(two)]).warnings
    )


def test_markdown_parses_back(runs: list[Path]):
    comparison = compare(map(read_run, runs))
    table, _, notes = comparison.markdown().partition("\n\n")
    titles, ruler, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    assert titles == [column.title for column in comparison.columns()]
    assert set("".join(ruler)) == {"-", ":"} and len(ruler) == len(titles)
    assert [row[:2] for row in rows] == [
        ["small", "55.0 [51.0, 59.0]"],
        ["large", "60.0 [56.5, 63.5]"],
        ["running", "52.0 running"],
    ]
    assert notes.splitlines() == [f"- {text}" for text in comparison.warnings]


def test_markdown_cells_cannot_break_the_table(tmp_path: Path):
    one, two = write_run(tmp_path / "one", encoder__name="a|b"), write_run(tmp_path / "two")
    assert r"a\|b" in compare([read_run(one), read_run(two)]).markdown()


def test_csv_parses_back(runs: list[Path]):
    rows = list(csv.DictReader(io.StringIO(compare(map(read_run, runs)).csv())))
    assert [row["name"] for row in rows] == ["small", "large", "running"]
    large, running = rows[1], rows[2]
    assert (large["cider"], large["cider_low"], large["cider_high"]) == ("0.6", "0.565", "0.635")
    assert (large["bleu_4"], large["meteor"], large["images"]) == ("0.215", "0.2", "1000")
    assert (large["encoder_parameters"], large["seconds"], large["best_epoch"]) == (str(ENCODER), "181.5", "2")
    assert (large["decoder.size"], large["train.lr"]) == ("512", "0.002")
    assert (running["cider"], running["cider_low"], running["meteor"], running["state"]) == ("0.52", "", "", "running")


def bar_lengths(chart: Image.Image, colour: tuple[int, int, int]) -> list[int]:
    """Pixels of each bar along its upper edge, which no whisker crosses fully, from the top down."""
    painted = (np.asarray(chart) == colour).all(axis=2).sum(axis=1)
    starts = np.flatnonzero((painted > 0) & (np.roll(painted, 1) == 0))
    return [int(painted[start]) for start in starts]


def summary(name: str, cider: float | None, interval: tuple[float, float] | None = None) -> RunSummary:
    scores = scores_of(cider, interval).to_dict() if cider is not None and interval else None
    return RunSummary(Path(name), name, {}, "finished" if scores else "running", scores=scores, training_cider=cider)


def test_bars_are_as_long_as_their_figures():
    runs = [summary("a", 0.6, (0.56, 0.64)), summary("b", 0.3, (0.2, 0.4)), summary("c", 0.15), summary("d", None)]
    chart = draw_chart(runs)
    first, second = bar_lengths(chart, BAR)
    (third,) = bar_lengths(chart, RUNNING_BAR)
    assert first > 300
    assert second == pytest.approx(first / 2, abs=1)
    assert third == pytest.approx(first / 4, abs=1)


def test_whiskers_end_where_the_interval_ends():
    chart = draw_chart([summary("a", 0.5, (0.25, 1.0))])
    pixels = np.asarray(chart)
    rows = np.flatnonzero((pixels == BAR).all(axis=2).any(axis=1))
    middle = pixels[(rows[0] + rows[-1]) // 2]
    left = int(np.flatnonzero((pixels[rows[0]] == BAR).all(axis=1))[0])
    (length,) = bar_lengths(chart, BAR)
    ink = np.flatnonzero((middle == (28, 27, 25)).all(axis=1))
    inside = ink[(ink >= left) & (ink <= left + 2 * length + 2)]
    assert inside[0] - left == pytest.approx(length / 2, abs=2)
    assert inside[-1] - left == pytest.approx(2 * length, abs=2)


@pytest.mark.parametrize("ciders", [(0.0,), (None,), (0.00001, 0.0), (2.5, 1.0), (None, 0.7)])
def test_any_figures_can_be_drawn(ciders: tuple[float | None, ...]):
    runs = [summary(f"run {i} " * 20, cider) for i, cider in enumerate(ciders)]
    chart = draw_chart(runs, ["what must be known " * 20])
    assert (chart.mode, chart.width) == ("RGB", 960)
    assert len(bar_lengths(chart, RUNNING_BAR)) == sum(bool(cider) for cider in ciders)


def test_what_is_no_run(runs: list[Path], tmp_path: Path):
    with pytest.raises(RunError, match=r"smal: no such folder. Did you mean 'small'"):
        read_run(tmp_path / "smal")
    with pytest.raises(
        RunError, match=r"no recipe.yaml .* no manifest.json .*Runs inside it: .*large, .*running, .*small"
    ):
        read_run(tmp_path)
    (tmp_path / "larg").mkdir()
    with pytest.raises(RunError, match=r"no recipe.yaml .*Did you mean 'large'"):
        read_run(tmp_path / "larg")
    with pytest.raises(RunError, match="a file, not a folder"):
        read_run(runs[0] / "metrics.csv")
    with pytest.raises(RunError, match="nowhere/at/all: no such folder"):
        read_run("nowhere/at/all")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no epoch in it"),
        ("epoch,cider,seconds\n", "no epoch in it"),
        ("epoch,seconds\n1,2\n", "line 2: damaged: no column 'cider', got epoch, seconds"),
        ("epoch,cider,seconds\n1,0.5,3\n2,zero,6\n", "line 3: damaged: cider is 'zero', expected a number"),
        ("epoch,cider,seconds\n1,0.5,3\n2,0.6\n", "line 3: damaged: seconds is '', expected a number"),
        ("epoch,cider,seconds\n1,nan,3\n", "cider is 'nan'"),
        ('epoch,cider,seconds\n1,"0.5"x,3\n', "damaged"),
        ("epoch,cider,seconds\n1,\udcff,3\n", "damaged"),
    ],
)
def test_damaged_figures(tmp_path: Path, text: str, said: str):
    folder = write_run(tmp_path / "run")
    (folder / "metrics.csv").write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(DataError, match=r"metrics\.csv") as caught:
        read_run(folder)
    assert said in str(caught.value)


def test_damaged_recipes_and_bundles(runs: list[Path]):
    for text in ("a: [", "- 1\n", ""):
        (runs[2] / "recipe.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(RecipeError, match=r"recipe\.yaml"):
            read_run(runs[2])
    (runs[0] / "bundle" / "scores.json").write_text("{}", encoding="utf-8")
    with pytest.raises(BundleError, match=r"scores\.json"):
        read_run(runs[0])
    (runs[1] / "bundle" / "manifest.json").unlink()
    for folder in (runs[1], runs[1] / "bundle"):
        with pytest.raises(BundleError, match=r"no manifest\.json"):
            read_run(folder)


def test_a_real_bundle(tiny_bundle: Path, tiny_captioner: Captioner, runs: list[Path]):
    run = measure_speed(read_run(tiny_bundle), seconds=0)
    assert run.captions_per_second is not None and run.captions_per_second > 0
    assert run.encoder_parameters == sum(p.numel() for p in tiny_captioner.encoder.parameters())
    assert run.decoder_parameters == sum(p.numel() for p in tiny_captioner.decoder.parameters())
    running = read_run(runs[2])
    assert measure_speed(running) is running


def test_the_verb(
    runs: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    def seesay(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["seesay", "compare", *arguments])
        try:
            main()
        except SystemExit as exit_:
            return int(exit_.code or 0)
        return 0

    monkeypatch.chdir(tmp_path)
    names = [run.name for run in runs]
    assert seesay(*names, "--sort", "cider", "--markdown", "o.md", "--csv", "o.csv", "--chart", "o.png") == 0
    comparison = compare(map(read_run, names), "cider")
    assert capsys.readouterr().out == comparison.table() + "\n"
    assert Path("o.md").read_text(encoding="utf-8") == comparison.markdown()
    assert Path("o.csv").read_text(encoding="utf-8") == comparison.csv()
    with Image.open("o.png") as chart:
        assert np.array_equal(np.asarray(chart), np.asarray(comparison.chart()))
    for arguments, said in (
        (["smal"], "Did you mean 'small'"),
        ([*names, "--chart", "o.txt"], "o.txt: cannot be written"),
        ([*names, "--csv", "no/o.csv"], "does not exist"),
        ([*names, "--sort", "luck", "--speed"], "cannot sort by 'luck'"),
    ):
        assert seesay(*arguments) == 1
        assert said in capsys.readouterr().err


def test_comparing_needs_neither_torch_nor_onnxruntime():
    code = "import sys, seesay.evaluation.comparison; sys.exit(bool({'torch', 'onnxruntime'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
