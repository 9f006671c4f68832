"""Captioning on Ray: the listing, what an actor does, kills, and the examples of docs/cluster.md."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import Cli, write_photo

from seesay.cli.caption import CaptionOptions
from seesay.cluster import run
from seesay.cluster.captioner import BlockCaptioner
from seesay.cluster.listing import Listed, Listing
from seesay.cluster.run import ClusterOptions, Counts, rows_of_block
from seesay.data.images import open_photo
from seesay.data.sources import ListedPhoto, Sources, opened_at, places
from seesay.errors import SeesayError
from seesay.outputs.parquet import parts_of, read_rows
from seesay.runtime import CaptionModel

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))


@pytest.fixture
def album(tmp_path: Path) -> Path:
    (tmp_path / "album").mkdir()
    for i in range(6):
        write_photo(tmp_path / f"album/{i}.png", i)
    (tmp_path / "album/broken.png").write_bytes(b"")
    return tmp_path / "album"


def listed(photos: Any, folder: Path) -> tuple[list[Listed], dict[str, np.ndarray]]:
    """The listing of photos, and its rows as a block."""
    with Listing(photos, folder / "run") as listing:
        parts = list(listing.parts())
        table = pa.concat_tables(pq.read_table(file) for part in parts for file in part.files)
    return parts, {name: np.array(table[name].to_pylist(), object) for name in table.column_names}


def captioned(block: dict[str, np.ndarray], load: Any, results: Any, out: Path, **made_by: Any) -> list[dict[str, Any]]:
    """The rows that an actor writes for a block."""
    (out / ".runs/1").mkdir(parents=True)
    BlockCaptioner(load, results, out, out / ".runs/1", made_by)(block)
    [file] = parts_of(out)
    return read_rows(file)[0]


def test_an_actor_captions_what_the_listing_has(album: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    parts, block = listed(Sources([album]), tmp_path / "listing")
    assert [part.photos for part in parts] == [7]
    load, options = partial(CaptionModel.load, tiny_bundle, 1), CaptionOptions(beam=2)
    rows = captioned(block, load, options.results, tmp_path / "out", attention=True)
    assert [row["id"] for row in rows] == [*(f"{i}.png" for i in range(6)), "broken.png"]
    assert rows[-1]["error"].endswith("broken.png: an empty file") and rows[-1]["caption"] is None
    model = load()
    for row in rows[:-1]:
        assert row["caption"] == model.caption(row["path"], beam=2).text
        assert np.shape(row["words"][0]["attention"]) == model.bundle.grid


def test_captioning_need_not_wait_for_the_end_of_the_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seesay.cluster.listing.FILE_ROWS", 2)
    more = threading.Event()

    def photos() -> Iterator[ListedPhoto]:
        for i in range(5):
            yield ListedPhoto(f"{i}", f"{i}.png", f"{i}.png")
            if i == 2:
                assert more.wait(60)
        raise SeesayError("the manifest is damaged from here on")

    with Listing(photos(), tmp_path / "run", first=10) as listing:
        parts = listing.parts()
        assert next(parts).photos == 2 and listing.total is None
        more.set()
        rest = 0
        with pytest.raises(SeesayError, match="damaged from here on"):
            for part in parts:
                rest += part.photos
        assert (rest, listing.total) == (3, 5)
        assert pq.read_table(tmp_path / "run")["number"].to_pylist() == [10, 11, 12, 13, 14]
    assert not (tmp_path / "run").exists()


def test_no_file_is_written_by_an_actor_that_outlives_its_job(
    album: Path, tiny_bundle: Path, tmp_path: Path, cli: Cli
) -> None:
    _, block = listed(Sources([album]), tmp_path / "listing")
    (tmp_path / "out/.runs/1").mkdir(parents=True)
    load = partial(CaptionModel.load, tiny_bundle, 1)
    actor = BlockCaptioner(load, CaptionOptions(beam=1).results, tmp_path / "out", tmp_path / "out/.runs/1", {})
    assert cli("caption", album, "--model", tiny_bundle, "--parquet", "out", "--beam", "1", "--resume").code == 1
    before = list(parts_of(tmp_path / "out"))
    assert actor(block)["failed"].tolist() == [1]
    assert list(parts_of(tmp_path / "out")) == before


def test_actors_withhold_and_are_cautious(album: Path, calibrated_bundle: Path, tmp_path: Path) -> None:
    _, block = listed(Sources([album]), tmp_path / "listing")
    load, options = partial(CaptionModel.load, calibrated_bundle, 1), CaptionOptions(cautious=True, min_confidence=1)
    rows = captioned(block, load, options.results, tmp_path / "out")
    model = load()
    for row in rows[:-1]:
        expected = model.caption(row["path"], cautious=True).withhold(1).to_dict()
        trust = {name: row[name] for name in ("caption", "confidence", "kind", "photo_probability", "withheld")}
        assert trust.pop("confidence") == pytest.approx(expected["confidence"], abs=1e-3)
        assert trust.pop("photo_probability") == pytest.approx(expected["photo_probability"], abs=1e-3)
        assert trust == {name: expected[name] for name in trust}
        said = [word.get("confidence") for word in expected["words"]]
        assert [word["confidence"] for word in row["words"]] == pytest.approx(said, abs=1e-3)
    assert any(row["withheld"] for row in rows) and rows[-1]["withheld"] is None


def test_a_model_without_confidence_is_refused_before_the_cluster_starts(
    cli: Cli, album: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    done = cli("caption", album, "--model", tiny_bundle, "--cluster", "local", "--parquet", "out", "--cautious")
    assert (done.code, "knows no confidence; `seesay calibrate" in done.err) == (1, True)
    assert not (tmp_path / "out").exists()


def test_actors_need_not_share_the_working_folder(album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with tarfile.open("0.tar", "w") as tar:
        tar.add("album/0.png")
    (tmp_path / "m.jsonl").write_text('{"path": "album/1.png"}')
    _, block = listed(Sources(["album", "0.tar", "m.jsonl"]), tmp_path / "listing")
    assert len(block["place"]) == 9
    monkeypatch.chdir("/")
    sources = [opened_at(place, places()) for place in block["place"]]
    assert sum(open_photo(source).size == (67, 53) for source in sources if "broken" not in str(source)) == 8


def test_no_error_leaves_an_actor(album: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    _, block = listed(Sources([album]), tmp_path / "listing")

    def fails_at_two(model: CaptionModel, photos: list[Any]) -> Any:
        if any(str(photo).endswith("2.png") for photo in photos):
            raise RuntimeError("a line\nand hundreds more")
        return model.caption_many(photos, beam=1)

    block["place"][3] = "no place"
    rows = captioned(block, partial(CaptionModel.load, tiny_bundle, 1), fails_at_two, tmp_path / "out")
    errors = {row["id"]: row["error"] for row in rows if row["error"]}
    assert errors.keys() == {"2.png", "3.png", "broken.png"}
    assert errors["2.png"].endswith("2.png: cannot be captioned (RuntimeError: a line)")
    assert "its place cannot be understood" in errors["3.png"]


def test_a_photo_that_only_this_process_can_open_is_refused(tmp_path: Path) -> None:
    class Pipe:
        name = "-"

        def read(self, size: int = -1) -> bytes:
            return b""

    with pytest.raises(SeesayError, match="--cluster: -: only this process can open it"):
        listed(Sources(["-"], {"-": Pipe()}), tmp_path / "listing")


def test_where_this_process_is_a_client_the_job_is_a_task_of_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    class TaskError(Exception):
        cause = SeesayError("the job failed (OSError: disk)")

    def task(*_: Any) -> None:
        raise TaskError("hundreds of lines")

    remote = SimpleNamespace(remote=lambda *arguments: arguments)
    ray = SimpleNamespace(remote=lambda **_: lambda _run: remote, get=task)
    monkeypatch.setitem(sys.modules, "ray", ray)
    options, listed = [ClusterOptions(address) for address in ("ray://head:10001", "auto")], Listed([], 0)
    with pytest.raises(SeesayError, match=r"the job failed \(OSError: disk\)"):
        run.run_on_cluster(listed, 1, (), options[0])
    here: list[Any] = []
    monkeypatch.setattr(run, "run_here", lambda *arguments: here.append(arguments))
    run.run_on_cluster(listed, 1, (), options[1])
    assert here == [(listed, 1, (), options[1])]


def test_blocks_keep_all_actors_busy() -> None:
    assert rows_of_block(5_000, 2) == 64
    assert rows_of_block(10_000_000, 2) == 512
    assert rows_of_block(3, 100) == 64


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--cluster", "local"], 2, "--cluster needs --parquet OUT"),
        (["--cluster", "local", "--parquet", "out", "--json", "o"], 2, "and has no other output"),
        (["--actors", "2"], 2, "--actors: only of use with --cluster"),
        (["--cluster", "local", "--parquet", "no/out"], 1, "does not exist"),
    ],
)
def test_options_that_do_not_go_together(cli: Cli, arguments: list[str], code: int, said: str) -> None:
    done = cli("caption", "a.jpg", "--model", "never opened", *arguments)
    assert (done.code, said in done.err) == (code, True), done.err


def test_without_ray_it_says_what_to_install(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.data", None)
    done = cli("caption", "a.jpg", "--cluster", "local", "--parquet", "out")
    assert done.code == 1
    assert done.err.startswith("seesay: --cluster needs 'ray") and "pip install 'seesay[cluster]'" in done.err


def test_the_command_hands_over_and_counts(
    cli: Cli, album: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def job(photos: Any, out: Path, *rest: Any) -> Counts:
        asked.extend([sorted(photo.id for photo in photos), out, *rest])
        return Counts(7, 1)

    monkeypatch.setattr("seesay.cluster.run.caption_on_cluster", job)
    how = ["--shard", "1/1", "--threads", "2", "--actors", "3", "--beam", "1", "--attention", "--resume"]
    done = cli("caption", album, "--model", tiny_bundle, "--cluster", "ray://head:10001", "--parquet", "out", *how)
    assert done.code == 1 and done.err.endswith("1 of 7 photos could not be captioned\n")
    ids, out, load, _, made_by, options, _ = asked
    assert ids == sorted([*(f"{i}.png" for i in range(6)), "broken.png"]) and out == Path("out")
    assert (options.address, options.actors, options.cores) == ("ray://head:10001", 3, 2)
    assert (options.attention, options.resume, made_by["beam"]) == (True, True, 1)
    assert load().threads == 1, "an actor captions blocks on as many threads as it has cores"


def test_a_run_is_continued_on_a_cluster_or_not(
    cli: Cli, album: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_this_process(listed: Listed, _: int, captioner: Any, __: ClusterOptions) -> int:
        block = pa.concat_tables(map(pq.read_table, listed.files))
        columns = {name: np.array(block[name].to_pylist(), object) for name in block.column_names}
        return int(BlockCaptioner(*captioner)(columns)["failed"].sum())

    monkeypatch.setattr(run, "_connected", lambda _: nullcontext(1))
    monkeypatch.setattr(run, "run_on_cluster", in_this_process)
    asked = ["caption", album, "--model", tiny_bundle, "--beam", "1", "--parquet", "out"]
    cluster = ["--cluster", "local"]
    shutil.copy(album / "1.png", album / "caf\udce9.png")  # no text in UTF-8
    assert cli(*asked, *cluster).err.endswith("1 of 8 photos could not be captioned\n")
    assert "out: has captions already; --resume goes on" in cli(*asked, *cluster).err
    assert (
        "made with beam 1 (now 2); give the same options, or another --parquet folder"
        in cli(*asked, "--beam", "2", *cluster, "--resume").err
    )
    write_photo(album / "new.png", 7)
    assert cli(*asked, "--resume").err.endswith("1 of 9 photos could not be captioned\n")
    write_photo(album / "broken.png", 8)
    write_photo(album / "newer.png", 9)
    assert cli(*asked, *cluster, "--resume").code == 0
    assert cli(*asked, *cluster, "--resume").code == 0, "nothing is left to do"
    rows = [row for file in parts_of(tmp_path / "out") for row in read_rows(file)[0]]
    assert sorted(row["id"] for row in rows) == sorted(ascii(path.name)[1:-1] for path in album.iterdir())
    assert not any(row["error"] for row in rows)


@pytest.mark.slow
def test_killed_workers_and_a_killed_driver_lose_nothing(tiny_bundle: Path, album: Path, tmp_path: Path) -> None:
    """Two kills; `scripts/cluster_kills.py --kills 10` is the longer form."""
    from cluster_kills import kill_and_check  # pyright: ignore[reportMissingImports]

    for i in range(250):
        shutil.copy(album / f"{i % 6}.png", album / f"more{i:03}.png")
    (album / "broken.png").unlink()
    paths = sorted(map(str, album.iterdir()))
    assert kill_and_check(paths, tmp_path, 2, model=str(tiny_bundle)) is not None


# the examples of docs/cluster.md


def examples(kind: str) -> list[str]:
    text = (ROOT / "docs" / "cluster.md").read_text("utf-8")
    return [block.partition("```")[0] for block in text.split(f"```{kind}\n")[1:]]


def assert_our_commands_parse(script: str) -> int:
    """Every line of the script that calls seesay is one that the command line understands; returns their number."""
    import typer

    from seesay.cli.app import app

    group: Any = typer.main.get_command(app)
    found = 0
    for name in ("$SLURM_ARRAY_TASK_ID", "$SLURM_CPUS_PER_TASK", "{}"):
        script = script.replace(name, "1")
    for line in script.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        words = words[words.index("seesay") :] if "seesay" in words else []
        if not words or words[1:2] not in (["caption"], ["merge"], ["train"]):
            continue
        verb = group.get_command(None, words[1])
        assert verb is not None
        verb.make_context(words[1], words[2:], resilient_parsing=False)
        found += 1
    return found


def test_shell_examples(tmp_path: Path) -> None:
    scripts = examples("bash")
    assert scripts
    for number, script in enumerate(scripts):
        file = tmp_path / f"{number}.sh"
        file.write_text(script)
        done = subprocess.run(["bash", "-n", file], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        if shellcheck := shutil.which("shellcheck"):
            done = subprocess.run([shellcheck, "-s", "bash", "-e", "SC2154", file], capture_output=True, text=True)
            assert done.returncode == 0, done.stdout
    assert sum(map(assert_our_commands_parse, scripts)) >= 4


def test_yaml_examples() -> None:
    documents = [document for text in examples("yaml") for document in yaml.safe_load_all(text)]
    entrypoints = [d["entrypoint"] for d in documents if "entrypoint" in d]
    jobs = [d for d in documents if d.get("kind") == "RayJob"]
    assert len(entrypoints) == len(jobs) == 1
    assert all(assert_our_commands_parse(text) == 1 for text in (*entrypoints, jobs[0]["spec"]["entrypoint"]))
    spec = jobs[0]["spec"]["rayClusterSpec"]
    assert jobs[0]["apiVersion"] == "ray.io/v1"
    pods = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    for pod in pods:
        (container,) = pod["template"]["spec"]["containers"]
        assert container["image"] and container["resources"]["limits"]["cpu"]
        assert container["volumeMounts"][0]["mountPath"] == "/shared", "where photos and captions are"
    assert json.dumps(pods)
