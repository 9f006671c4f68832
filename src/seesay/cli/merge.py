"""`seesay merge`: joins the outputs of shards."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from seesay.cli.writable import refuse_unwritable
from seesay.errors import printable
from seesay.outputs import WRITERS, Job
from seesay.outputs.merge import merge
from seesay.writing import STANDARD_OUTPUT


def merge_parts(parts: Sequence[Path], json: Path | None, parquet: Path | None) -> bool:
    """Merge outputs and print what was merged; returns False if lines were cut off.

    Args:
        parts: files of JSON lines, or folders of Parquet files.
        json: the file to write; None, without `parquet` too: standard output.
        parquet: the folder to write instead.

    Raises:
        SeesayError: as `seesay.outputs.merge.merge`.
    """
    out = parquet or json or STANDARD_OUTPUT
    if parquet:
        WRITERS["parquet"].files(parquet, Job())
    else:
        refuse_unwritable(out)
    merged = merge(parts, out, parquet is not None)
    left_out = f", {merged.repeated:,} repeated rows left out" if merged.repeated else ""
    print(f"seesay: {merged.photos:,} photos, {merged.failed:,} of them errors{left_out}", file=sys.stderr)
    for place in merged.cut_off:
        print(f"seesay: {printable(place)}: cut off, as by a kill, and left out; --resume the run", file=sys.stderr)
    return not merged.cut_off
