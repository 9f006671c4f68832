"""Kills workers and the driver of a captioning job on Ray at random, and checks that nothing is lost or doubled.

    python scripts/cluster_kills.py PATH/TO/flickr8k/Images --photos 600 --kills 10

Each round starts the job with --resume, kills an actor at a random time, and later the driver. The last round runs to
its end. Every id has to be there exactly once, with the caption of a run in one process.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from seesay.data.sources import Sources
from seesay.outputs.parquet import parts_of, read_rows, rows_and_errors
from seesay.runtime import CaptionModel

ACTOR = b"MapWorker(MapBatches(BlockCaptioner))"


def captions_of_one_process(paths: list[str], model: str | None) -> dict[str, str]:
    """The captions of photos, by path."""
    return {path: str(result) for path, result in zip(paths, CaptionModel.load(model).caption_many(paths), strict=True)}


def actors(name: bytes = ACTOR) -> list[int]:
    """Processes of captioners on this machine."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # it has just ended
            if folder.name.isdigit() and name in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def start(listed: Path, out: Path, model: str | None) -> subprocess.Popen[bytes]:
    """Start the job."""
    command = [sys.executable, "-m", "seesay", "caption", f"@{listed}", "--cluster", "local", "--parquet", str(out)]
    command += ["--model", model] if model else []
    # a driver that is killed cannot say that the first round has begun, so each resumes if there is something
    resume = ["--resume"] if out.exists() else []
    quiet = subprocess.DEVNULL
    return subprocess.Popen([*command, *resume], stdout=quiet, stderr=quiet, start_new_session=True)


def wait_for_rows(job: subprocess.Popen[bytes], out: Path, seconds: float) -> bool:
    """Wait until there are new rows, and so many seconds more; returns whether the job still runs."""
    count = lambda: rows_and_errors(out)[0] if out.exists() else 0  # noqa: E731
    before, waited = count(), time.monotonic()
    while job.poll() is None and count() == before and time.monotonic() - waited < 300:
        time.sleep(0.2)
    time.sleep(seconds)
    return job.poll() is None


def kill(pids: list[int]) -> None:
    """Kill one of these processes."""
    with contextlib.suppress(IndexError, ProcessLookupError):
        os.kill(random.choice(pids), signal.SIGKILL)


def check(out: Path, whole: dict[str, str]) -> None:
    """Every id once, with the caption of one process."""
    rows = [row for file in parts_of(out) for row in read_rows(file)[0]]
    ids = [row["id"] for row in rows]
    assert len(ids) == len(set(ids)), f"{len(ids) - len(set(ids))} rows are doubled"
    assert set(ids) == set(whole), f"{len(set(whole) - set(ids))} photos are lost"
    assert {row["id"]: row["caption"] for row in rows} == whole, "captions differ"


def kill_and_check(paths: list[str], folder: Path, kills: int, seed: int = 0, model: str | None = None) -> list[str]:
    """Caption photos while killing; returns what was killed.

    Args:
        paths: the photos.
        folder: for the output.
        kills: how many.
        seed: of the times.
        model: None is the packaged one.
    """
    chance, killed = random.Random(seed), []
    listed, out = folder / "photos.txt", folder / "out"
    listed.write_text("\n".join(paths) + "\n")
    whole = captions_of_one_process(paths, model)
    while len(killed) < kills:
        job = start(listed, out, model)
        for whom in ("actor", "driver"):  # the job outlives an actor
            if len(killed) < kills and wait_for_rows(job, out, chance.uniform(0, 4)):
                kill(actors() if whom == "actor" else [job.pid])
                killed.append(whom)
                rows = rows_and_errors(out)[0]
                print(f"{len(killed)}: killed the {whom} at {rows} of {len(paths)} rows", file=sys.stderr, flush=True)
        if job.wait(600) == 0:
            break  # it ended before it could be killed
        time.sleep(3)  # Ray's own processes end when they miss the driver
    assert start(listed, out, model).wait(600) == 0, "the last round failed"
    check(out, whole)
    return killed


def main() -> None:
    """Kill and check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--photos", type=int, default=600)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    paths = [photo.image for photo in islice(Sources([asked.folder]), asked.photos)]
    with tempfile.TemporaryDirectory() as folder:
        killed = kill_and_check(paths, Path(folder), asked.kills, asked.seed)
    print(f"{len(killed)} kills ({', '.join(killed)}): each of {len(paths):,} ids once, captions equal")


if __name__ == "__main__":
    main()
