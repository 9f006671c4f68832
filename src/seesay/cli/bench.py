"""`seesay bench`: a table on the terminal, and JSON."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.console import Console

from seesay.bench import PARTS, Options, run_bench
from seesay.cli.writable import emit_json, refuse_unwritable, tell
from seesay.errors import did_you_mean


def measure(options: Options, json_out: Path | None) -> None:
    """Run the benchmark, print its table and write it as JSON."""
    refuse_unwritable(json_out)
    for part in options.only:
        if part not in PARTS:
            raise typer.BadParameter(f"--only {part}: expected one of {', '.join(PARTS)}.{did_you_mean(part, PARTS)}")
    report = run_bench(options, Console(stderr=True))
    tell(report.table(), json_out)
    if json_out:
        emit_json(json_out, report.to_dict())
