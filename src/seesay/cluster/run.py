"""Captioning on a Ray cluster: a listing -> actors with a model each -> a folder of Parquet files.

The driver writes the listing beside the output. A run that is started again skips the photos whose
rows were written (Ray Data's checkpoint by id).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from seesay.cluster.captioner import BatchCaptioner, Load, Results
from seesay.data.sources import ListedPhoto, place_of, places
from seesay.data.sources.remote import is_address
from seesay.data.sources.tables import ParquetPhoto
from seesay.data.sources.tars import TarMember
from seesay.errors import PhotoError, SeesayError, first_line, require
from seesay.outputs.parquet import MADE_BY_FILE, parts_of, refuse_other_rows, rows_and_errors, valid_text
from seesay.runtime.device import cores
from seesay.runtime.threads import batches_of
from seesay.writing import only_writer, write_json, written_whole

LISTING, CHECKPOINT = ".listing", ".checkpoint"  # in the output folder; readers of Parquet pass over them
LISTED_ROWS = 20_000  # of a file of the listing
FEWEST_ROWS, MOST_ROWS = 64, 512  # photos that become durable together
BLOCKS_OF_ACTOR = 40  # so many keep the actors busy to about the same end
BATCH = 64  # photos of a call
FEWEST_CPUS = 8  # logical ones of a local cluster: with fewer, resuming waits for a free one for ever
OBJECT_STORE = 512 * 2**20  # bytes for a local cluster; photos do not go through it
CLIENT = "ray://"  # how addresses of clients begin
SECONDS = 2.0  # between looks at how far the job is


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
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Counts:
    """Caption photos on a Ray cluster.

    Args:
        photos: of sources that every machine of the cluster can open.
        out: a folder that every machine can write to, for Parquet files as `ParquetRows` writes them.
        load: opens a model with `options.cores` threads.
        results: (model, sources) -> a result for each.
        made_by: the model and its options, which a resumed run compares.
        options: see `ClusterOptions`.
        report: is called with the photos done and all photos.

    Raises:
        MissingExtraError: ray is not installed.
        BusyError: another process writes to the folder.
        SeesayError: the folder has captions and `resume` is off, or captions made otherwise; a photo
            can be opened by this process only; the cluster cannot be reached; or the job failed.
    """
    require("ray.data", "cluster", "--cluster")
    out = out.resolve()
    out.mkdir(exist_ok=True)
    busy = f"{out}: another process is writing to it; wait for it, or give another --parquet folder"
    with only_writer(out / ".lock", busy):
        _begin(out, {**made_by, "attention": options.attention}, options.resume)
        if total := write_listing(photos, out / LISTING):
            with _connected(options) as actors, _reporting(out, total, report):
                run_on_cluster(out, total, actors, (load, results, options.attention), options)
        shutil.rmtree(out / LISTING)
    return Counts(*rows_and_errors(out))


def _begin(out: Path, made_by: dict[str, Any], resume: bool) -> None:
    """Refuse a folder that cannot be written to or continued, else note how its captions are made."""
    file = out / MADE_BY_FILE
    if not resume:
        if next(parts_of(out), None):
            raise SeesayError(f"{out}: has captions already; --resume goes on with it, or give a new folder")
        shutil.rmtree(out / CHECKPOINT, ignore_errors=True)
        (out / CHECKPOINT).mkdir()
    elif file.exists():
        before = json.loads(file.read_bytes())
        refuse_other_rows(before, made_by, str(out))
    elif next(parts_of(out), None):
        raise SeesayError(f"{out}: its captions were not made with --cluster; give another folder, or leave it out")
    write_json(file, made_by)


def write_listing(photos: Iterable[ListedPhoto], folder: Path) -> int:
    """Write Parquet files with id, path and place of each photo; returns the number of photos.

    Raises:
        SeesayError: a photo can be opened by this process only, such as one from a pipe.
    """
    arrow, parquet = (require(name, "cluster", "--cluster") for name in ("pyarrow", "pyarrow.parquet"))
    schema = arrow.schema([(name, arrow.string()) for name in ("id", "path", "place")])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    total, kinds = 0, places()
    for number, rows in enumerate(batches_of((_row(photo, kinds) for photo in photos), LISTED_ROWS)):
        total += len(rows)
        with written_whole(folder / f"{number:06}.parquet") as scratch:
            parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), scratch)
    return total


def _row(photo: ListedPhoto, kinds: Mapping[str, type]) -> dict[str, str]:
    try:
        place = place_of(replace(photo, source=_absolute(photo.source)), kinds)
        row = {"id": photo.id, "path": photo.image, "place": place}
    except PhotoError as error:
        raise SeesayError(f"--cluster: {error}") from None
    return {name: valid_text(value) for name, value in row.items()}


def _absolute(source: Any) -> Any:
    """A source whose path does not depend on the working folder, which actors do not share."""
    if isinstance(source, str):
        return source if is_address(source) else os.path.abspath(source)  # noqa: PTH100
    if isinstance(source, TarMember):
        return replace(source, tar=_absolute(source.tar))
    if isinstance(source, ParquetPhoto):
        return replace(source, table=_absolute(source.table))
    return source


def run_on_cluster(*arguments: Any) -> None:
    """`run_here`; or, as Ray Data does not run in a client of Ray, in a task of the cluster."""
    import ray

    if not arguments[-1].address.startswith(CLIENT):
        run_here(*arguments)
        return
    try:
        ray.get(ray.remote(num_cpus=1)(run_here).remote(*arguments))
    except Exception as error:  # of the task, or of the connection
        cause = getattr(error, "cause", error)
        raise cause if isinstance(cause, SeesayError) else _job_failed(error) from None


def _job_failed(error: BaseException) -> SeesayError:
    return SeesayError(f"the job failed ({first_line(error)}); --resume goes on with what was written")


def run_here(out: Path, total: int, actors: int, captioner: tuple[Any, ...], options: ClusterOptions) -> None:
    """Caption what is listed, with this process as the driver.

    Args:
        out: the folder with the listing, for Parquet files.
        total: number of photos.
        actors: how many at most.
        captioner: the arguments of `BatchCaptioner`.
        options: see `ClusterOptions`.

    Raises:
        SeesayError: the job failed.
    """
    import ray.data
    from ray.data.checkpoint import CheckpointConfig

    _silence()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.checkpoint_config = CheckpointConfig(
        id_column="id", checkpoint_path=str(out / CHECKPOINT), delete_checkpoint_on_success=False
    )
    listed = ray.data.read_parquet(str(out / LISTING), columns=["id", "path", "place"])
    # a small listing is a single block, so nothing would be parallel or durable
    blocks = listed.repartition(target_num_rows_per_block=rows_of_block(total, actors))
    captioned = blocks.map_batches(
        BatchCaptioner,
        fn_constructor_args=captioner,
        batch_size=BATCH,
        batch_format="numpy",
        num_cpus=options.cores,
        num_gpus=options.gpus or None,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors),
    )
    try:
        captioned.write_parquet(str(out))
    except Exception as error:  # Ray's have no common class, and hundreds of lines
        raise _job_failed(error) from error


def _silence() -> None:
    """Keep Ray Data's log off the terminal; its files have all of it."""
    logger = logging.getLogger("ray.data")
    for handler in logger.handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.ERROR)


def rows_of_block(total: int, actors: int) -> int:
    """How many photos are handed out together: few enough that all actors end at about the same time."""
    return min(max(total // (actors * BLOCKS_OF_ACTOR), FEWEST_ROWS), MOST_ROWS)


@contextmanager
def _connected(options: ClusterOptions) -> Iterator[int]:
    """A connection to the cluster, or a cluster of this machine within the block; yields the number of actors."""
    import ray

    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    logging.getLogger("ray").setLevel(logging.ERROR)
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    local = options.address == "local"
    actors = options.actors or max(1, cores() // options.cores)
    try:
        if local:
            cpus = max(FEWEST_CPUS, actors * options.cores + FEWEST_CPUS // 2)
            ray.init("local", num_cpus=cpus, object_store_memory=OBJECT_STORE, include_dashboard=False, **quiet)
        else:
            ray.init(options.address, **quiet)
    except Exception as error:  # of many kinds, down to those of sockets
        raise SeesayError(f"--cluster {options.address}: cannot be reached ({first_line(error)})") from None
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
def _reporting(out: Path, total: int, report: Callable[[int, int], None]) -> Iterator[None]:
    """Report within the block how many photos the output has."""
    ended = threading.Event()

    def watch() -> None:
        seen: dict[Path, int] = {}
        while not ended.wait(SECONDS):
            for file in parts_of(out):
                if file not in seen and (rows := rows_and_errors(file, errors=False)):
                    seen[file] = rows[0]
            report(min(sum(seen.values()), total), total)

    thread = threading.Thread(target=watch, name="seesay-cluster", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
