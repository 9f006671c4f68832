"""Files are there whole, or as they were before."""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from seesay.errors import BusyError, SeesayError
from seesay.explain import write_page
from seesay.writing import SCRATCH, only_writer, write_image, write_json, write_text, written_whole


def test_a_file_takes_its_place_when_the_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("before")
    with written_whole(path) as scratch:
        scratch.write_text("after")
        assert path.read_text() == "before"
        assert scratch.suffix == ".png", "Pillow writes the kind that the name says"
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_was_there_stays_when_it_does_not(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.json"
    path.write_text("before")
    with pytest.raises(error), written_whole(path) as scratch:
        scratch.write_text("half of wh")
        raise error
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_readable_and_holds_names_that_are_no_text(tmp_path: Path) -> None:
    value = {"caption": "ein Hündchen", "image": "a\udcff.jpg"}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "Hündchen" in text
    assert text.endswith("}\n")
    assert json.loads(text) == value


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Within it no file grows larger, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


NOISE = Image.frombytes("RGB", (64, 64), os.urandom(64 * 64 * 3))
WRITERS = {
    "text": ("a.md", lambda path: write_text(path, "x" * 5000)),
    "json": ("a.json", lambda path: write_json(path, ["x" * 5000])),
    "picture": ("a.png", lambda path: write_image(path, NOISE)),
    "page": ("a.html", lambda path: write_page(path, [])),
}


@pytest.mark.parametrize(("name", "write"), WRITERS.values(), ids=WRITERS)
def test_a_full_disk_is_said_with_the_file_and_leaves_what_was_there(name, write, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("before")
    with files_up_to(2000), pytest.raises(SeesayError) as error:
        write(path)
    assert str(error.value) == f"{path}: cannot be written: File too large"
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    write(path)
    assert path.stat().st_size > 2000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has such a device")
def test_a_device_is_written_to_not_replaced() -> None:
    with pytest.raises(SeesayError, match=r"^/dev/full: cannot be written: No space left on device$"):
        write_json(Path("/dev/full"), 7)
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_standard_output_may_be_a_file_that_goes_on(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from seesay.writing import write_json; write_json(Path('/dev/stdout'), 7); print(8)"
    )
    with (tmp_path / "out.txt").open("w") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out.txt").read_text() == "7\n8\n"


def test_links_are_followed_and_permissions_kept(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    file, link = tmp_path / "there" / "a.json", tmp_path / "link.json"
    file.write_text("before")
    file.chmod(0o604)
    link.symlink_to(file)
    write_json(link, 7)
    assert link.is_symlink()
    assert file.read_text() == "7\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o604


def test_a_name_may_be_as_long_as_names_can_be(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250 + ".json")
    write_json(path, 7)
    assert path.read_text() == "7\n"


def test_two_that_write_one_file_leave_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with written_whole(path) as first:
        first.write_text("first")
        with written_whole(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


HOLDER = """
import sys, time
from pathlib import Path
from seesay.writing import only_writer
with only_writer(Path(sys.argv[1]), "busy"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_writes_and_the_dead_let_go(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, lock], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(BusyError, match="someone writes"), only_writer(lock, "someone writes"):
            pass
        process.kill()
    assert lock.exists()
    with only_writer(lock, "someone writes"), pytest.raises(BusyError), only_writer(lock, "we do"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(SeesayError, match=r"n: cannot be written: File name too long"),
        only_writer(tmp_path / ("n" * 300), "busy"),
    ):
        pass


def test_scratch_files_are_hidden(tmp_path: Path) -> None:
    with written_whole(tmp_path / "a.json") as scratch:
        assert scratch.name.startswith(SCRATCH)
        scratch.touch()
