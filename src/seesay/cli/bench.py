"""`seesay bench`: the page on the terminal, and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console

from seesay.bench import PARTS, Options, run_bench
from seesay.cli.outputs import emit_json, refuse_unwritable, tell
from seesay.errors import did_you_mean
from seesay.runtime.engine import Precision


def measure(
    model: str | None,
    photos: int,
    repeats: int,
    only: Sequence[str],
    linear: bool,
    json_out: Path | None,
    precision: Precision = "auto",
) -> None:
    """Run the bench, print its table and write it as JSON."""
    refuse_unwritable(json_out)
    for part in only:
        if part not in PARTS:
            raise typer.BadParameter(f"--only {part}: expected one of {', '.join(PARTS)}.{did_you_mean(part, PARTS)}")
    options = Options(model, photos, repeats, only=tuple(only), linear=linear, precision=precision)
    report = run_bench(options, Console(stderr=True))
    tell(report.table(), json_out)
    if json_out:
        emit_json(json_out, report.to_dict())
