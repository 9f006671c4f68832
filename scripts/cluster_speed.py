"""Photos a second of a folder run, of two shards, and of Ray with one and two actors, on the same two cores.

    python scripts/cluster_speed.py PATH/TO/flickr8k/Images --photos 5000 --repeats 3

Each way runs in turn, so that whatever else the machine does meets all of them. What counts is the run phase: from
the start of the first batch to the end of the last, without the start of processes and the loading of models. The
captions of all ways are compared. On a machine that does other work too, compare the time of the processor.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from seesay.cluster.run import ClusterOptions, caption_on_cluster
from seesay.data.sources import Shard, Sources
from seesay.outputs.parquet import parts_of, read_rows
from seesay.runtime import CaptionModel

Captions = dict[str, str]
FOLDER = "folder, 2 threads"


def timed(log: str, model: CaptionModel, photos: Iterable[Any]) -> Iterator[Any]:
    """The captions of photos; appends the process, times and the time of the processor at both ends to a file."""
    begun = f"{os.getpid()} {time.time()} {time.process_time()}"
    yield from model.caption_many(photos)
    with open(log, "a") as file:  # noqa: PTH123
        file.write(f"{begun} {time.time()} {time.process_time()}\n")


def read_log(log: Path) -> tuple[float, float]:
    """(seconds from the first beginning to the last end, seconds of the processor in all processes)."""
    calls = [[float(value) for value in line.split()] for line in log.read_text().splitlines()]
    processes: dict[float, list[list[float]]] = {}
    for process, *times in calls:
        processes.setdefault(process, []).append(times)
    processor = (max(row[3] for row in rows) - min(row[1] for row in rows) for rows in processes.values())
    return max(row[3] for row in calls) - min(row[1] for row in calls), sum(processor)


def folder_run(folder: str, number: int, log: str, threads: int = 2, shard: str = "1/1") -> Captions:
    """The captions of a folder's photos, or of a shard of them, in this process."""
    listed = [photo for photo in islice(Sources([folder]), number) if Shard.parse(shard).holds(photo.id)]
    model = CaptionModel.load(threads=threads)
    next(iter(model.caption_many([listed[0].source])))  # sessions open when they are first used
    results = timed(log, model, [photo.source for photo in listed])
    return {photo.id: str(result) for photo, result in zip(listed, results, strict=True)}


def two_shards(folder: str, number: int, log: str) -> Captions:
    """The captions of two processes with a shard and a thread each."""
    code = "import json, sys; sys.path.insert(0, sys.argv[1]); from cluster_speed import folder_run; "
    code += "print(json.dumps(folder_run(sys.argv[2], int(sys.argv[3]), sys.argv[4], 1, sys.argv[5])))"
    command = [sys.executable, "-c", code, str(Path(__file__).parent), folder, str(number), log]
    running = [subprocess.Popen([*command, f"{part}/2"], stdout=subprocess.PIPE, text=True) for part in (1, 2)]
    captions: Captions = {}
    for process in running:
        captions |= json.loads(process.communicate()[0])
    return captions


def on_ray(folder: str, number: int, log: str, actors: int, cores: int) -> Captions:
    """The captions of a local Ray cluster."""
    with tempfile.TemporaryDirectory() as out:
        load = partial(CaptionModel.load, None, 1)
        how = ClusterOptions("local", actors, cores)
        caption_on_cluster(islice(Sources([folder]), number), Path(out), load, partial(timed, log), {}, how)
        return {row["id"]: row["caption"] for file in parts_of(Path(out)) for row in read_rows(file)[0]}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    ways = {
        FOLDER: folder_run,
        "two shards, 1 thread each": two_shards,
        "Ray, 1 actor of 2 cores": partial(on_ray, actors=1, cores=2),
        "Ray, 2 actors of 1 core": partial(on_ray, actors=2, cores=1),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    whole: Captions = {}
    for repeat in range(asked.repeats):
        for name, run in ways.items():
            with tempfile.TemporaryDirectory() as scratch:
                log = f"{scratch}/log"
                captions = run(asked.folder, asked.photos, log)
                seconds, on_processor = read_log(Path(log))
            whole = whole or captions
            assert captions == whole, f"{name}: captions differ"
            rates[name].append(len(captions) / seconds)
            processor[name].append(1000 * on_processor / len(captions))
            print(f"{repeat + 1} {name}: {rates[name][-1]:.1f}", file=sys.stderr, flush=True)
    print(f"{len(whole):,} photos, captions equal; photos/s in the run phase, median of {asked.repeats}")
    for name, values in rates.items():
        ratio = statistics.median(rate / folder for rate, folder in zip(values, rates[FOLDER], strict=True))
        cpu = statistics.median(processor[name])
        print(
            f"{name:28} {statistics.median(values):6.1f}  {ratio:.2f} of the folder run; {cpu:.1f} ms of a core a photo"
        )


if __name__ == "__main__":
    main()
