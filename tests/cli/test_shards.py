"""`seesay caption` by shards, from lists and manifests, into Parquet; `seesay merge`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Cli, lines_of, without_packages, write_photo

TRUST = ["confidence", "kind", "photo_probability", "withheld"]
COLUMNS = ["id", "path", "caption", "score", *TRUST, "words", "error"]


@pytest.fixture
def album(tmp_path: Path, tiny_photos: list[Path]) -> Path:
    folder = tmp_path / "album"
    folder.mkdir()
    for photo in tiny_photos:
        shutil.copy(photo, folder)
    (folder / "broken.png").write_bytes(b"")
    return folder


def captions(entries: list[dict[str, Any]]) -> dict[str, Any]:
    assert len({entry["id"] for entry in entries}) == len(entries), "each once"
    return {entry["id"]: entry.get("caption") for entry in entries}


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder).to_pylist()


def test_shards_merged_are_the_whole(cli: Cli, tiny_bundle: Path, album: Path, tmp_path: Path) -> None:
    asked = ("caption", album, "--model", tiny_bundle, "--beam", "1")
    assert cli(*asked, "--json", "whole.jsonl").code == 1
    whole = captions(lines_of(tmp_path / "whole.jsonl"))
    parts = [f"part-{number}.jsonl" for number in (1, 2, 3)]
    for number, part in enumerate(parts, 1):
        done = cli(*asked, "--json", part, "--shard", f"{number}/3")
        assert done.code == ("error" in (tmp_path / part).read_text("utf-8")), done.err
    done = cli("merge", *parts, parts[0], "--json", "all.jsonl")
    assert done.code == 0
    assert captions(lines_of(tmp_path / "all.jsonl")) == whole and len(whole) > 5
    repeated = len(lines_of(tmp_path / parts[0]))
    assert done.err == f"seesay: {len(whole)} photos, 1 of them errors, {repeated} repeated rows left out\n"
    done = cli("merge", *parts)
    assert captions([json.loads(line) for line in done.out.splitlines()]) == whole
    assert cli("merge", *parts, "--parquet", "all").code == 0
    assert cli("merge", "all", "--json", "back.jsonl").code == 0
    back = {entry["id"]: entry for entry in lines_of(tmp_path / "back.jsonl")}
    assert back == {entry["id"]: entry for entry in lines_of(tmp_path / "all.jsonl")}


def test_an_empty_shard_is_no_failure(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg", 1)
    codes = [
        cli("caption", "a.jpg", "--model", tiny_bundle, "--shard", f"{n}/2", "--json", f"{n}.jsonl") for n in (1, 2)
    ]
    assert [done.code for done in codes] == [0, 0]
    assert sorted(len(lines_of(tmp_path / f"{n}.jsonl")) for n in (1, 2)) == [0, 1]
    assert any("none of the 1 photos is in shard" in done.err for done in codes)


def test_merge_refuses_what_does_not_belong_together(cli: Cli, tmp_path: Path) -> None:
    line = {"image": "a.jpg", "id": "a.jpg", "caption": "x", "score": -1.0, "words": [{"text": "x", "logprob": -1.0}]}
    for name, beam in (("one", 1), ("two", 2)):
        (tmp_path / name).write_text(json.dumps({**line, "id": name, "made_by": {"beam": beam}}) + "\n")
    (tmp_path / "out").write_text("before")
    done = cli("merge", "one", "two", "--json", "out")
    assert (done.code, done.out) == (1, "")
    assert done.err == "seesay: two:1: was made with other options than one:1: beam 2 (now 1)\n"
    (tmp_path / "notes").write_text("no JSON\n")
    assert "notes:1: no line that `seesay caption --json` wrote" in cli("merge", "one", "notes", "--json", "out").err
    assert "gone: cannot be read: No such file" in cli("merge", "one", "gone", "--json", "out").err
    assert "it is one of the parts" in cli("merge", "one", "--json", "./one").err
    assert (tmp_path / "out").read_text() == "before"
    error = {"image": "a.jpg", "id": "one", "error": "a.jpg: gone"}
    (tmp_path / "two").write_text(json.dumps(error) + "\n" + '{"image": "b.jp')
    done = cli("merge", "two", "one", "--json", "out")
    assert done.code == 1 and "two:2: cut off, as by a kill, and left out" in done.err
    assert [entry["caption"] for entry in lines_of(tmp_path / "out")] == ["x"], "a caption counts more than an error"


def test_parquet_has_rows_for_captions_and_errors(cli: Cli, tiny_bundle: Path, album: Path, tmp_path: Path) -> None:
    asked = ("caption", album, "--model", tiny_bundle, "--beam", "1")
    done = cli(*asked, "--parquet", "out", "--json", "out.jsonl", "--attention")
    assert done.code == 1
    entries, rows = lines_of(tmp_path / "out.jsonl"), rows_of(tmp_path / "out")
    assert list(rows[0]) == COLUMNS
    for entry, row in zip(entries, rows, strict=True):
        assert (row["id"], row["path"], row["error"]) == (entry["id"], entry["image"], entry.get("error"))
        assert (row["caption"], row["score"]) == (entry.get("caption"), entry.get("score"))
        if row["caption"]:
            assert [word["text"] for word in row["words"]] == row["caption"].split()
            assert row["words"][0]["attention"][0] == pytest.approx(entry["words"][0]["attention"][0])
            assert row["words"][0]["confidence"] is None
        assert {row[name] for name in TRUST} == {None}, "the model was not calibrated"
    done = cli(*asked, "--parquet", "out")
    assert done.code == 1 and "out: has captions already; --resume goes on with it" in done.err
    done = cli(*asked, "--parquet", "out", "--resume")
    assert done.code == 1 and "was made with attention True (now False)" in done.err
    write_photo(album / "broken.png", 99)
    write_photo(album / "new.png", 98)
    done = cli(*asked, "--parquet", "out", "--attention", "--resume")
    assert done.code == 0 and len(done.out.splitlines()) == 2
    assert captions(rows_of(tmp_path / "out")).keys() == {*captions(entries), "new.png"}
    assert not any(row["error"] for row in rows_of(tmp_path / "out"))
    assert not [path for path in (tmp_path / "out").iterdir() if not path.name.startswith("part-")]


def test_parquet_says_how_far_to_trust_captions(cli: Cli, calibrated_bundle: Path, album: Path, tmp_path: Path) -> None:
    asked = ("caption", album, "--model", calibrated_bundle, "--cautious", "--parquet", "out")
    done = cli(*asked, "--min-confidence", "1", "--json", "out.jsonl")
    assert done.code == 1 and "not sure" in done.out
    entries, rows = lines_of(tmp_path / "out.jsonl"), rows_of(tmp_path / "out")
    for entry, row in zip(entries, rows, strict=True):
        assert [row[name] for name in TRUST] == [entry.get(name) for name in TRUST]
        if "words" in entry:
            sure = [word.get("confidence") for word in entry["words"]]
            assert [word["confidence"] for word in row["words"]] == sure and any(sure)
            assert entry["kind"] == "photo"
    assert any(row["withheld"] for row in rows)
    for part in ("out", "out.jsonl"):
        assert cli("merge", part, "--json", "merged.jsonl").code == 0
        assert lines_of(tmp_path / "merged.jsonl") == entries
    done = cli(*asked, "--min-confidence", "0.5", "--resume")
    assert done.code == 1 and "was made with min_confidence 1.0 (now 0.5)" in done.err
    done = cli(*asked, "--min-confidence", "1", "--resume")
    assert done.code == 1 and done.out == "", "only the broken photo is tried again"


def test_merge_reads_parquet_without_confidence(cli: Cli, tmp_path: Path) -> None:
    row = {"id": "a", "path": "a.jpg", "caption": "x", "score": -1.0, "words": [{"text": "x", "logprob": -1.0}]}
    (tmp_path / "old").mkdir()
    pq.write_table(pa.Table.from_pylist([{**row, "error": None}]), tmp_path / "old/part-000000.parquet")
    assert cli("merge", "old", "--json", "out.jsonl").code == 0
    assert lines_of(tmp_path / "out.jsonl") == [
        {"image": "a.jpg", "id": "a", "caption": "x", "score": -1.0, "words": row["words"]}
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--shard", "0/3"], 2, "'0/3': expected K/N with K from 1 to N"),
        (["--columns", "path=x"], 2, "'path=x': expected image=COLUMN or id=COLUMN"),
        (["--parquet", "p", "--alternatives", "2"], 2, "--parquet has one caption a photo"),
        (["--parquet", "p", "--json", "j", "--resume"], 2, "--resume goes on with one output"),
        (["--parquet", "no/such"], 1, "does not exist"),
        (["--parquet", "a.jpg"], 1, "expected a folder"),
        (["--parquet", "."], 1, "it has other files, such as a.jpg"),
    ],
)
def test_wrong_options(cli: Cli, tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    write_photo(tmp_path / "a.jpg", 1)
    done = cli("caption", "a.jpg", "--model", "never opened", *arguments)
    assert (done.code, done.out) == (code, "")
    assert said in done.err


@pytest.mark.parametrize(
    ("missing", "arguments", "extra"),
    [
        ("pyarrow", ["m.parquet"], "parquet"),
        ("pyarrow", ["a.jpg", "--parquet", "out"], "parquet"),
        ("fsspec", ["s3://bucket/photos"], "remote"),
    ],
)
def test_missing_extras_are_one_line(missing: str, arguments: list[str], extra: str, tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg", 1)
    (tmp_path / "m.parquet").touch()
    code = f"""
{without_packages(missing)}
sys.argv = ["seesay", "caption", *{arguments!r}]
from seesay.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert f"needs '{missing}" in done.stderr and f"pip install 'seesay[{extra}]'" in done.stderr


def test_an_output_that_is_a_source_is_refused(cli: Cli, album: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"path": "album/p0.png"}\n')
    (tmp_path / "list.txt").write_text("album/p0.png\n")
    for source, out in ((manifest, manifest), ("@list.txt", "list.txt"), ("@list.txt", album / "p0.png")):
        before = Path(out).read_bytes()
        done = cli("caption", source, "--model", "never opened", "--json", out)
        assert (done.code, "cannot be written: it is one of the" in done.err) == (1, True)
        assert Path(out).read_bytes() == before


def test_a_list_from_a_pipe_resumes_by_name_and_a_manifest_by_id(
    tiny_bundle: Path, album: Path, tmp_path: Path, cli: Cli
) -> None:
    names = "".join(f"{album}/p{i}.png\n" for i in range(3))
    command = [sys.executable, "-m", "seesay", "caption", "@-", "--model", str(tiny_bundle), "--json", "o.jsonl"]
    for given, printed in ((names[: len(names) // 3 * 2], 2), (names, 1)):
        more = ["--resume"] if printed == 1 else []
        done = subprocess.run([*command, *more], input=given, capture_output=True, text=True, cwd=tmp_path)
        assert (done.returncode, len(done.stdout.splitlines())) == (0, printed), done.stderr
    rows = [{"id": f"n{i}", "path": "album/p0.png"} for i in range(4)]
    manifest = tmp_path / "m.jsonl"
    for count in (3, 4):
        manifest.write_text("\n".join(map(json.dumps, rows[:count])))
        assert cli("caption", manifest, "--model", tiny_bundle, "--json", "m.out", "--resume").code == 0
    assert [entry["id"] for entry in lines_of(tmp_path / "m.out")] == ["n0", "n1", "n2", "n3"]


@pytest.mark.slow
def test_a_killed_run_goes_on(tiny_bundle: Path, album: Path, tmp_path: Path) -> None:
    """Killed at random, with each output: every id is there exactly once, with the captions of one run."""
    for i in range(300):
        shutil.copy(album / f"p{i % 4}.png", album / f"more{i:03}.png")
    command = [sys.executable, "-m", "seesay", "caption", str(album), "--model", str(tiny_bundle), "--beam", "1"]
    subprocess.run([*command, "--json", tmp_path / "whole.jsonl"], capture_output=True)
    whole = captions(lines_of(tmp_path / "whole.jsonl"))
    for option, out in (("--json", tmp_path / "o.jsonl"), ("--parquet", tmp_path / "out")):
        for kill in range(4):
            process = subprocess.Popen(
                [*command, option, out, "--resume"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            assert process.stdout
            for _ in range(20 + 37 * kill):
                process.stdout.readline()
            time.sleep(0.01 * kill)
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        done = subprocess.run([*command, option, out, "--resume"], capture_output=True, text=True)
        assert done.returncode == 1, done.stderr
        assert captions(lines_of(out) if option == "--json" else rows_of(out)) == whole
