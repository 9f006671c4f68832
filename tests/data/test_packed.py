"""Photos inside tars and tables, and photos with a text beside each: read, unpacked once, whole after a kill."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console

from seesay.data import packed
from seesay.data.images import open_photo
from seesay.data.readers import read_dataset, unpack_photos
from seesay.data.records import Dataset
from seesay.errors import DataError, MissingExtraError

SPLITS = {"train": (0, 1, 2), "val": (3,), "test": (4,)}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("SEESAY_CACHE", str(folder))
    return folder


def picture(number: int, format: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (50 * number, 0, 0)).save(file, format, quality=95)
    return file.getvalue()


def captions(number: int) -> list[str]:
    return [f"A dog, number {number}", f"Dog {number} runs"]


def tar(path: Path, members: Mapping[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as file:  # pyright: ignore[reportCallIssue, reportArgumentType]
        for name, data in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            file.addfile(about, io.BytesIO(data))
    return path


def check(data: Dataset, layout: str) -> None:
    """Five photos, each with the right captions, bytes and split."""
    assert data.layout == layout and data.counts() == {"train": 3, "dev": 1, "test": 1}
    assert not [problem for problem in data.problems if problem.kind == "error"]
    for record in data.records:
        number = int(record.captions[0][-1])
        assert list(record.captions) == captions(number)
        assert record.split == {"val": "dev"}.get(split := next(s for s, n in SPLITS.items() if number in n), split)
        assert abs(open_photo(record.image).getpixel((4, 4))[0] - 50 * number) < 3  # pyright: ignore[reportOptionalSubscript, reportIndexIssue, reportOperatorIssue]


# ---- WebDataset


@pytest.mark.parametrize("texts", ["txt", "json", "both"])
@pytest.mark.parametrize("naming", ["{}-000000.tar", "{}/00000.tar", "{}-000000.tar.gz"])
def test_webdataset(tmp_path: Path, texts: str, naming: str) -> None:
    for split, numbers in SPLITS.items():
        members: dict[str, bytes] = {}
        for n in numbers:
            members[f"./{n:09}.jpg"] = picture(n)
            members[f"./{n:09}.seg.png"] = picture(0, "PNG")
            if texts != "json":
                members[f"./{n:09}.txt"] = "\n".join(captions(n)).encode()
            if texts != "txt":
                members[f"./{n:09}.json"] = json.dumps({"caption": captions(n), "status": "success"}).encode()
        tar(tmp_path / naming.format(split), members, "w:gz" if naming.endswith("gz") else "w")
    data = read_dataset(tmp_path)
    check(data, "webdataset")
    assert {record.id for record in data.records} == {f"{n:09}" for n in range(5)} and not data.problems


def test_a_split_in_the_json_counts_more_than_the_name_of_the_tar(tmp_path: Path) -> None:
    about = json.dumps({"caption": "A dog", "split": "validation"}).encode()
    tar(tmp_path / "train-0.tar", {"a.jpg": picture(1), "a.json": about})
    assert read_dataset(tmp_path).counts() == {"dev": 1}


def test_what_is_wrong_in_a_tar_is_named(tmp_path: Path) -> None:
    members = {
        "a.jpg": picture(1),
        "a.txt": b"A dog",
        "b.jpg": picture(2),
        "b.json": b"{",
        "c.jpg": picture(3),
        "d.txt": b"A cat",
        "../e.jpg": picture(4),
        "../e.txt": b"A cow",
        "f.jpg": picture(1),
        "f.txt": b"\xff\xff\xe9",
    }
    tar(tmp_path / "one.tar", members)
    torn = tar(tmp_path / "two.tar", {"g.txt": b"A dog", "g.jpg": picture(1), "h.jpg": 99 * picture(1), "h.txt": b"x"})
    torn.write_bytes(torn.read_bytes()[:5000])
    data = read_dataset(tmp_path, splits="1/0/0")
    assert [record.id for record in data.records] == ["a", "g"]
    errors = "\n".join(str(problem) for problem in data.problems if problem.kind == "error")
    assert "one.tar:b.json: not JSON" in errors
    assert "one.tar:../e.jpg: leads out of its folder: left out" in errors
    assert "one.tar:f.txt: not UTF-8 text" in errors
    assert "two.tar: damaged, read up to there" in errors
    assert not any(".." in record.image.parts for record in data.records)
    assert any("4 photos without captions" in str(problem) for problem in data.problems)


def test_photos_of_one_name_in_two_tars_stay_two(tmp_path: Path) -> None:
    for number, name in enumerate(("train-0", "train-1")):
        tar(tmp_path / f"{name}.tar", {"a.jpg": picture(number), "a.txt": f"Photo {number}".encode()})
    data = read_dataset(tmp_path)
    assert {record.id: record.captions for record in data.records} == {
        "train-0.tar/a.jpg": ("Photo 0",),
        "train-1.tar/a.jpg": ("Photo 1",),
    }


# ---- parquet


def parquet(path: Path, rows: list[dict[str, Any]], group: int = 2) -> Path:
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(arrow.Table.from_pylist(rows), path, row_group_size=group)
    return path


PARQUET_ROWS = {
    "named photos, a list": lambda n: [{"image": {"bytes": picture(n), "path": f"{n}.jpg"}, "caption": captions(n)}],
    "nameless photos, a list": lambda n: [{"image": {"bytes": picture(n), "path": None}, "captions": captions(n)}],
    "bare bytes, columns": lambda n: [{"jpg": picture(n), **{f"caption_{k}": c for k, c in enumerate(captions(n))}}],
    "named beside": lambda n: [{"image": {"bytes": picture(n)}, "filename": f"{n}.jpg", "sentences": captions(n)}],
    "objects": lambda n: [
        {"image": {"bytes": picture(n), "path": f"{n}.jpg"}, "sentences": [{"raw": c, "id": 1} for c in captions(n)]}
    ],
    "a row a caption": lambda n: [
        {"image": {"bytes": picture(n), "path": f"{n}.jpg"}, "text": caption} for caption in captions(n)
    ],
}


@pytest.mark.parametrize("rows", PARQUET_ROWS)
@pytest.mark.parametrize("naming", ["data/{}-00000-of-00001.parquet", "{}.parquet", "{}/0000.parquet"])
def test_parquet_with_photos_inside(tmp_path: Path, rows: str, naming: str) -> None:
    for split, numbers in SPLITS.items():
        parquet(tmp_path / naming.format(split), [row for n in numbers for row in PARQUET_ROWS[rows](n)])
    data = read_dataset(tmp_path)
    check(data, "parquet")
    assert not data.problems


def test_parquet_whose_photos_all_have_one_name_are_told_apart(tmp_path: Path) -> None:
    rows = [{"image": {"bytes": picture(n), "path": "image.jpg"}, "caption": captions(n)} for n in range(4)]
    parquet(tmp_path / "train.parquet", rows)
    assert len(read_dataset(tmp_path).records) == 4


def test_parquet_with_paths_and_a_split_column(tmp_path: Path) -> None:
    rows = [{"pic": f"photos/{n}.jpg", "words": captions(n), "fold": split} for split, ns in SPLITS.items() for n in ns]
    parquet(tmp_path / "all.parquet", rows)
    for n in range(5):
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / f"photos/{n}.jpg").write_bytes(picture(n))
    check(read_dataset(tmp_path, columns="image=pic,caption=words,split=fold"), "parquet")
    with pytest.raises(DataError, match=r"all\.parquet: columns found: pic, words, fold; expected one named image"):
        read_dataset(tmp_path)


def test_a_missing_extra_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(
        MissingExtraError, match=r"train\.parquet: reading parquet needs .*pip install 'seesay\[parquet\]'"
    ):
        read_dataset(tmp_path)


def test_a_damaged_table_says_so(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "train.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"train\.parquet: damaged, or no parquet"):
        read_dataset(tmp_path)
    rows = [{"image": {"bytes": picture(n), "path": f"{n}.jpg"}, "caption": f"A dog, number {n}"} for n in range(9)]
    whole = parquet(tmp_path / "val.parquet", rows).read_bytes()
    parquet(tmp_path / "test.parquet", rows[:1])
    at = whole.index(b"A dog, number 4")
    for torn in (whole[:-9], whole[: at - 60] + bytes(200) + whole[at + 140 :]):
        (tmp_path / "val.parquet").write_bytes(torn)
        data = read_dataset(tmp_path)
        assert data.counts()["test"] == 1 and data.counts().get("dev", 0) < 9
        assert sum("parquet: damaged" in str(problem) for problem in data.problems) == 2


def test_a_photo_that_a_table_lacks_is_one_that_cannot_be_read(tmp_path: Path) -> None:
    rows = [{"image": {"bytes": picture(n) if n else None, "path": f"{n}.jpg"}, "caption": "A dog"} for n in range(2)]
    parquet(tmp_path / "train.parquet", rows)
    first, second = read_dataset(tmp_path).records
    assert first.image.stat().st_size == 0 and second.image.stat().st_size > 0


# ---- unpacking


def shard(folder: Path, count: int = 30) -> Path:
    members = {
        f"{n:04}.{kind}": data for n in range(count) for kind, data in (("jpg", picture(n % 5)), ("txt", b"A dog"))
    }
    return tar(folder / "train-0.tar", members)


def test_photos_are_unpacked_once_and_only_those_that_are_needed(tmp_path: Path, cache: Path) -> None:
    shard(tmp_path)
    out = io.StringIO()
    console = Console(file=out, width=200)
    data = read_dataset(tmp_path, limit=3, console=console)
    files = [path for path in cache.rglob("*") if path.is_file()]
    assert sorted(files) == sorted(record.image for record in data.records) and len(files) == 3
    assert "unpacking 3 photos once: about" in out.getvalue()
    before = {file: file.stat().st_mtime_ns for file in files}
    read_dataset(tmp_path, limit=3, console=console)
    assert before == {file: file.stat().st_mtime_ns for file in files}
    assert out.getvalue().count("unpacking") == 1
    whole = read_dataset(tmp_path, unpacked=False)
    assert sum(record.image.exists() for record in whole.records) == 3
    unpack_photos(whole, console)
    assert all(record.image.exists() for record in whole.records)


def test_a_tar_written_anew_is_unpacked_anew(tmp_path: Path) -> None:
    file = shard(tmp_path, 2)
    before = read_dataset(tmp_path).records[0].image
    tar(file, {"0000.jpg": picture(4), "0000.txt": b"A cat"})
    os.utime(file, (1, 1))
    after = read_dataset(tmp_path).records[0].image
    assert before != after and open_photo(after).getpixel((0, 0)) != open_photo(before).getpixel((0, 0))


def test_a_disk_without_room_is_said_before_anything_is_written(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard(tmp_path)
    full = type("Usage", (), {"free": 10})
    monkeypatch.setattr(packed.shutil, "disk_usage", lambda _: full)
    with pytest.raises(DataError, match=r"30 photos to unpack need .* set SEESAY_CACHE to a folder on a larger disk"):
        read_dataset(tmp_path)
    assert not list(cache.rglob("*"))


def test_a_killed_run_leaves_whole_photos_only_and_the_next_goes_on(tmp_path: Path, cache: Path) -> None:
    shard(tmp_path, 40)
    code = f"""
import os
from pathlib import Path
from seesay.data import packed
from seesay.data.readers import read_dataset
real, done = Path.replace, []
def replace(self, target):
    done.append(real(self, target))
    if len(done) == 7:
        os.kill(os.getpid(), 9)
Path.replace = replace
read_dataset({str(tmp_path)!r})
"""
    assert subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL).returncode == -9
    left = [path for path in cache.rglob("*.jpg") if not path.name.startswith(".")]
    assert len(left) == 7
    for path in left:
        open_photo(path)
    data = read_dataset(tmp_path)
    assert len(data.records) == 40 and all(record.image.stat().st_size for record in data.records)


# ---- a text beside each photo


@pytest.mark.parametrize("packed", [False, True])
def test_img2dataset_writes_tables_of_what_lies_beside_them(tmp_path: Path, packed: bool) -> None:
    parquet(tmp_path / "00000.parquet", [{"url": "https://example.org", "caption": "A dog", "key": "000000000"}])
    (tmp_path / "00000_stats.json").write_text('{"count": 1, "successes": 1}')
    members = {"000000000.jpg": picture(1), "000000000.txt": b"A dog", "000000000.json": b'{"caption": "A dog"}'}
    if packed:
        tar(tmp_path / "00000.tar", members)
    for name, data in members.items() if not packed else ():
        (tmp_path / "00000").mkdir(exist_ok=True)
        (tmp_path / "00000" / name).write_bytes(data)
    data = read_dataset(tmp_path, splits="1/0/0")
    assert data.layout == ("webdataset" if packed else "texts")
    assert [record.captions for record in data.records] == [("A dog",)]
    assert not any("passed over" in str(problem) for problem in data.problems)


@pytest.mark.parametrize("suffix", ["txt", "caption", "json"])
def test_photos_with_a_text_beside_them(tmp_path: Path, suffix: str) -> None:
    for split, numbers in SPLITS.items():
        for n in numbers:
            folder = tmp_path / split / "10_dog"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{n}.v2.jpg").write_bytes(picture(n))
            text = json.dumps({"captions": captions(n)}) if suffix == "json" else "\r\n".join([*captions(n), "", ""])
            (folder / f"{n}.v2.{suffix}").write_text(text, newline="")
    (tmp_path / "lonely.jpg").write_bytes(picture(0))
    data = read_dataset(tmp_path)
    check(data, "texts")
    assert data.records[-1].id == "val/10_dog/3.v2"


def test_a_text_beside_a_photo_called_test_is_no_list(tmp_path: Path) -> None:
    for name in ("test", "train"):
        (tmp_path / f"{name}.jpg").write_bytes(picture(1))
        (tmp_path / f"{name}.txt").write_text(f"A {name}")
    data = read_dataset(tmp_path)
    assert {record.id: record.captions for record in data.records} == {"test": ("A test",), "train": ("A train",)}
