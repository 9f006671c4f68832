"""What `seesay caption` can be pointed at: lists, manifests, tars, tables, addresses, and shards of them."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import threading
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import write_photo

from seesay.data.images import open_photo
from seesay.data.sources import ListedPhoto, ManifestColumns, Shard, Sources, opened_at, place_of, places
from seesay.errors import DataError, MissingExtraError, PhotoError


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    (folder / "deep").mkdir(parents=True)
    for i, name in enumerate(("a.jpg", "b.png", "deep/c.jpg", "deep/d.png")):
        write_photo(folder / name, i)
    return folder


IDS = ["a.jpg", "b.png", "deep/c.jpg", "deep/d.png"]


def ids(sources: Sources) -> list[str]:
    return [photo.id for photo in sources]


def error_of(photo: ListedPhoto) -> str:
    with pytest.raises(PhotoError) as caught:
        open_photo(photo.source)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def assert_opens_elsewhere(sources: Sources, album: Path, names: list[str]) -> None:
    """Each photo has the pixels of its file, also after its place was handed over as text."""
    for photo, name in zip(sources, names, strict=True):
        source = opened_at(place_of(photo, places()), places())
        assert open_photo(source).tobytes() == open_photo(album / name).tobytes()


# shards


def test_shards_are_disjoint_and_complete_and_stay_so_when_photos_are_added(album: Path) -> None:
    def parts() -> list[set[str]]:
        return [set(ids(Sources([album], shard=Shard(number, 3)))) for number in (1, 2, 3)]

    for i in range(40):
        (album / f"{i}.jpg").touch()
    before = parts()
    assert sum(map(len, before)) == len(set.union(*before)) == 44
    assert all(before), "each shard has some"
    for i in range(40, 80):
        (album / f"{i}.jpg").touch()
    after = parts()
    assert sum(map(len, after)) == len(set.union(*after)) == 84
    assert all(old <= new for old, new in zip(before, after, strict=True))


def test_a_shard_does_not_depend_on_where_the_folder_lies(album: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(album, tmp_path / "elsewhere/copy")
    assert ids(Sources([album], shard=Shard(1, 2))) == ids(Sources([copied], shard=Shard(1, 2)))
    held = [number for name in IDS for number in range(1, 8) if Shard(number, 7).holds(name)]
    assert held == [7, 6, 2, 2], "for ever: a part may be old"


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "-1/4", "1/4/2", "", "1 / 4"])
def test_shards_of_another_form(text: str) -> None:
    with pytest.raises(ValueError, match="expected K/N"):
        Shard.parse(text)


# lists and manifests


def test_a_list_of_paths(album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(album)
    listed = tmp_path / "photos.txt"
    listed.write_bytes(b"a.jpg\r\n\ndeep/c.jpg\ngone.jpg\n" + b"x" * 2**21 + b"\nb.png")
    *good, gone, _, last = photos = list(Sources([f"@{listed}"]))
    assert [photo.id for photo in photos] == [*IDS[::2], "gone.jpg", f"@{listed}:5", "b.png"]
    assert all(open_photo(photo.source) for photo in (*good, last))
    assert error_of(gone) == "no such file"
    assert error_of(photos[3]).startswith("longer than 1,048,576 bytes")
    (album / "@odd.jpg").write_bytes((album / "a.jpg").read_bytes())
    assert [photo.image for photo in Sources(["@odd.jpg"])] == ["@odd.jpg"], "a file of that name is a photo"
    with pytest.raises(DataError, match=r"nowhere\.txt: cannot be read"):
        list(Sources(["@nowhere.txt"]))


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_manifest_with_and_without_ids(kind: str, album: Path) -> None:
    manifest = album / f"m.{kind}"

    def write(rows: list[dict[str, object]]) -> Sources:
        if kind == "jsonl":
            manifest.write_text("\n".join(map(json.dumps, rows)), "utf-8")
        else:
            pq.write_table(pa.Table.from_pylist(rows), manifest)
        return Sources([manifest])

    sources = write([{"path": name} for name in IDS])
    assert ids(sources) == IDS and sources.count() == 4
    assert_opens_elsewhere(sources, album, IDS)
    sources = write([{"n": i, "pic": str(album / "a.jpg")} for i in range(3)])
    with pytest.raises(DataError, match=r"columns found: n, pic; expected one named path, .*--columns image=NAME"):
        list(sources)
    sources = Sources([manifest], columns=ManifestColumns.parse("image=pic, id=n"))
    assert ids(sources) == ["0", "1", "2"], "one photo may have several ids"
    with pytest.raises(DataError, match=r"--columns id=m: columns found: n, pic"):
        list(Sources([manifest], columns=ManifestColumns.parse("image=pic,id=m")))
    rows = [{"id": "one", "file_name": "a.jpg"}, {"id": "two", "file_name": None}, {"id": None, "file_name": "b.png"}]
    good, bad, nameless = write(rows)
    assert (good.id, good.own_id) == ("one", True)
    assert error_of(bad) == "file_name: got null, expected a path"
    assert error_of(nameless) == "id: got null, expected an id"


def test_lines_that_are_no_objects_are_failures_of_their_own(album: Path) -> None:
    manifest = album / "m.jsonl"
    manifest.write_bytes(b'\xef\xbb\xbf{"path": "a.jpg"}\n[1]\n{"path": \n\xff\n\n{"path": "b.png"}\n')
    first, *bad, last = Sources([manifest])
    assert (first.id, last.id) == ("a.jpg", "b.png")
    assert [photo.id for photo in bad] == [f"{manifest}:{line}" for line in (2, 3, 4)]
    assert {error_of(photo) for photo in bad} == {"expected a JSON object in each line"}


@pytest.mark.parametrize("text", ["path=x", "image", "image=", "id=a,b"])
def test_columns_of_another_form(text: str) -> None:
    with pytest.raises(ValueError, match="expected image=COLUMN or id=COLUMN"):
        ManifestColumns.parse(text)


# tars and tables of photos


def test_a_tar_is_read_without_unpacking(album: Path, tmp_path: Path) -> None:
    members = {name.replace("deep", "./deep"): (album / name).read_bytes() for name in IDS}
    tar = write_tar(tmp_path / "0.tar", {**members, "a.json": b"{}", "._a.jpg": b"", "raw.nef": b""})
    sources = Sources([tar])
    assert ids(sources) == [f"0.tar/{name}" for name in IDS]
    assert sources.passed_over == {"camera RAW": 1}
    assert_opens_elsewhere(sources, album, IDS)
    other = tmp_path / "sub"
    other.mkdir()
    shutil.copy(tar, other / "0.tar")
    assert len(set(ids(Sources([tar, other / "0.tar"])))) == 8, "two tars of one name"


def test_bad_members_are_failures_of_their_own(album: Path, tmp_path: Path) -> None:
    data = (album / "a.jpg").read_bytes()
    tar = tmp_path / "0.tar"
    names = ["good.jpg", "../../etc/evil.jpg", "/root.jpg", "new\nline\x1b.jpg", "good.jpg", "last.jpg"]
    with tarfile.open(tar, "w") as file:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
        bomb = tarfile.TarInfo("bomb.jpg")
        bomb.size = 2**40
        file.addfile(bomb)
    good, evil, root, odd, again, last, linked, big, damaged = Sources([tar])
    assert all(open_photo(photo.source) for photo in (good, odd, last))
    assert error_of(evil) == error_of(root) == "its name leads out of the tar"
    assert error_of(again) == "the tar has an earlier member of this name"
    assert error_of(linked) == "a link or a device, not a photo"
    assert error_of(big).startswith("1,099,511,627,776 bytes")
    assert error_of(damaged).startswith("damaged or no tar")
    assert not (tmp_path.parent / "etc").exists()


def test_tars_that_are_cut_short_compressed_or_none(album: Path, tmp_path: Path) -> None:
    data = (album / "b.png").read_bytes()
    tar = write_tar(tmp_path / "0.tar", {"a.png": data, "b.png": data})
    tar.write_bytes(tar.read_bytes()[: 512 + len(data) // 512 * 512 + 512 + 600])
    first, *rest = Sources([tar])
    assert open_photo(first.source)
    assert any("ends within it" in reason or "damaged" in reason for reason in map(error_of, rest))
    (tmp_path / "1.tar").write_bytes(b"no tar" * 200)
    (only,) = Sources([tmp_path / "1.tar"])
    assert error_of(only).startswith("damaged or no tar")
    (tmp_path / "2.tar.gz").write_bytes(b"")
    (only,) = Sources([tmp_path / "2.tar.gz"])
    assert "decompress it" in error_of(only)


@pytest.mark.parametrize("as_struct", [True, False])
def test_a_table_of_photos(album: Path, tmp_path: Path, as_struct: bool) -> None:
    photos: list[object] = [(album / name).read_bytes() for name in IDS] * 20
    column = [{"bytes": data, "path": "x"} for data in photos] if as_struct else photos
    table = tmp_path / "t.parquet"
    pq.write_table(pa.table({"image": column}), table, row_group_size=33)
    sources = Sources([table])
    assert ids(sources) == [f"t.parquet/{row:08}" for row in range(80)] and sources.count() == 80
    assert_opens_elsewhere(sources, album, IDS * 20)
    listed = list(sources)
    for row in (79, 3, 50, 4, 2):  # in any order
        assert open_photo(listed[row].source).tobytes() == open_photo(album / IDS[row % 4]).tobytes()
    pq.write_table(pa.table({"id": ["x", "y"], "bytes": [photos[0], None]}), table)
    good, bad = Sources([table])
    assert (good.id, bad.id, good.own_id) == ("x", "y", True)
    assert open_photo(good.source) and error_of(bad) == "bytes: got null, expected the bytes of a photo"


def test_a_damaged_table_is_one_failure(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and then nothing")
    (only,) = Sources([tmp_path / "t.parquet"])
    assert error_of(only).startswith("damaged, or no Parquet")


# addresses


@pytest.fixture
def bucket(album: Path) -> str:
    files = fsspec.filesystem("memory")
    files.store.clear()
    for path in (path for path in album.rglob("*") if path.is_file()):
        files.pipe(f"/bucket/{path.relative_to(album).as_posix()}", path.read_bytes())
    files.pipe("/bucket/notes.txt", b"none")
    return "memory://bucket"


def test_photos_at_an_address(bucket: str, album: Path) -> None:
    sources = Sources([bucket])
    assert ids(sources) == IDS and sources.count() is None
    assert_opens_elsewhere(sources, album, IDS)
    assert ids(Sources([f"{bucket}/a.jpg"])) == [f"{bucket}/a.jpg"]
    assert ids(Sources([f"{bucket}/*.jpg"])) == ["a.jpg"]
    assert ids(Sources([f"{bucket}/*/*.jpg"])) == ["deep/c.jpg"]
    assert error_of(next(iter(Sources([f"{bucket}/gone.jpg"])))) == "no such file"


def test_manifests_and_tars_at_an_address(bucket: str, album: Path, tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    files.pipe("/bucket/m.jsonl", b"".join(json.dumps({"path": name}).encode() + b"\n" for name in IDS))
    assert_opens_elsewhere(Sources([f"{bucket}/m.jsonl"]), album, IDS)
    tar = write_tar(tmp_path / "0.tar", {name: (album / name).read_bytes() for name in IDS})
    for number in range(2):
        files.pipe(f"/bucket/shards/{number}.tar", tar.read_bytes())
    sources = Sources([f"{bucket}/shards/*.tar"])
    assert ids(sources) == [f"{number}.tar/{name}" for number in range(2) for name in IDS]
    assert_opens_elsewhere(sources, album, IDS * 2)
    listed = tmp_path / "list.txt"
    listed.write_text(f"{bucket}/a.jpg\nhttp://127.0.0.1:9/a.jpg\n")
    good, web = Sources([f"@{listed}"])
    assert open_photo(good.source) and web.image == "http://127.0.0.1:9/a.jpg"
    assert error_of(web)


def test_an_address_of_no_known_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="nokind://x/: cannot be read"):
        list(Sources(["nokind://x/"]))
    with pytest.raises(DataError, match=r"memory://nothing/\*\.tar: no file matches"):
        list(Sources(["memory://nothing/*.tar"]))
    monkeypatch.setitem(__import__("sys").modules, "fsspec.core", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'seesay\[remote\]'"):
        list(Sources(["s3://bucket/"]))


# all of them


def test_photos_come_before_the_listing_is_complete(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: scandir(path) if Path(path) == album else pytest.fail("listed"))
    assert next(iter(Sources([album]))).id == "a.jpg", "before the folder within"
    os.mkfifo(album / "fifo")
    stream = iter(Sources([f"@{album}/fifo"]))
    written = threading.Event()

    def write() -> None:
        with (album / "fifo").open("wb", buffering=0) as pipe:
            pipe.write(b"a.jpg\n")
            written.wait(20)

    thread = threading.Thread(target=write)
    thread.start()
    assert next(stream).id == "a.jpg", "while the rest of the list is still being made"
    written.set()
    thread.join()
    assert list(stream) == []


def test_several_sources_and_what_is_missing_among_them(album: Path, tmp_path: Path) -> None:
    manifest = album / "m.jsonl"
    manifest.write_text(json.dumps({"path": "a.jpg"}))
    sources = Sources([manifest, album / "deep"])
    assert ids(sources) == [str(album / "deep/c.jpg"), str(album / "deep/d.png"), "a.jpg"]
    stream = iter(Sources([manifest, tmp_path / "gone"]))
    assert next(stream).id == "a.jpg", "good work first"
    with pytest.raises(DataError, match="no such file or folder"):
        next(stream)
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DataError, match=r"no photos found in .*empty\.jsonl"):
        list(Sources([tmp_path / "empty.jsonl"]))
