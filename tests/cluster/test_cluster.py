"""Captioning on Ray: the listing, what an actor does, kills, and the examples of docs/cluster.md."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import tarfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import Cli, write_photo

from seesay.cli.caption import CaptionOptions
from seesay.cluster import run
from seesay.cluster.captioner import BatchCaptioner
from seesay.cluster.run import ClusterOptions, Counts, rows_of_block, write_listing
from seesay.data.images import open_photo
from seesay.data.sources import Sources, opened_at, places
from seesay.errors import SeesayError
from seesay.outputs import WRITERS
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


def batch_of(listing: Path) -> dict[str, np.ndarray]:
    table = pq.read_table(listing)
    return {name: np.array(table[name].to_pylist(), object) for name in table.column_names}


def test_an_actor_captions_what_the_listing_has(album: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    assert write_listing(Sources([album]), tmp_path / "listing") == 7
    load, options = partial(CaptionModel.load, tiny_bundle, 1), CaptionOptions(beam=2)
    rows = BatchCaptioner(load, options.results, attention=True)(batch_of(tmp_path / "listing")).to_pylist()
    assert [row["id"] for row in rows] == [*(f"{i}.png" for i in range(6)), "broken.png"]
    assert rows[-1]["error"].endswith("broken.png: an empty file") and rows[-1]["caption"] is None
    model = load()
    for row in rows[:-1]:
        assert row["caption"] == model.caption(row["path"], beam=2).text
        assert np.shape(row["words"][0]["attention"]) == model.bundle.grid


def test_actors_need_not_share_the_working_folder(album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with tarfile.open("0.tar", "w") as tar:
        tar.add("album/0.png")
    (tmp_path / "m.jsonl").write_text('{"path": "album/1.png"}')
    assert write_listing(Sources(["album", "0.tar", "m.jsonl"]), tmp_path / "listing") == 9
    batch = batch_of(tmp_path / "listing")
    monkeypatch.chdir("/")
    sources = [opened_at(place, places()) for place in batch["place"]]
    assert sum(open_photo(source).size == (67, 53) for source in sources if "broken" not in str(source)) == 8


def test_no_error_leaves_an_actor(album: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    write_listing(Sources([album]), tmp_path / "listing")

    def fails_at_two(model: CaptionModel, photos: list[Any]) -> Any:
        if any(str(photo).endswith("2.png") for photo in photos):
            raise RuntimeError("a line\nand hundreds more")
        return model.caption_many(photos, beam=1)

    batch = batch_of(tmp_path / "listing")
    batch["place"][3] = "no place"
    rows = BatchCaptioner(partial(CaptionModel.load, tiny_bundle, 1), fails_at_two)(batch).to_pylist()
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
        write_listing(Sources(["-"], {"-": Pipe()}), tmp_path / "listing")


def test_where_this_process_is_a_client_the_job_is_a_task_of_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    class TaskError(Exception):
        cause = SeesayError("the job failed (OSError: disk)")

    def task(*_: Any) -> None:
        raise TaskError("hundreds of lines")

    remote = SimpleNamespace(remote=lambda *arguments: arguments)
    ray = SimpleNamespace(remote=lambda **_: lambda _run: remote, get=task)
    monkeypatch.setitem(sys.modules, "ray", ray)
    options = [ClusterOptions(address) for address in ("ray://head:10001", "auto")]
    with pytest.raises(SeesayError, match=r"the job failed \(OSError: disk\)"):
        run.run_on_cluster(Path("out"), 1, 1, (), options[0])
    here: list[Any] = []
    monkeypatch.setattr(run, "run_here", lambda *arguments: here.append(arguments))
    run.run_on_cluster(Path("out"), 1, 1, (), options[1])
    assert here == [(Path("out"), 1, 1, (), options[1])]


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
    assert load().threads == 2


def test_a_folder_of_a_cluster_and_one_of_a_single_machine_do_not_mix(
    cli: Cli, album: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.made_by.json").write_text("{}")
    done = cli("caption", album, "--model", tiny_bundle, "--parquet", "out", "--resume")
    assert done.code == 1 and "its captions were made with --cluster" in done.err
    assert WRITERS["parquet"].resumes


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
