"""`seesay data show` and `seesay data convert` as a user calls them."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from seesay.cli.app import app
from seesay.data.readers import read_dataset


def dataset(root: Path, count: int = 20) -> Path:
    rows = []
    for number in range(count):
        (root / "photos").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 20), (number, 0, 0)).save(root / f"photos/p{number}.png")
        thing = {"kind": "animals", "names": ["dog"], "boxes": [[0.1, 0.2, 0.5, 0.75]], "mentions": []}
        row = {"file_name": f"photos/p{number}.png", "text": [f"<b>dog</b> & no. {number}", "A cat"]}
        rows.append({**row, "split": "val" if number < 5 else "train", "objects": [thing] if number < 5 else []})
    (root / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def call(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["data", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def names(page: Path) -> list[str]:
    return re.findall(r'<span class="name">([^<]*)</span>', page.read_text("utf-8"))


def test_a_page_shows_photos_with_captions_and_boxes(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    call("show", dataset(tmp_path / "data"), "--split", "dev", "--n", "3", "--page", page)
    text = page.read_text("utf-8")
    assert len(names(page)) == 3 and all(name.endswith("(dev)") for name in names(page))
    assert "<b>dog</b> &" not in text and "&lt;b&gt;dog&lt;/b&gt; &amp; no. " in text
    assert text.count('style="left:10.00%;top:20.00%;width:40.00%;height:55.00%') == 3
    assert "3 photos of 5, drawn at random (seed 0)" in text and "train 15, dev 5; 40 captions" in text
    assert text.count("data:image/jpeg") == 3 and "://" not in unescape(text) and "<script" not in text


def test_the_same_photos_every_time_and_others_with_another_seed(tmp_path: Path) -> None:
    data, page = dataset(tmp_path / "data"), tmp_path / "page.html"
    drawn = []
    for seed in (0, 0, 1):
        call("show", data, "--page", page, "--seed", seed)
        drawn.append(names(page))
    assert drawn[0] == drawn[1] != drawn[2] and len(drawn[0]) == 12
    call("show", data, "--page", page, "--n", "99")
    assert len(names(page)) == 20


def test_a_photo_that_cannot_be_read_stands_there_with_the_reason(tmp_path: Path) -> None:
    data, page = dataset(tmp_path / "data", 2), tmp_path / "page.html"
    (data / "photos/p1.png").write_text("no photo")
    call("show", data, "--page", page)
    assert '<p class="unreadable">' in page.read_text("utf-8") and len(names(page)) == 2


def test_a_split_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["data", "show", str(dataset(tmp_path / "data")), "--page", str(tmp_path / "page.html"), "--split", "test"]
    )
    assert result.exit_code and "split 'test': not in this data; it has: train (15 photos), dev (5 photos)" in str(
        result.exception
    )


def test_convert_says_what_came_out_and_check_says_the_same_of_both(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data")
    said = call("convert", data, tmp_path / "out", "--to", "webdataset")
    assert f"{tmp_path / 'out'}: webdataset, 20 images, 40 captions (train 15, dev 5)" in said
    before, after = (call("check", path).partition("layout: ")[2].splitlines() for path in (data, tmp_path / "out"))
    read = [(lines.pop(-4), lines.pop(0)) for lines in (before, after)]
    assert before == after and len(before) == 6
    assert read[1] == ("captions read from train-000000.tar, val-000000.tar", "webdataset")
    assert sum(len(record.objects) for record in read_dataset(tmp_path / "out").records) == 5


def test_boxes_of_another_folder_are_converted_too(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data", 6)
    instances = {
        "images": [{"id": 1, "file_name": "p5.png", "width": 40, "height": 20}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [4, 5, 20, 10]}],
    }
    (tmp_path / "instances_all.json").write_text(json.dumps(instances))
    call("convert", data, tmp_path / "out", "--to", "folder", "--boxes", tmp_path / "instances_all.json")
    found = {record.image.stem: record.objects for record in read_dataset(tmp_path / "out").records}
    assert found["p5"][0].boxes == ((0.1, 0.25, 0.6, 0.75),) and found["p5"][0].kind == "cat"


@pytest.mark.parametrize("verb", ["show", "convert"])
def test_help(verb: str) -> None:
    assert "PATH..." in call(verb, "--help")
