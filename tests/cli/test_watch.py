"""`seesay watch`: photos are captioned once they are there as a whole."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Cli, lines_of, write_photo

from seesay.cli.watch import Arrivals
from seesay.data.sources import Sources


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    return tmp_path / "in"


def names(arrivals: Arrivals) -> list[str]:
    return [photo.id for photo in arrivals.look()]


def test_photos_arrive_when_nobody_writes_to_them_any_more(folder: Path) -> None:
    write_photo(folder / "a.png", 1)
    arrivals = Arrivals(Sources([folder]))
    assert [names(arrivals) for _ in range(3)] == [[], ["a.png"], []]
    content = write_photo(folder / "deep" / "b.png", 2).read_bytes()
    (folder / "deep" / "b.png").write_bytes(content[:100])  # half of it is there
    assert names(arrivals) == []
    (folder / "deep" / "b.png").write_bytes(content)
    assert [names(arrivals) for _ in range(3)] == [[], ["deep/b.png"], []]
    shutil.move(folder, folder.with_name("away"))
    assert [names(arrivals) for _ in range(2)] == [[], []]
    shutil.move(folder.with_name("away"), folder)
    write_photo(folder / "c.png", 4)
    assert [names(arrivals) for _ in range(3)] == [[], ["c.png"], []], "its drive was gone for a while"


def test_a_changed_photo_comes_again(folder: Path) -> None:
    """As webcams write them."""
    write_photo(folder / "a.png", 1)
    arrivals = Arrivals(Sources([folder]))
    arrivals.look()
    (photo,) = arrivals.look()
    assert not arrivals.again(photo)
    write_photo(folder / "a.png", 3, (80, 20))  # while the photo before is captioned
    assert arrivals.look() == []
    (photo,) = arrivals.look()
    assert photo.id == "a.png" and arrivals.again(photo)


def test_photos_that_we_change_are_not_new(folder: Path) -> None:
    write_photo(folder / "a.png", 1)
    arrivals = Arrivals(Sources([f"{folder}/."]))
    arrivals.look()
    for photo in arrivals.look():
        with Path(photo.image).open("ab") as file:
            file.write(b"alt text")
        arrivals.note(Path(photo.image))
    assert [names(arrivals) for _ in range(2)] == [[], []]


def nothing() -> None: ...


def rounds(monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], object]) -> None:
    """What happens while `seesay watch` waits; then Ctrl-C."""
    left: Iterator[Callable[[], object]] = iter(steps)

    def sleep(seconds: float) -> None:
        assert seconds == 0.5
        try:
            step = next(left)
        except StopIteration:
            raise KeyboardInterrupt from None
        step()

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("signal.signal", lambda *_: None)


def test_watching(cli: Cli, folder: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seesay.outputs.alt_text.changes.user_state_path", lambda _: tmp_path / "state")
    rounds(monkeypatch, nothing, lambda: write_photo(folder / "b.png", 2), nothing, nothing)
    command = ["watch", folder, "--model", tiny_bundle, "--embed", "--json", "o.jsonl", "--every", "0.5"]
    write_photo(folder / "a.png", 1)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    done = cli(*command)
    assert done.code == 0
    assert [line.split(": ")[0] for line in done.out.splitlines()] == [
        str(folder / name) for name in ("a.png", "b.png")
    ]
    assert "broken.jpg" in done.err and "wrote alt text for 2 photos" in done.err
    write_photo(folder / "c.png", 3)
    rounds(monkeypatch, nothing, lambda: write_photo(folder / "a.png", 7), nothing, nothing)
    done = cli(*command)
    assert [line.split(": ")[0] for line in done.out.splitlines()] == [
        str(folder / name) for name in ("c.png", "a.png")
    ]
    assert "wrote alt text for 2 photos" in done.err
    captions = [entry["id"] for entry in lines_of(tmp_path / "o.jsonl") if "caption" in entry]
    assert captions == ["a.png", "b.png", "c.png", "a.png"]


def test_alt_text_of_photos_that_the_json_has(
    cli: Cli, folder: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seesay.outputs.alt_text.changes.user_state_path", lambda _: tmp_path / "state")
    write_photo(folder / "a.png", 1)
    command = ["watch", folder, "--model", tiny_bundle, "--json", "o.jsonl", "--every", "0.5"]
    for more, wrote in (([], ""), (["--sidecar"], "wrote alt text for 1 photo\n"), (["--sidecar"], "1 had it already")):
        rounds(monkeypatch, nothing)
        assert wrote in cli(*command, *more).err
    assert len(lines_of(tmp_path / "o.jsonl")) == 1
    assert (folder / "a.png.xmp").exists()


@pytest.mark.parametrize(
    ("options", "code", "problem"),
    [
        (["nowhere"], 1, "nowhere: expected a folder to watch"),
        ([".", "--json", "-"], 2, "--json -: expected a file, not standard output"),
        ([".", "--sidecar", "--embed"], 2, "--sidecar and --embed: give one of the two"),
        ([".", "--every", "0"], 2, "--every"),
    ],
)
def test_what_cannot_be_watched(options: list[str], code: int, problem: str, cli: Cli) -> None:
    done = cli("watch", *options)
    assert done.code == code and problem in " ".join(done.err.split())


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it(stop: signal.Signals, folder: Path, tiny_bundle: Path) -> None:
    write_photo(folder / "a.png", 1)
    command = [sys.executable, "-m", "seesay", "watch", str(folder), "--model", str(tiny_bundle), "--every", "0.2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout
            assert running.stdout.readline().startswith(str(folder / "a.png"))
            running.send_signal(stop)
            _, said = running.communicate(timeout=30)
        finally:
            running.kill()
    assert (running.returncode, said) == (0, "")
