"""Writers from Python: what they write, in which order, and what an error leaves behind."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_photo
from PIL import Image

from seesay.caption import Caption, Failure, Word
from seesay.data import images
from seesay.errors import BusyError, SeesayError
from seesay.outputs import WRITERS, Figures, Job, JsonLines, LeftOutError, OpenedOnce, Page, Result, Writer


def caption(text: str, image: str | None = "a.jpg", score: float = -2.5) -> Caption:
    words = tuple(Word(word, -0.5, np.full((2, 2), 0.25, np.float32)) for word in text.split())
    return Caption(text, score, words, image)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return write_photo(tmp_path / "a.jpg", 1)


@pytest.mark.parametrize(
    ("name", "suffix"), [("json", ".jsonl"), ("csv", ".csv"), ("figure", ".png"), ("page", ".html")]
)
def test_every_writer_takes_captions_lists_and_failures(name: str, suffix: str, photo: Path, tmp_path: Path) -> None:
    results: list[Result] = [
        caption("a dog", str(photo)),
        [caption("a cat", str(photo)), caption("a <b>", str(photo))],
        Failure("b.jpg", "damaged"),
        caption("no name", None),
    ]
    kind = WRITERS[name]
    with kind(tmp_path / f"out{suffix}") as writer:
        for result in results:
            writer.write(photo, result)
    written = sorted(path for path in tmp_path.iterdir() if path != photo)
    if name == "figure":
        assert [path.name for path in written] == ["out-a-2.png", "out-a.png", "out-photo.png"]
        assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    else:
        assert [path.name for path in written] == [f"out{suffix}"]
        text = written[0].read_text("utf-8")
        assert "b.jpg" in text and ("no name" in text or "</button>" in text)


def test_json_lines(tmp_path: Path) -> None:
    job = Job(several="samples", attention=True, made_by=lambda: {"model": "m"})
    with JsonLines(tmp_path / "o.jsonl", job) as writer:
        writer.write("a.jpg", caption("a dog"))
        assert lines_of(tmp_path / "o.jsonl"), "each line is there at once"
        writer.write("a.jpg", [caption("a cat"), caption("a cow", score=-3.0)])
        writer.write("b.jpg", Failure("b.jpg", "damaged"))
    first, second, third = lines_of(tmp_path / "o.jsonl")
    assert list(first) == ["image", "caption", "score", "words", "made_by"]
    assert first["words"][0] == {"text": "a", "logprob": -0.5, "attention": [[0.25, 0.25], [0.25, 0.25]]}
    assert second["caption"] == "a cat"
    assert second["samples"] == [{"caption": "a cat", "score": -2.5}, {"caption": "a cow", "score": -3.0}]
    assert third == {"image": "b.jpg", "error": "b.jpg: damaged"}


def test_json_lines_go_on(tmp_path: Path) -> None:
    out = tmp_path / "o.jsonl"
    with JsonLines(out, Job(made_by=lambda: {"beam": 3})) as writer:
        writer.write("a.jpg", caption("a dog", "a.jpg"))
        writer.write("b.jpg", Failure("b.jpg", "busy"))
    with JsonLines(out, Job(resume=True, made_by=lambda: {"beam": 3})) as writer:
        assert writer.done == {"a.jpg"}
        writer.write("b.jpg", caption("a cat", "b.jpg"))
    assert [entry["caption"] for entry in lines_of(out)] == ["a dog", "a cat"]


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"beam": 3}, {"beam": 3, "prefix": "a woman"}, r"prefix None \(now a woman\)"),
        ({"beam": 3, "max_words": 4}, {"beam": 3}, r"max_words 4 \(now None\)"),
        ({"beam": 3}, {"sample": [5, 0.8, 0.9, 0]}, r"sample None \(now \[5, 0.8, 0.9, 0\]\), beam 3 \(now None\)"),
        ({"sample": [5, 0.8, 0.9, 0]}, {"sample": [5, 0.8, 0.9, 1]}, r"sample \[5, 0.8, 0.9, 0\] \(now"),
    ],
)
def test_options_that_were_not_given_count_too(
    tmp_path: Path, before: dict[str, Any], now: dict[str, Any], said: str
) -> None:
    out = tmp_path / "o.jsonl"
    with JsonLines(out, Job(made_by=lambda: before)) as writer:
        writer.write("a.jpg", caption("a dog"))
    kept = out.read_bytes()
    with pytest.raises(SeesayError, match=rf"o\.jsonl:1: was made with {said}"):
        JsonLines(out, Job(resume=True, made_by=lambda: now))
    assert out.read_bytes() == kept
    with JsonLines(out, Job(resume=True, made_by=lambda: before)) as writer:
        assert writer.done == {"a.jpg"}


def test_two_writers_of_one_file(tmp_path: Path) -> None:
    with JsonLines(tmp_path / "o.jsonl"), pytest.raises(BusyError, match="another process is writing to it"):
        JsonLines(tmp_path / "o.jsonl")
    JsonLines(tmp_path / "o.jsonl").close()


def test_csv_is_read_by_spreadsheets(tmp_path: Path) -> None:
    """Commas and quotes in names, line breaks, names that are programs to a spreadsheet, and names that are no text."""
    names = ['a, "b".jpg', "line\nbreak.jpg", "=cmd|' /C calc'!A0.jpg", "/x/=y.jpg", "caf\udce9.jpg"]
    with WRITERS["csv"](tmp_path / "o.csv") as writer:
        for name in names:
            writer.write(name, caption("a dog", name))
        writer.write("b.jpg", Failure("b.jpg", "damaged"))
        writer.write("c.jpg", [caption("one", "c.jpg"), caption("two", "c.jpg", -3.0)])
    with (tmp_path / "o.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image", "caption", "score"], "as ever, where the model knows no confidence"
    assert [row["image"] for row in rows[:5]] == [*names[:2], f"./{names[2]}", names[3], "caf\\udce9.jpg"]
    assert [tuple(row.values()) for row in rows[5:]] == [
        ("b.jpg", "", ""),
        ("c.jpg", "one", "-2.50000"),
        ("c.jpg", "two", "-3.00000"),
    ]


def test_csv_and_several_captions_say_how_far_to_trust_them(tmp_path: Path) -> None:
    sure = replace(caption("a dog", "a.jpg"), confidence=0.81236, kind="photo", photo_probability=0.98)
    unsure = replace(sure, text="a cat", confidence=0.3).withhold(0.5)
    with WRITERS["csv"](tmp_path / "o.csv") as table, JsonLines(tmp_path / "o.jsonl") as lines:
        for writer in (table, lines):
            writer.write("b.jpg", Failure("b.jpg", "damaged"))
            writer.write("a.jpg", [sure, unsure])
            writer.write("b.jpg", Failure("c.jpg", "damaged"))
    with (tmp_path / "o.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["image", "caption", "score", "confidence", "kind"],
            ["b.jpg", "", "", "", ""],
            ["a.jpg", "a dog", "-2.50000", "0.8124", "photo"],
            ["a.jpg", "", "-2.50000", "0.3000", "photo"],
            ["c.jpg", "", "", "", ""],
        ]
    _, entry, _ = lines_of(tmp_path / "o.jsonl")
    assert entry["alternatives"] == [
        {"caption": "a dog", "score": -2.5, "confidence": 0.8124, "withheld": False},
        {"caption": "a cat", "score": -2.5, "confidence": 0.3, "withheld": True},
    ]


def test_a_table_of_failures_alone(tmp_path: Path) -> None:
    with WRITERS["csv"](tmp_path / "o.csv") as table:
        table.write("b.jpg", Failure("b.jpg", "damaged"))
    assert (tmp_path / "o.csv").read_text("utf-8") == "image,caption,score\nb.jpg,,\n"


def test_text_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("json", "csv"):
        assert WRITERS[name].streams
        with WRITERS[name]("-") as writer:
            writer.write("a.jpg", caption("a dog"))
    assert '"caption": "a dog"' in (out := capsys.readouterr().out)
    assert out.endswith("image,caption,score\na.jpg,a dog,-2.50000\n")


def test_a_photo_is_opened_once_for_all(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, whole = [], images.open_photo

    def counted(*arguments: Any) -> Image.Image:
        opened.append(arguments)
        return whole(*arguments)

    monkeypatch.setattr(images, "open_photo", counted)
    shared = OpenedOnce(photo)
    out = tmp_path / "o.png"
    with Figures(out) as figures, Page(out.with_suffix(".html")) as page, JsonLines(out.with_suffix(".l")) as lines:
        lines.write(shared, caption("a dog"))
        assert not opened, "JSON needs no picture"
        figures.write(shared, caption("a dog"))
        page.write(shared, caption("a dog"))
    assert len(opened) == 1


def test_photos_that_are_gone(tmp_path: Path) -> None:
    """The page says so in their place, a figure is left out, and both go on."""
    shared = OpenedOnce(tmp_path / "gone.jpg")
    with Page(tmp_path / "o.html") as page:
        page.write(shared, caption("a dog", "x/gone.jpg"))
    assert "gone.jpg: no such file" in (tmp_path / "o.html").read_text("utf-8")
    figures = Figures(tmp_path / "o.png")
    with pytest.raises(LeftOutError, match=r"o-gone\.png: not drawn: .*gone\.jpg: no such file$"):
        figures.write(shared, caption("a dog", "x/gone.jpg"))


def test_an_error_leaves_lines_and_no_half_page(photo: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        JsonLines(tmp_path / "o.jsonl") as lines,
        WRITERS["csv"](tmp_path / "o.csv") as table,
        Page(tmp_path / "o.html") as page,
    ):
        for writer in (lines, table, page):
            writer.write(photo, caption("a dog"))
        raise KeyboardInterrupt
    assert len(lines_of(tmp_path / "o.jsonl")) == 1
    assert len((tmp_path / "o.csv").read_text("utf-8").splitlines()) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"a.jpg", "o.jsonl", "o.csv"}


def test_the_files_of_a_job_are_known_beforehand() -> None:
    assert Figures.files(Path("o.png"), Job(["x/a.jpg"])) == [Path("o.png")]
    several = Job(["x/a.jpg", "y/a.jpg", "x/a.jpg", "z/A.jpg"])
    assert Figures.files(Path("o.png"), several) == [Path("o-a.png"), Path("o-a-2.png"), Path("o-A-3.png")]
    assert Page.files(Path("o.html"), several) == [Path("o.html")]
    with pytest.raises(SeesayError, match=r"o\.pdf: cannot be written: expected a name that ends in \.png"):
        Figures.files(Path("o.pdf"), several)


def test_a_new_writer_is_an_option_too(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One class and its name: that is all that the command line needs to know."""
    import importlib
    import sys

    from seesay.cli import app

    class Texts(Writer):
        about = "Write a text file beside each photo's name."

        def write(self, photo: Any, result: Result) -> None:
            if isinstance(result, Caption):
                Path(f"{self.path}.{Path(str(result.image)).stem}").write_text(result.text)

    monkeypatch.setitem(WRITERS, "texts", Texts)
    try:
        module = importlib.reload(app)
        monkeypatch.setattr(sys, "argv", ["seesay", "caption", str(photo), "--model", str(tiny_bundle)])
        sys.argv += ["--texts", str(tmp_path / "t")]
        with pytest.raises(SystemExit) as ended:
            module.run()
        assert not ended.value.code
        said = capsys.readouterr().out
        assert (tmp_path / "t.a").read_text() == said.split(": ", 1)[1].strip()
    finally:
        monkeypatch.undo()
        importlib.reload(app)
