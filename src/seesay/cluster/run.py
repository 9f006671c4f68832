"""Captioning on a Ray cluster: a listing -> actors with a model each -> a folder of Parquet files.

While a thread of the driver lists photos, jobs of Ray Data caption those that are listed already.
Each actor writes the rows of a block of photos as one file, whole or not at all. These files are
the only record of what was done: a run that was killed is continued from them, on a cluster or not.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from seesay.cluster.captioner import BlockCaptioner, Load, Results
from seesay.cluster.listing import Listed, Listing
from seesay.data.sources import ListedPhoto
from seesay.errors import SeesayError, first_line, require
from seesay.outputs.parquet import RUNS, ParquetRows, parts_of, rows_and_errors
from seesay.outputs.writer import Job
from seesay.runtime.device import cores

FEWEST_ROWS, MOST_ROWS = 64, 512  # photos that become durable together
BLOCKS_OF_CORE = 40  # so many keep the cores busy to about the same end
SPARE_CPUS = 2  # logical ones of a local cluster, to read the listing and to divide it into blocks
OBJECT_STORE = 512 * 2**20  # bytes for a local cluster; photos do not go through it
CLIENT = "ray://"  # how addresses of clients begin
SECONDS = 2.0  # between looks at how far the job is
PATIENCE = {  # of a local cluster on a busy machine, whose processes start slowly; Ray's own is half a minute
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_worker_register_timeout_seconds": "300",
}


@dataclass(frozen=True)
class ClusterOptions:
    """How a cluster captions.

    Attributes:
        address: "local" for a cluster of this machine, "auto" for the one that this machine belongs
            to, or ray://HOST:PORT.
        actors: how many captioners at most; None: as many as the cluster has cores for.
        cores: of each captioner.
        gpus: of each captioner.
        attention: whether words have their maps.
        resume: continue an earlier run.
    """

    address: str
    actors: int | None = None
    cores: int = 1
    gpus: int = 0
    attention: bool = False
    resume: bool = False


class Counts(NamedTuple):
    """Rows of the output: all, and those that are errors."""

    photos: int
    failed: int


def caption_on_cluster(
    photos: Iterable[ListedPhoto],
    out: Path,
    load: Load,
    results: Results,
    made_by: Mapping[str, Any],
    options: ClusterOptions,
    report: Callable[[int, int | None], None] = lambda done, total: None,
) -> Counts:
    """Caption photos on a Ray cluster.

    Args:
        photos: of sources that every machine of the cluster can open.
        out: a folder that every machine can write to, for Parquet files as `ParquetRows` writes them.
        load: opens a model with one thread.
        results: (model, sources) -> a result for each; called on `options.cores` threads.
        made_by: the model and its options, which a resumed run compares.
        options: see `ClusterOptions`.
        report: is called with the photos done and all photos, or None while they are being listed.

    Raises:
        MissingExtraError: ray is not installed.
        BusyError: another process writes to the folder.
        SeesayError: the folder has captions and `resume` is off, or captions made otherwise; a photo
            can be opened by this process only; the cluster cannot be reached; or the job failed.
    """
    require("ray.data", "cluster", "--cluster")
    job = Job(attention=options.attention, resume=options.resume, made_by=lambda: made_by)
    before = failed = 0

    def todo() -> Iterator[ListedPhoto]:
        nonlocal before
        for photo in photos:
            if parts.done.holds(photo):
                before += 1
            else:
                yield photo

    with ParquetRows(out.resolve(), job) as parts:
        folder = parts.path / RUNS / os.urandom(4).hex()
        with Listing(todo(), folder, parts.number) as listing:
            total = lambda: None if listing.total is None else listing.total + before  # noqa: E731
            if listing.any():
                with _connected(options) as actors, _reporting(parts.path, total, report):
                    for listed in listing.parts():
                        captioner = (load, results, parts.path, folder, parts.made_by)
                        failed += run_on_cluster(listed, actors, captioner, options)
        return Counts(before + (listing.total or 0), failed)


def run_on_cluster(*arguments: Any) -> int:
    """`run_here`; or, as Ray Data does not run in a client of Ray, in a task of the cluster."""
    import ray

    if not arguments[-1].address.startswith(CLIENT):
        return run_here(*arguments)
    try:
        return ray.get(ray.remote(num_cpus=1)(run_here).remote(*arguments))
    except Exception as error:  # of the task, or of the connection
        cause = getattr(error, "cause", error)
        raise cause if isinstance(cause, SeesayError) else _job_failed(error) from None


def _job_failed(error: BaseException) -> SeesayError:
    return SeesayError(f"the job failed ({first_line(error)}); --resume goes on with what was written")


def run_here(listed: Listed, actors: int, captioner: tuple[Any, ...], options: ClusterOptions) -> int:
    """Caption photos, with this process as the driver.

    Args:
        listed: the photos.
        actors: how many at most.
        captioner: the arguments of `BlockCaptioner`.
        options: see `ClusterOptions`.

    Returns:
        How many could not be captioned.

    Raises:
        SeesayError: the job failed.
    """
    import ray.data

    _silence()
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = rows_of_block(listed.photos, actors * options.cores)
    listing = ray.data.read_parquet([str(file) for file in listed.files])
    # a small listing is a single block, so nothing would be parallel
    blocks = listing.repartition(target_num_rows_per_block=rows)
    # a cluster may grow, and its actors must not take what the reading needs; a local one has room for all
    at_once = actors if options.address == "local" else 1
    done = blocks.map_batches(
        BlockCaptioner,
        fn_constructor_args=captioner,
        batch_size=rows,
        batch_format="numpy",
        num_cpus=options.cores,
        num_gpus=options.gpus or None,
        compute=ray.data.ActorPoolStrategy(
            min_size=at_once,
            max_size=actors,
            max_concurrent_calls_per_actor=options.cores,
            enable_true_multi_threading=True,
        ),
    )
    try:
        return sum(int(row["failed"]) for row in done.iter_rows())
    except Exception as error:  # Ray's have no common class, and hundreds of lines
        raise _job_failed(error) from error


def _silence() -> None:
    """Keep Ray Data's log off the terminal; its files have all of it."""
    logger = logging.getLogger("ray.data")
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.ERROR)


def rows_of_block(total: int, at_once: int) -> int:
    """How many photos are handed out together: few enough that all cores end at about the same time.

    Args:
        total: number of photos.
        at_once: number of blocks that are captioned at the same time.
    """
    return min(max(total // (at_once * BLOCKS_OF_CORE), FEWEST_ROWS), MOST_ROWS)


@contextmanager
def _connected(options: ClusterOptions) -> Iterator[int]:
    """A connection to the cluster, or a cluster of this machine within the block; yields the number of actors."""
    import ray

    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    logging.getLogger("ray").setLevel(logging.ERROR)
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    local = options.address == "local"
    os.environ.update({name: value for name, value in PATIENCE.items() if local and name not in os.environ})
    actors = options.actors or max(1, cores() // options.cores)
    try:
        if local:
            cpus = actors * options.cores + SPARE_CPUS
            ray.init("local", num_cpus=cpus, object_store_memory=OBJECT_STORE, include_dashboard=False, **quiet)
        else:
            with warnings.catch_warnings():  # the error says it
                warnings.filterwarnings("ignore", message="Ray Client connection timed out")
                ray.init(options.address, **quiet)
    except Exception as error:  # of many kinds, down to those of sockets
        what = "cannot be started; is the machine busy?" if local else "cannot be reached"
        raise SeesayError(f"--cluster {options.address}: {what} ({first_line(error)})") from None
    try:
        if not local:
            cpus = int(ray.cluster_resources().get("CPU", 0))
            apart = 2 if options.address.startswith(CLIENT) else 1  # to read, and for the driver
            if cpus < options.cores + apart:  # with none left for reading, the job waits for ever
                raise SeesayError(
                    f"--cluster {options.address}: it has {cpus} CPUs; expected {options.cores + apart} or more, "
                    f"{apart} to read and {options.cores} for a captioner (--threads)"
                )
            actors = options.actors or (cpus - apart) // options.cores
        yield actors
    finally:
        ray.shutdown()


@contextmanager
def _reporting(out: Path, total: Callable[[], int | None], report: Callable[[int, int | None], None]) -> Iterator[None]:
    """Report within the block how many photos the output has."""
    ended = threading.Event()

    def watch() -> None:
        seen: dict[Path, int] = {}
        pause = SECONDS
        while not ended.wait(pause):
            started = time.monotonic()
            for file in parts_of(out):
                if file not in seen and (rows := rows_and_errors(file, errors=False)):
                    seen[file] = rows[0]
            report(sum(seen.values()), total())
            pause = max(SECONDS, 20 * (time.monotonic() - started))  # there may be 100,000 files

    thread = threading.Thread(target=watch, name="seesay-cluster", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
