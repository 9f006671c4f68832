"""`seesay compare`: a table on the terminal, and the requested files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seesay.cli.writable import refuse_unwritable
from seesay.errors import SeesayError
from seesay.evaluation.comparison import compare, measure_speed, read_run
from seesay.outputs.figures import FIGURE_SUFFIXES
from seesay.writing import write_image, write_text


def compare_runs(
    folders: Sequence[Path],
    *,
    markdown: Path | None = None,
    csv: Path | None = None,
    chart: Path | None = None,
    speed: bool = False,
    sort: str | None = None,
) -> None:
    """Compare the runs in the folders, print the table and write the requested files."""
    refuse_unwritable(markdown, csv, chart)
    if chart and chart.suffix.lower() not in FIGURE_SUFFIXES:
        raise SeesayError(f"{chart}: cannot be written: expected a name that ends in {', '.join(FIGURE_SUFFIXES)}")
    runs = [read_run(folder) for folder in folders]
    compare(runs, sort)  # reports an unknown sort key before speed is measured
    if speed:
        runs = [measure_speed(run) for run in runs]
    comparison = compare(runs, sort)
    print(comparison.table())
    if markdown:
        write_text(markdown, comparison.markdown())
    if csv:
        write_text(csv, comparison.csv())
    if chart:
        write_image(chart, comparison.chart())
