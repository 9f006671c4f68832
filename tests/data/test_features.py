"""The feature cache: each photo once, whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import write_photo

from seesay.data.cache_folder import cache_folder
from seesay.data.feature_cache import DIGEST_BYTES, FeatureCache, PhotoFeatures, photo_digest
from seesay.data.images import open_photo
from seesay.errors import DataError

ROW_BYTES = 2 * 3 * 4 * 2


def load(photo: Path) -> np.ndarray:
    """(3,) float32: a photo's mean colour."""
    return np.asarray(open_photo(photo), np.float32).mean(axis=(0, 1))


class Encoder:
    """(B, 3) -> (B, 6, 4) that counts what it is asked for, and stops after so many photos."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.photos, self.stop_after = 0, stop_after

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        if self.stop_after is not None and self.photos >= self.stop_after:
            raise RuntimeError("stopped")
        self.photos += len(batch)
        return batch.mean(axis=1)[:, None, None] * np.ones((1, 6, 4), np.float32)


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    (tmp_path / "photos").mkdir()
    return [write_photo(tmp_path / "photos" / f"{i}.png", i) for i in range(9)]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., FeatureCache]:
    def make(**identity: object) -> FeatureCache:
        return FeatureCache({"encoder": "mean", **identity}, (2, 3), 4, tmp_path / "cache")

    return make


def expect(features: PhotoFeatures, photos: list[Path]) -> None:
    """Every photo has the row of its own content."""
    assert (features.row_numbers >= 0).all()
    rows = features.take(np.arange(len(photos)))
    assert rows.shape == (len(photos), 6, 4)
    assert rows.dtype == np.float16
    wanted = np.array([load(photo).mean() for photo in photos])
    np.testing.assert_allclose(rows[:, 5, 3], wanted, rtol=1e-3)
    assert len({float(value) for value in wanted}) > 1


def test_each_photo_is_encoded_once(make: Callable[..., FeatureCache], photos: list[Path]) -> None:
    encoder, begun, advanced = Encoder(), [], []

    def begin(missing: int) -> Callable[[int], None]:
        begun.append(missing)
        return advanced.append

    expect(make().get(photos, load, encoder, batch_size=4, begin=begin), photos)
    assert encoder.photos == 9
    assert advanced == [4, 4, 1]
    expect(make().get(photos[::-1], load, encoder, begin=begin), photos[::-1])
    assert encoder.photos == 9
    assert (begun, advanced) == ([9], [4, 4, 1]), "the second time there is nothing to announce"


def test_content_is_found_again_under_another_name(
    make: Callable[..., FeatureCache], photos: list[Path], tmp_path: Path
) -> None:
    make().get(photos[:5], load, Encoder())
    (tmp_path / "other").mkdir()
    copies = [tmp_path / "other" / f"copy-{photo.name}" for photo in photos]
    for photo, copy in zip(photos, copies, strict=True):
        copy.write_bytes(photo.read_bytes())
    encoder = Encoder()
    expect(make().get(copies, load, encoder), photos)
    assert encoder.photos == 4


def test_changed_content_under_the_same_name_is_encoded_anew(
    make: Callable[..., FeatureCache], photos: list[Path]
) -> None:
    make().get(photos, load, Encoder())
    write_photo(photos[3], 77)
    encoder = Encoder()
    expect(make().get(photos, load, encoder), photos)
    assert encoder.photos == 1


def test_duplicates_share_a_row(make: Callable[..., FeatureCache], photos: list[Path]) -> None:
    twice = [photos[0], photos[1], photos[0], photos[0]]
    encoder = Encoder()
    features = make().get(twice, load, encoder, batch_size=1)
    expect(features, twice)
    assert encoder.photos == len(features.rows) == 2
    assert features.row_numbers.tolist() == [0, 1, 0, 0]


def test_no_photos(make: Callable[..., FeatureCache], photos: list[Path]) -> None:
    for before in (0, 2):
        make().get(photos[:before], load, Encoder())
        features = make().get([], load, Encoder())
        assert features.rows.shape == (before, 6, 4)
        assert features.row_numbers.shape == (0,)
        assert features.problems == ()


def test_given_digests_are_believed(make: Callable[..., FeatureCache], photos: list[Path]) -> None:
    digests = [photo_digest(photo) for photo in photos]
    assert {len(digest) for digest in digests} == {DIGEST_BYTES}
    cache = make()
    assert cache.missing([*digests, digests[0]]) == list(range(9))
    cache.get(photos[:2], load, Encoder(), digests=digests[:2])
    assert cache.missing(digests) == list(range(2, 9))


def test_identity_grid_and_depth_change_the_folder(tmp_path: Path) -> None:
    def folder(identity: dict[str, object], grid: tuple[int, int] = (2, 3), depth: int = 4) -> Path:
        return FeatureCache(identity, grid, depth, tmp_path).folder

    first = folder({"encoder": "a", "weights": "1"})
    assert first == folder({"weights": "1", "encoder": "a"})
    others = [folder({"encoder": "a", "weights": "2"}), folder({"encoder": "a", "weights": "1"}, (3, 2))]
    others.append(folder({"encoder": "a", "weights": "1"}, depth=5))
    assert len({first, *others}) == 4
    assert first.parent == tmp_path


def test_seesay_cache_says_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEESAY_CACHE", str(tmp_path / "elsewhere"))
    assert FeatureCache({}, (1, 1), 1).folder.parent == tmp_path / "elsewhere" / "features"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SEESAY_CACHE", "~/there")
    assert cache_folder() == tmp_path / "there"
    monkeypatch.delenv("SEESAY_CACHE")
    assert "seesay" in str(cache_folder())


# interruptions


def test_goes_on_after_an_exception(make: Callable[..., FeatureCache], photos: list[Path]) -> None:
    with pytest.raises(RuntimeError, match="stopped"):
        make().get(photos, load, Encoder(stop_after=4), batch_size=2)
    encoder = Encoder()
    expect(make().get(photos, load, encoder, batch_size=2), photos)
    assert encoder.photos == 5


@pytest.mark.parametrize("rows", [0, 1, 3 * ROW_BYTES - 1, 3 * ROW_BYTES, 4 * ROW_BYTES + 7, 9 * ROW_BYTES])
@pytest.mark.parametrize("index", [0, 5, 3 * DIGEST_BYTES, 5 * DIGEST_BYTES + 3, 9 * DIGEST_BYTES])
def test_torn_tails_are_dropped(make: Callable[..., FeatureCache], photos: list[Path], rows: int, index: int) -> None:
    cache = make()
    cache.get(photos, load, Encoder())
    os.truncate(cache.folder / "rows.f16", rows)
    os.truncate(cache.folder / "rows.index", index)
    encoder = Encoder()
    expect(make().get(photos, load, encoder), photos)
    assert encoder.photos == 9 - min(rows // ROW_BYTES, index // DIGEST_BYTES)
    assert (cache.folder / "rows.f16").stat().st_size == 9 * ROW_BYTES


@pytest.mark.parametrize("lost", ["rows.f16", "rows.index"])
def test_a_lost_file_costs_the_other(make: Callable[..., FeatureCache], photos: list[Path], lost: str) -> None:
    cache = make()
    cache.get(photos, load, Encoder())
    (cache.folder / lost).unlink()
    encoder = Encoder()
    expect(make().get(photos, load, encoder), photos)
    assert encoder.photos == 9


@pytest.mark.parametrize("value", [b"\xff", b"\x00", b"\x3c"], ids=["NaN", "zeros", "numbers"])
def test_a_damaged_row_is_encoded_anew(make: Callable[..., FeatureCache], photos: list[Path], value: bytes) -> None:
    cache = make()
    before = cache.get(photos, load, Encoder())
    with (cache.folder / "rows.f16").open("r+b") as file:
        for row in (2, 5):
            file.seek(row * ROW_BYTES + 10)
            file.write(value * 4)
    encoder = Encoder()
    features = make().get(photos[:4], load, encoder)
    expect(features, photos[:4])
    assert (encoder.photos, features.repaired) == (1, 1), "only what is asked for is looked at"
    features = make().get(photos, load, encoder)
    expect(features, photos)
    assert (encoder.photos, features.repaired) == (2, 1)
    assert make().get(photos, load, Encoder(stop_after=0)).repaired == 0
    assert before.rows.shape[0] == 9, "who reads goes on with the rows that it has"


def test_rows_under_another_photos_digest_are_damaged(make: Callable[..., FeatureCache], photos: list[Path]) -> None:
    cache = make()
    cache.get(photos, load, Encoder())
    index = (cache.folder / "rows.index").read_bytes()
    exchanged = index[DIGEST_BYTES : 2 * DIGEST_BYTES] + index[:DIGEST_BYTES] + index[2 * DIGEST_BYTES :]
    (cache.folder / "rows.index").write_bytes(exchanged)
    features = make().get(photos, load, Encoder())
    expect(features, photos)
    assert features.repaired == 2


@pytest.mark.parametrize("size", [None, 0, 4 * 5 + 3, 4 * 9 + 4])
def test_checksums_that_are_missing_are_added(
    make: Callable[..., FeatureCache], photos: list[Path], size: int | None
) -> None:
    """As after an early version wrote the rows, or a kill."""
    cache = make()
    cache.get(photos[:6], load, Encoder())
    sums = cache.folder / "rows.crc"
    kept = sums.read_bytes()
    if size is None:
        sums.unlink()
    else:
        sums.write_bytes((kept + bytes(20))[:size])
    encoder = Encoder()
    expect(make().get(photos, load, encoder), photos)
    assert encoder.photos == 3
    assert sums.read_bytes()[: len(kept)] == kept
    assert sums.stat().st_size == 4 * 9


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e5])
def test_features_that_are_not_finite_are_refused(
    make: Callable[..., FeatureCache], photos: list[Path], value: float
) -> None:
    def encode(batch: np.ndarray) -> np.ndarray:
        return np.full((len(batch), 6, 4), value, np.float32)

    with pytest.raises(DataError, match=r"the encoder gives numbers that are not finite in half precision \(of .*0\.p"):
        make().get(photos, load, encode)
    expect(make().get(photos, load, Encoder()), photos)


SLOW = """
import sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[1], str(Path(sys.argv[1]).parent)]  # this file's folder, and conftest's
from test_features import Encoder, FeatureCache, load

class Slow(Encoder):
    def __call__(self, batch):
        time.sleep(float(sys.argv[3]))
        print("batch", flush=True)
        return super().__call__(batch)

folder = Path(sys.argv[2])
cache, encoder = FeatureCache({"encoder": "mean"}, (2, 3), 4, folder / "cache"), Slow()
print("ready", flush=True)
sys.stdin.readline()
features = cache.get(sorted((folder / "photos").iterdir()), load, encoder, batch_size=1)
print(encoder.photos, *features.take(features.row_numbers * 0 + range(9))[:, 0, 0].tolist())
"""


def start(folder: Path, seconds: float) -> subprocess.Popen[str]:
    """A process that is ready to encode and waits for a line."""
    command = [sys.executable, "-c", SLOW, str(Path(__file__).parent), str(folder), str(seconds)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str], batches: int = 0) -> None:
    """Let it encode, and wait for so many batches."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    for _ in range(batches):
        assert process.stdout.readline() == "batch\n"


def test_killed_while_it_writes(make: Callable[..., FeatureCache], photos: list[Path], tmp_path: Path) -> None:
    with start(tmp_path, 0.05) as process:
        go(process, 3)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    encoder = Encoder()
    expect(make().get(photos, load, encoder), photos)  # the dead process's lock is no obstacle
    assert 5 <= encoder.photos <= 8


def test_two_processes_at_once(photos: list[Path], tmp_path: Path) -> None:
    processes = [start(tmp_path, 0.05) for _ in range(2)]
    for process in processes:
        go(process)
    said = [process.communicate(timeout=60)[0].splitlines()[-1].split() for process in processes]
    encoded = [int(words[0]) for words in said]
    assert sum(encoded) == 9 and min(encoded) > 0, "each encodes a part, and no photo is encoded twice"
    wanted = [load(photo).mean() for photo in photos]
    for words in said:
        np.testing.assert_allclose([float(word) for word in words[1:]], wanted, rtol=1e-3)
    assert not list(tmp_path.glob("cache/*/*.part"))


def test_the_part_of_a_killed_process_is_taken_by_another(
    make: Callable[..., FeatureCache], photos: list[Path], tmp_path: Path
) -> None:
    with start(tmp_path, 0.2) as process:
        go(process, 2)
        killer = threading.Timer(0.3, process.kill)  # while this process waits for the other's part
        killer.start()
        encoder = Encoder()
        expect(make().get(photos, load, encoder, batch_size=1), photos)
        killer.join()
    assert process.wait() == -signal.SIGKILL
    assert encoder.photos >= 5


def test_rows_that_two_processes_encoded_are_there_once(make: Callable[..., FeatureCache], photos: list[Path]) -> None:
    """Such as two runs on different lists of photos, which divide them differently."""
    encoder = Encoder()

    def encode(batch: np.ndarray) -> np.ndarray:
        if not encoder.photos:
            encoder(batch)
            make().get(photos[3:], load, encoder)  # as another process would
        return encoder(batch)

    features = make().get(photos, load, encode, batch_size=2)
    expect(features, photos)
    assert len(features.rows) == 9


@pytest.mark.slow
def test_a_million_rows(tmp_path: Path) -> None:
    """Written as the cache writes them: rows are found wherever they are, and only what is missing is encoded."""
    number, cache = 1_000_000, FeatureCache({"encoder": "synthetic"}, (1, 1), 2, tmp_path)
    digests = np.random.default_rng(0).bytes(number * DIGEST_BYTES)
    rows = (np.arange(2 * number, dtype=np.uint32) % 2039).astype(np.float16).reshape(number, 1, 2)
    cache.folder.mkdir()
    (cache.folder / "rows.index").write_bytes(digests)
    rows.tofile(cache.folder / "rows.f16")

    def digest(row: int) -> bytes:
        return digests[row * DIGEST_BYTES : (row + 1) * DIGEST_BYTES]

    wanted = [999_999, 0, 123_456, 7]
    sums = np.zeros(number, "<u4")  # those of other rows are not looked at
    sums[wanted] = [zlib.crc32(rows[row].tobytes(), zlib.crc32(digest(row))) for row in wanted]
    sums.tofile(cache.folder / "rows.crc")
    asked = [*map(digest, wanted), b"new".ljust(DIGEST_BYTES)]
    assert cache.missing(asked) == [4]
    encoded: list[object] = []

    def load_new(name: str) -> np.ndarray:
        encoded.append(name)
        return np.zeros(2, np.float32)

    names = [str(row) for row in (*wanted, "new")]
    features = cache.get(names, load_new, lambda batch: batch[:, None] + 5, digests=asked)
    assert encoded == ["new"] and len(features.rows) == number + 1 and features.repaired == 0
    np.testing.assert_array_equal(features.take(np.arange(4)), rows[wanted])
    np.testing.assert_array_equal(features.take(np.array([4])), 5)
    assert isinstance(features.rows, np.memmap), "on disk, not in memory"


def test_readers_keep_their_rows_while_others_append(make: Callable[..., FeatureCache], photos: list[Path]) -> None:
    first = make().get(photos[:3], load, Encoder())
    make().get(photos[3:], load, Encoder())
    expect(first, photos[:3])


# what cannot be done


def test_broken_photos_are_reported_each_by_its_name(make: Callable[..., FeatureCache], photos: list[Path]) -> None:
    broken, same, gone, gone2 = (photos[0].with_name(f"{name}.jpg") for name in ("broken", "same", "gone", "gone2"))
    broken.write_bytes(b"no picture")
    same.write_bytes(b"no picture")
    asked = [gone, photos[0], broken, photos[1], gone2, same]
    for _ in range(2):
        features = make().get(asked, load, Encoder())
        assert (features.row_numbers >= 0).tolist() == [False, True, False, True, False, False]
        assert [problem.where for problem in features.problems] == [str(p) for p in (gone, broken, gone2, same)]
        said = ["no such file", "not a picture of any format known here"]
        assert [problem.what.partition(";")[0] for problem in features.problems] == [said[0], said[1], said[0], said[1]]
        assert {problem.kind for problem in features.problems} == {"error"}
    expect(make().get(photos[:2], load, Encoder(stop_after=0)), photos[:2])


def test_a_photo_that_appears_later_gets_its_own_row(make: Callable[..., FeatureCache], photos: list[Path]) -> None:
    """Unreadable while it was digested, readable while it was loaded: other unreadable photos must not get its row."""

    def load_any(photo: Path) -> np.ndarray:
        return load(photos[0]) if photo.name == "late.png" else load(photo)

    late, gone = photos[0].with_name("late.png"), photos[0].with_name("gone.png")
    make().get([late], load_any, Encoder())
    assert make().get([gone], load_any, Encoder()).row_numbers.tolist() == [-1]


def test_full_disk_is_said_beforehand(
    make: Callable[..., FeatureCache], photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 9 * ROW_BYTES - 1

    monkeypatch.setattr("seesay.data.feature_cache.shutil.disk_usage", lambda _: Usage)
    encoder = Encoder()
    with pytest.raises(DataError, match=r"9 photos need .* GB and the disk has .* GB free; set SEESAY_CACHE"):
        make().get(photos, load, encoder)
    assert encoder.photos == 0
    expect(make().get(photos[:8], load, encoder), photos[:8])


def test_cache_that_cannot_be_written(tmp_path: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot be written \(Not a directory\); set SEESAY_CACHE"):
        FeatureCache({}, (2, 3), 4, tmp_path / "file").get(photos, load, Encoder())

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("seesay.data.feature_cache.os.fsync", full)
    cache = FeatureCache({}, (2, 3), 4, tmp_path / "cache")
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\)"):
        cache.get(photos, load, Encoder())
    monkeypatch.undo()
    started = time.monotonic()
    expect(cache.get(photos, load, Encoder()), photos)
    assert time.monotonic() - started < 10, "the lock was left behind"


def test_what_is_no_file_has_a_digest_all_the_same(tmp_path: Path) -> None:
    """A pipe would wait for ever, a device has no end."""
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").symlink_to("/dev/zero")
    assert len({photo_digest(tmp_path / name) for name in ("a.jpg", "b.jpg", "gone.jpg")}) == 3
