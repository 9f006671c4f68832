"""Training in two processes on the CPU: the curve of one process, also when resumed, and an end together."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import distributed

from seesay.data.feature_cache import DIGEST_BYTES, PhotoFeatures
from seesay.errors import SeesayError
from seesay.training.inputs.batches import CaptionBatches
from seesay.training.processes import all_items, ending_together, global_mean, process_average

# Each process draws its own random numbers, so hard attention takes the likeliest region here. STOP_AT stops the run
# after that step, as Ctrl-C does.
MAIN = """
import os, sys
import seesay.training.train
from seesay.data.feature_cache import FeatureCache
from seesay.models.recurrent import RecurrentDecoder
from seesay.training.loop import Trainer

choose, average = RecurrentDecoder._choose, Trainer._average
RecurrentDecoder._choose = lambda self, weights, sampled: choose(self, weights, None)

def stop(self):
    average(self)
    if self.state.step == int(os.environ.get("STOP_AT", -1)):
        self._stop_requested.set()

get = FeatureCache.get
FeatureCache.get = lambda self, photos, load, encode, size, *rest: get(self, photos, load, encode, 1, *rest)
Trainer._average = stop
seesay.training.train.write_bundle = lambda folder, *rest: folder
from seesay.cli import main
main()
"""
Curve = tuple[list[list[float]], dict[str, torch.Tensor]]


@pytest.fixture
def command(tiny_recipe: Any, tiny_data: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """The command that trains into a folder, without dropout."""
    (tmp_path / "main.py").write_text(MAIN)

    def command(name: str, devices: int, *overrides: str) -> list[str]:
        values = tiny_recipe.to_dict()
        values |= {"out": str(tmp_path / name), "data": {"path": [str(tiny_data)]}}
        values["decoder"]["dropout"] = 0.0
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values))
        files = [str(tmp_path / "main.py"), "train", str(tmp_path / f"{name}.yaml")]
        return [sys.executable, *files, f"train.devices={devices}", *overrides]

    return command


def trained(command: list[str], folder: Path, **environment: str) -> Curve:
    """Train -> loss and scores of each epoch, and the weights."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, **environment})
    assert done.returncode == (130 if environment else 0), done.stderr
    rows = []
    if (folder / "metrics.csv").exists():
        with (folder / "metrics.csv").open() as file:
            rows = [[float(row[key]) for key in ("loss", "cider", "bleu4")] for row in csv.DictReader(file)]
    return rows, torch.load(folder / "last.ckpt", weights_only=True)["averaged"]


def assert_same(one: Curve, other: Curve) -> None:
    assert len(one[0]) == len(other[0]) > 1
    np.testing.assert_allclose(one[0], other[0], atol=2e-4)
    for name, tensor in one[1].items():
        torch.testing.assert_close(tensor, other[1][name], atol=2e-4, rtol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective",
    [
        ["decoder.kind=lstm", "train.doubly_stochastic=1.0"],
        ["decoder.kind=lstm", "attention.kind=hard", "train.half_soft=0.0", "train.doubly_stochastic=0.5"],
    ],
    ids=["soft", "hard"],
)
def test_two_processes_have_the_curve_of_one(
    command: Callable[..., list[str]], objective: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """12 photos in batches of 5, so that shares are uneven, and captions of different lengths."""
    how = [*objective, "train.epochs=2"]
    monkeypatch.setenv("SEESAY_CACHE", str(tmp_path / "cache1"))
    one = trained(command("one", 1, *how), tmp_path / "one")
    monkeypatch.setenv("SEESAY_CACHE", str(tmp_path / "cache2"))
    assert_same(one, trained(command("two", 2, *how), tmp_path / "two"))
    caches = [features_in(tmp_path / name) for name in ("cache1", "cache2")]
    assert len(caches[0]) > 8, "more than a process takes at once"
    assert caches[0] == caches[1], "the same bits, whoever encoded them"


def features_in(root: Path) -> dict[bytes, bytes]:
    """Features by the digest of their photo."""
    [folder] = (root / "features").iterdir()
    index, rows = (folder / "rows.index").read_bytes(), (folder / "rows.f16").read_bytes()
    count = len(index) // DIGEST_BYTES
    pieces = lambda data: [data[i * len(data) // count : (i + 1) * len(data) // count] for i in range(count)]  # noqa: E731
    found = dict(zip(pieces(index), pieces(rows), strict=True))
    assert len(found) == count, "no photo is there twice"
    return found


@pytest.mark.slow
def test_self_critical_training_goes_on_with_another_number_of_processes(
    command: Callable[..., list[str]], tiny_bundle: Path, tmp_path: Path
) -> None:
    how = ["train.objective=self_critical", f"train.init={tiny_bundle}", "train.epochs=2", "train.lr=0.001"]
    how += ["train.cross_entropy_weight=0.1"]
    one = trained(command("one", 1, *how), tmp_path / "one")
    for before, after in ((2, 1), (1, 2)):
        name = f"{before}-{after}"
        trained(command(name, before, *how), tmp_path / name, STOP_AT="4")
        assert_same(one, trained([*command(name, after, *how), "--resume"], tmp_path / name))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes in /proc")
@pytest.mark.parametrize("which", ["first", "second"])
def test_where_one_process_is_killed_the_other_ends_with_a_line(
    command: Callable[..., list[str]], which: str, tmp_path: Path
) -> None:
    how = ["train.epochs=5000", "train.save_minutes=0.0", "train.patience=5000"]
    asked = command("run", 2, *how)
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as first:
        started = time.monotonic()
        while not (tmp_path / "run" / "last.ckpt").exists() and time.monotonic() - started < 120:
            time.sleep(0.2)
        (second,) = children(first.pid)
        os.kill(first.pid if which == "first" else second, signal.SIGKILL)
        _, said = first.communicate(timeout=60)
    lines = [line for line in said.splitlines() if line.startswith("seesay: process ")]
    assert len(lines) == 1, said
    number = 2 if which == "first" else 1
    assert lines[0].startswith(f"seesay: process {number} of 2: another one ended")
    assert "--resume" in lines[0] and "Traceback" not in said


def children(pid: int) -> list[int]:
    """Processes of Python that a process started."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == pid and b"main.py" in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
            except OSError:  # it has just ended
                continue
    return found


# without processes


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_the_shares_of_a_batch_have_each_photo_once(world: int) -> None:
    features = PhotoFeatures(np.zeros((7, 4, 2), np.float16), np.arange(7), (2, 2), ())
    batches = CaptionBatches(features, [[[9]]] * 7, batch_size=3, max_words=5, seed=1)
    shares = [list(batches.epoch(0, rank=rank, world=world)) for rank in range(world)]
    assert {len(share) for share in shares} == {3}, "every process has as many steps"
    counted = [photo for share in shares for batch in share if batch.counts for photo in batch.photos.tolist()]
    assert sorted(counted) == list(range(7))


def test_means_over_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a process with 3 items and mean 2, and another with 1 item and mean 6: the mean of all is 3."""
    assert float(global_mean(torch.tensor(2.0), 3)) == 2.0, "alone"
    assert all_items(["a"]) == ["a"] and float(process_average(torch.tensor(2.0))) == 2.0
    monkeypatch.setattr("seesay.training.processes.rank_and_count", lambda: (0, 2))
    monkeypatch.setattr(distributed, "all_reduce", lambda tensor: tensor.fill_(4))
    parts = [float(global_mean(torch.tensor(mean), count)) for mean, count in ((2.0, 3), (6.0, 1))]
    assert np.mean(parts) == pytest.approx(3.0)
    assert float(global_mean(torch.tensor(6.0), 0)) == 0.0, "photos of another process"

    def gather(gathered: list[list[str]], _: list[str]) -> None:
        gathered[:] = [["0", "2", "4"], ["1", "3"]]

    monkeypatch.setattr(distributed, "all_gather_object", gather)
    assert all_items(["0", "2", "4"]) == ["0", "1", "2", "3", "4"]


def test_only_lost_connections_are_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seesay.training.processes.rank_and_count", lambda: (1, 2))
    with pytest.raises(SeesayError, match=r"process 2 of 2: another one ended.*--resume.*peer"), ending_together():
        raise RuntimeError("[/gloo/pair.cc:538] Connection closed by peer")
    with pytest.raises(RuntimeError, match="mat1 and mat2"), ending_together():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
