"""`seesay caption --cluster`: captions on Ray."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from seesay.cli.caption import CaptionOptions, Outcome, first_photos, load_captioner, made_by
from seesay.errors import require
from seesay.outputs import WRITERS, Job

if TYPE_CHECKING:
    from seesay.data.sources import Sources


def caption_by_cluster(sources: Sources, options: CaptionOptions, address: str, actors: int | None) -> Outcome:
    """Caption photos on a Ray cluster; the output is `options.outputs["parquet"]`.

    Args:
        sources: what to caption; every machine has to be able to open it.
        options: model and search; `threads` are the cores of each captioner.
        address: "local", "auto" or ray://HOST:PORT.
        actors: number of captioners at most; None: as many as there are cores.

    Raises:
        SeesayError: as `seesay.cluster.run.caption_on_cluster`.
    """
    require("ray.data", "cluster", "--cluster")
    from rich.console import Console

    from seesay.cluster.run import ClusterOptions, caption_on_cluster
    from seesay.progress import counted
    from seesay.runtime import CaptionModel

    out = options.outputs["parquet"]
    WRITERS["parquet"].files(out, Job())
    photos, _ = first_photos(sources, options)
    threads = options.threads or 1
    captioner = load_captioner(options, threads)  # an error is shown here, not by each actor
    model = options.model and captioner.bundle.folder.resolve()
    load = partial(CaptionModel.load, model, 1, options.precision, options.device)
    how = ClusterOptions(address, actors, threads, int(captioner.device != "cpu"), options.attention, options.resume)
    with counted("captioning", Console(stderr=True)) as report:
        counts = caption_on_cluster(photos, out, load, options.results, made_by(captioner, options), how, report)
    return Outcome(counts.photos, counts.failed)
