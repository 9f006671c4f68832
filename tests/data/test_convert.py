"""Any layout into another and back: captions, splits and boxes stay; a killed conversion goes on."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from seesay.data import writers
from seesay.data.boxes import read_boxes
from seesay.data.check import check_dataset
from seesay.data.readers import read_dataset
from seesay.data.records import BoxedObject, CaptionRecord, Dataset
from seesay.data.shapes import grounded, write_shapes
from seesay.data.writers import FORMATS, convert
from seesay.errors import DataError, MissingExtraError

BOXES = (
    BoxedObject("people", ((0.1, 0.2, 0.5, 0.75), (0.5, 0.2, 0.9, 0.75)), frozenset({"man", "guy"}), ((0, 1), (1, 0))),
    BoxedObject("animals", ((0.25, 0.5, 0.375, 1.0),), frozenset({"dog"})),
)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEESAY_CACHE", str(tmp_path_factory.mktemp("cache")))


def dataset(root: Path) -> Dataset:
    """Photos that make it hard: equal names, dots, a suffix that lies, none at all, one that is damaged."""
    names = {
        "a/1.jpg": "train",
        "b/1.jpg": "train",
        "Dog.v2.JPG": "train",
        "dog.v2.jpg": "dev",
        "bare": "test",
        "1000268201_693b08cb0e.jpg": "dev",
        "wide.png": "",
        "torn.jpg": "train",
        "é ü.png": "test",
    }
    rows = []
    for number, (name, split) in enumerate(names.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 20), (20 * number, 0, 0)).save(path, "PNG" if name.endswith("png") else "JPEG")
        said = [
            f"A dog, number {number}",
            f'["A", "list"] | of "{number}"',
            "Again",
            "Again",
            "ein Hündchen \U0001f436",
        ]
        rows.append({"file_name": name, "captions": said, "split": split})
    (root / "torn.jpg").write_bytes((root / "torn.jpg").read_bytes()[:300])
    (root / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = read_dataset(root)
    assert len(data.records) == len(names)
    return data


def comparable(data: Dataset) -> list[Any]:
    """What must be the same, whatever the photos are called."""
    return sorted(
        ((r.split, r.captions, r.objects, r.image.read_bytes()) for r in data.records), key=lambda item: item[1]
    )


@pytest.mark.parametrize("to", FORMATS)
def test_a_round_trip_keeps_captions_splits_boxes_and_bytes(tmp_path: Path, to: str) -> None:
    if to == "parquet":
        pytest.importorskip("pyarrow")
    data = dataset(tmp_path / "data")
    first, *others = data.records
    boxed = replace(data, records=(replace(first, objects=BOXES), *others))
    convert(boxed, tmp_path / "out", to)
    written = read_dataset(tmp_path / "out")
    assert written.layout == to
    assert comparable(written) == comparable(boxed)
    assert {record.image.stem for record in written.records} >= {"1000268201_693b08cb0e"}  # tells copies elsewhere
    before, after = (check_dataset(tmp_path / part) for part in ("data", "out"))
    assert str(before).splitlines()[1:5] == str(after).splitlines()[1:5]
    assert (before.unreadable, after.unreadable) == (1, 1) and before.figures == after.figures


@pytest.mark.parametrize("to", FORMATS)
def test_every_format_into_every_other(tmp_path: Path, to: str) -> None:
    pytest.importorskip("pyarrow")
    data = dataset(tmp_path / "data")
    for other in FORMATS:
        there = convert(data, tmp_path / other, other)
        back = convert(there, tmp_path / f"{other}-{to}", to)
        assert comparable(read_dataset(tmp_path / f"{other}-{to}")) == comparable(data), other
        assert back.layout == to


def test_boxes_of_coco_are_there_for_other_programs_too(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data")
    boxed = replace(data, records=(replace(data.records[0], objects=BOXES), *data.records[1:]))
    convert(boxed, tmp_path / "out", "coco")
    found = json.loads((tmp_path / "out/annotations/instances_train.json").read_text())
    assert [category["name"] for category in found["categories"]] == ["animals", "people"]
    assert [note["bbox"] for note in found["annotations"]] == [[4, 4, 16, 11], [20, 4, 16, 11], [10, 10, 5, 10]]
    again = read_boxes(tmp_path / "out", read_dataset(tmp_path / "out"))
    assert comparable(again) == comparable(boxed)  # those of both files are the same boxes


def test_the_synthetic_set_keeps_its_boxes(tmp_path: Path) -> None:
    write_shapes(tmp_path / "shapes", train=3, dev=2, test=1)
    data = read_dataset(tmp_path / "shapes")
    convert(data, tmp_path / "out", "folder")
    assert comparable(read_dataset(tmp_path / "out")) == comparable(grounded(data))
    assert all(record.objects for record in read_dataset(tmp_path / "out").records)


def test_shards_are_of_the_size_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    rows = []
    for number in range(6):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / f"data/{number}.jpg").write_bytes(bytes([number]) * 400_000)
        rows.append(f"{number}.jpg,A dog,train\n")
    (tmp_path / "data/captions.csv").write_text("image,caption,split\n" + "".join(rows))
    data = read_dataset(tmp_path / "data")
    convert(data, tmp_path / "tars", "webdataset", shard_mb=1)
    assert sorted(path.name for path in (tmp_path / "tars").glob("*.tar")) == [f"train-{n:06}.tar" for n in range(3)]
    convert(data, tmp_path / "tables", "parquet", shard_mb=1)
    names = sorted(path.name for path in (tmp_path / "tables/data").iterdir())
    assert names == [f"train-{n:05}-of-00003.parquet" for n in range(3)]


def test_other_programs_find_what_they_expect(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    data = dataset(tmp_path / "data")
    convert(data, tmp_path / "tars", "webdataset")
    with tarfile.open(tmp_path / "tars/val-000000.tar") as tar:
        assert sorted(tar.getnames()) == [
            "1000268201_693b08cb0e.jpg",
            "1000268201_693b08cb0e.json",
            *("dog_v2-2.jpg", "dog_v2-2.json") * ("dog_v2-2.jpg" in tar.getnames()),
            *("dog_v2.jpg", "dog_v2.json") * ("dog_v2.jpg" in tar.getnames()),
        ]
    convert(data, tmp_path / "tables", "parquet")
    schema = parquet.read_schema(tmp_path / "tables/data/train-00000-of-00001.parquet")
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"} and schema.names == ["image", "captions"]
    convert(data, tmp_path / "folder", "folder")
    assert {path.parent.name for path in (tmp_path / "folder").glob("*/metadata.jsonl")} == {
        *("train", "validation", "test", "unsplit")
    }


@pytest.mark.parametrize("to", FORMATS)
def test_a_killed_conversion_goes_on_where_it_stopped(tmp_path: Path, to: str) -> None:
    pytest.importorskip("pyarrow")
    dataset(tmp_path / "data")
    code = f"""
import os
from pathlib import Path
from seesay.data.readers import read_dataset
from seesay.data.writers import convert
from seesay.data.writers.job import Photo
read, done = Photo.read, []
def dying(self):
    done.append(1)
    if len(done) == 7:
        os.kill(os.getpid(), 9)
    return read(self)
Photo.read = dying
convert(read_dataset({str(tmp_path / "data")!r}), {str(tmp_path / "out")!r}, {to!r})
"""
    assert subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL).returncode == -9
    left = [path for path in (tmp_path / "out").rglob("*.*") if path.name[0] != "."]
    before = {path: path.stat().st_mtime_ns for path in left}
    assert before and not any(path.suffix in (".json", ".jsonl") for path in left)
    if to in ("webdataset", "parquet"):
        assert any("has not finished writing it" in str(p) for p in read_dataset(tmp_path / "out").problems)
    data = read_dataset(tmp_path / "data")
    convert(data, tmp_path / "out", to)
    assert before.items() <= {path: path.stat().st_mtime_ns for path in before}.items()
    written = read_dataset(tmp_path / "out")
    assert comparable(written) == comparable(data) and not any("finished" in str(p) for p in written.problems)
    convert(data, tmp_path / "out", to)  # all is there: nothing happens


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    data = dataset(tmp_path / "data")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("x")
    with pytest.raises(DataError, match=r"out: holds something else already \(mine\.txt, \.\.\.\)"):
        convert(data, tmp_path / "out", "folder")
    convert(data, tmp_path / "new", "folder")
    for other, to in ((data, "coco"), (replace(data, records=data.records[:3]), "folder")):
        with pytest.raises(DataError, match="holds something else already"):
            convert(other, tmp_path / "new", to)


def test_what_cannot_be_done_is_said_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset(tmp_path / "data")
    with pytest.raises(DataError, match=r"--to webdatset: unknown format; .* Did you mean 'webdataset'"):
        convert(data, tmp_path / "out", "webdatset")
    gone = replace(data.records[0], image=tmp_path / "gone.jpg")
    with pytest.raises(DataError, match=r"gone\.jpg: cannot be read \(No such file"):
        convert(replace(data, records=(gone,)), tmp_path / "out", "folder")
    monkeypatch.setattr(writers.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(DataError, match=r"out: needs .* kB and the disk has 10 bytes free"):
        convert(data, tmp_path / "out", "folder")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"writing parquet needs .*pip install 'seesay\[parquet\]'"):
        convert(data, tmp_path / "other", "parquet")


def test_what_does_not_read_back_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = dataset(tmp_path / "data")
    lost = Dataset("folder", data.records[1:])
    monkeypatch.setattr(writers, "read_dataset", lambda *_, **__: lost)
    with pytest.raises(
        DataError, match="does not read back as it was written: 9 images with 45 captions became 8 images"
    ):
        convert(data, tmp_path / "out", "folder")


def test_nameless_photos_get_the_suffix_of_their_format(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "00000001", "PNG")
    data = Dataset("folder", (CaptionRecord("x/1", tmp_path / "00000001", ("A dog",), "train"),))
    assert convert(data, tmp_path / "out", "folder").records[0].image.name == "00000001.png"
