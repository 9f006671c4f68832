"""Several runs as one table, with warnings where their figures are not comparable."""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from seesay.bundle.names import short_name
from seesay.config.recipe import keys_with
from seesay.errors import RunError, did_you_mean, printable
from seesay.evaluation.comparison.runs import TRAINING_TOKENISER, RunSummary

# best first
FALLING = ("cider", "cider_low", "cider_high", "bleu_", "meteor", "rouge_l", "captions_per_second")
LONGEST_CELL = 40


class Column(NamedTuple):
    """A column of a table: its title, its cells from the top down, and whether they are flush
    right.
    """

    title: str
    cells: list[str]
    right: bool = True


@dataclass(frozen=True)
class Comparison:
    """Runs side by side; made by `compare`.

    Attributes:
        runs: runs with different names, in the requested order.
        differences: recipe keys in which some of the runs differ.
        warnings: reasons why figures are not comparable, and other notes for their reader.
    """

    runs: tuple[RunSummary, ...]
    differences: tuple[str, ...]
    warnings: tuple[str, ...]

    def table(self, width: int = 120) -> str:
        """Plain text with a row for each run, scores x100, and the warnings at the end.

        Columns that do not fit into `width` follow below.

        A line is longer than `width` only where the runs' names leave no room for one more column.
        """
        parts = text_blocks([_clipped(column) for column in self.columns()], width)
        if self.warnings:
            parts.append("\n".join(textwrap.fill(text, width, subsequent_indent="  ") for text in self.warnings))
        return "\n\n".join(parts)

    def markdown(self) -> str:
        """A Markdown table of the same columns, the warnings as a list below it."""
        lines = markdown_table(self.columns())
        if self.warnings:
            lines += ["", *(f"- {text}" for text in self.warnings)]
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        """CSV with a row for each run: `RunSummary.to_dict` and the differing recipe keys.

        Unknown values are empty.
        """
        text = io.StringIO()
        rows = [run.to_dict() | {key: _shown(run, key) for key in self.differences} for run in self.runs]
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def chart(self) -> Image.Image:
        """Bars of CIDEr with intervals, see `seesay.evaluation.comparison.chart.draw_chart`."""
        from seesay.evaluation.comparison.chart import draw_chart

        return draw_chart(self.runs, self.warnings)

    def columns(self) -> list[Column]:
        """Names first, then figures that any run has, then recipe keys that differ."""
        figures = [
            Column("CIDEr", [_cider(run) for run in self.runs], right=False),
            self._column("BLEU-4", lambda run: _hundredfold(run, "bleu_4")),
            self._column("METEOR", lambda run: _hundredfold(run, "meteor")),
            self._column("ROUGE-L", lambda run: _hundredfold(run, "rouge_l")),
            self._column("epochs", _epochs),
            self._column("best", lambda run: None if run.best_epoch is None else str(run.best_epoch)),
            self._column("time", lambda run: None if run.seconds is None else _duration(run.seconds)),
            self._column("encoder", lambda run: _millions(run.encoder_parameters)),
            self._column("decoder", lambda run: _millions(run.decoder_parameters)),
            self._column(
                "captions/s", lambda run: f"{run.captions_per_second:.1f}" if run.captions_per_second else None
            ),
        ]
        recipe = [
            Column(printable(key), [_shown(run, key) for run in self.runs], right=False) for key in self.differences
        ]
        known = [column for column in figures if set(column.cells) != {"-"}]
        return [Column("run", [run.name for run in self.runs], right=False), *known, *recipe]

    def _column(self, title: str, show: Callable[[RunSummary], str | None]) -> Column:
        return Column(title, [show(run) or "-" for run in self.runs])


def compare(runs: Iterable[RunSummary], sort: str | None = None) -> Comparison:
    """Put runs side by side.

    Args:
        runs: one or more runs, from `read_run`.
        sort: a key of `RunSummary.to_dict`: scores and speed with the highest first, all else with
            the lowest; None keeps the order. Runs whose value is unknown come last.

    Raises:
        RunError: no runs, or no such key.
    """
    runs = _named(tuple(runs))
    if not runs:
        raise RunError("no runs to compare: expected one folder or more")
    if sort is not None:
        runs = _sorted(runs, sort)
    keys = dict.fromkeys(key for run in runs for key in run.recipe if key not in keys_with("per_run"))
    differences = tuple(key for key in keys if len({_shown(run, key) for run in runs}) > 1)
    return Comparison(runs, differences, (*_unequal_terms(runs), *_remarks(runs)))


def _named(runs: tuple[RunSummary, ...]) -> tuple[RunSummary, ...]:
    """Each run called by the shortest end of its path that no other run's path has."""
    paths = [run.folder.resolve() for run in runs]

    def tail(path: Path, length: int) -> str:
        # every bundle of a run is called "bundle"
        return "/".join(path.parts[-length - (path.name == "bundle") :])

    def name(path: Path) -> str:
        others = [other for other in paths if other != path]
        for length in count(1):
            found = tail(path, length)
            if length >= len(path.parts) or found not in {tail(other, length) for other in others}:
                return found
        raise AssertionError

    return tuple(replace(run, name=printable(name(path))) for run, path in zip(runs, paths, strict=True))


def _sorted(runs: Sequence[RunSummary], key: str) -> tuple[RunSummary, ...]:
    values = {id(run): run.to_dict() for run in runs}
    known = list(values[id(runs[0])])
    if key not in known:
        raise RunError(f"cannot sort by '{key}': expected one of {', '.join(known)}.{did_you_mean(key, known)}")
    with_value = [run for run in runs if values[id(run)][key] is not None]
    without = [run for run in runs if values[id(run)][key] is None]
    with_value.sort(key=lambda run: values[id(run)][key], reverse=key.startswith(FALLING))
    return (*with_value, *without)


def _shown(run: RunSummary, key: str) -> str:
    """A recipe's value as text; of a path only its last part, as machines differ in folders."""
    value = run.recipe.get(key)
    values = value if isinstance(value, list | tuple) else [value]
    # shares such as 0.8/0.1/0.1 are no path
    paths = key in keys_with("is_path") and not _drawn(value)
    return (
        "+".join(printable(short_name(item)) if paths and isinstance(item, str) else _plain(item) for item in values)
        or "-"
    )


def _drawn(splits: Any) -> bool:
    """Whether `data.splits` is shares, so that the seed draws who is in which split."""
    return isinstance(splits, str) and re.fullmatch(r"[\d.]+(/[\d.]+)+", splits) is not None


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else printable(value)


def _unequal_terms(runs: Sequence[RunSummary]) -> list[str]:
    """Warnings about CIDEr figures that cannot be compared, or []."""
    aspects: dict[str, list[str | None]] = {
        "dev photos": [f"{run.scores['images']:,}" if run.scores else None for run in runs],
        "references": [f"{run.scores['references']:,}" if run.scores else None for run in runs],
        **{key: [_shown(run, key) for run in runs] for key in ("data.path", "data.splits", "data.limit")},
        "seed of the dev photos": [
            _plain(run.recipe.get("seed"))
            if run.recipe.get("data.limit") or _drawn(run.recipe.get("data.splits"))
            else None
            for run in runs
        ],
        "tokeniser": [run.tokeniser for run in runs],
    }
    differences = []
    for title, values in aspects.items():
        groups: dict[str, list[str]] = {}
        for run, value in zip(runs, values, strict=True):
            if value is not None and run.cider is not None:
                groups.setdefault(printable(value), []).append(run.name)
        if len(groups) > 1:
            differences.append(f"{title} {', '.join(f'{value} ({_list(names)})' for value, names in groups.items())}")
    if not differences:
        return []
    lines = [f"Warning: the scores are not on equal terms: {'; '.join(differences)}."]
    if len({run.tokeniser for run in runs if run.cider is not None}) > 1:
        alike = [f"{run.name} {100 * run.training_cider:.1f}" for run in runs if run.training_cider is not None]
        if len(alike) > 1:
            lines.append(
                f"With the tokeniser '{TRAINING_TOKENISER}' for all, CIDEr of the best epoch was: {', '.join(alike)}."
            )
    return lines


def _remarks(runs: Sequence[RunSummary]) -> list[str]:
    remarks = []
    if any(run.interval for run in runs):
        remarks.append("[low, high]: 95 % of resamples of the dev photos. Intervals that overlap settle nothing.")
        remarks.append(
            "Scores are those that training made, in 32 bits; `seesay evaluate` captions in 8 bits where it can. "
            "--data PATH scores all in one precision, with a paired test."
        )
    if running := [run.name for run in runs if run.state == "running"]:
        remarks.append(f"Running or stopped, no bundle yet: {_list(running)}; CIDEr is the best epoch's so far.")
    if unscored := [run.name for run in runs if run.bundle and run.state != "running" and not run.scores]:
        remarks.append(
            f"No dev scores of this format in the bundle: {_list(unscored)}; CIDEr, where known, is the best epoch's."
        )
    groups: dict[str, list[str]] = {}
    for run in runs:
        for note in (run.scores or {}).get("notes", ()):
            groups.setdefault(printable(note), []).append(run.name)
    return remarks + [f"{_list(names)}: {note}." for note, names in groups.items()]


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)


def _cider(run: RunSummary) -> str:
    if run.cider is None:
        return "running" if run.state == "running" else "-"
    figure = f"{100 * run.cider:5.1f}"  # padded, so that points stand below each other
    if run.interval:
        return f"{figure} [{100 * run.interval[0]:.1f}, {100 * run.interval[1]:.1f}]"
    return f"{figure} {'running' if run.state == 'running' else 'in training'}"


def _hundredfold(run: RunSummary, key: str) -> str | None:
    value = (run.scores or {}).get(key)
    return None if value is None else f"{100 * value:.1f}"


def _epochs(run: RunSummary) -> str | None:
    return None if run.epochs is None else f"{run.epochs}/{_plain(run.recipe.get('train.epochs'))}"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _millions(parameters: int | None) -> str | None:
    return None if parameters is None else f"{parameters / 1e6:.2f} M"


def _clipped(column: Column) -> Column:
    if column.title == "run":
        return column
    cells = [cell if len(cell) <= LONGEST_CELL else f"{cell[: LONGEST_CELL - 3]}..." for cell in column.cells]
    return column._replace(cells=cells)


def text_blocks(columns: Sequence[Column], width: int) -> list[str]:
    """Columns as plain text, the first one again before those that do not fit beside the others."""
    names, *others = columns
    blocks: list[list[Column]] = []
    for column in others:
        if not blocks or _width([*blocks[-1], column]) > width:
            blocks.append([names])
        blocks[-1].append(column)
    return ["\n".join(_lines(block)) for block in blocks]


def markdown_table(columns: Sequence[Column]) -> list[str]:
    """The lines of a Markdown table."""
    rows = zip(*([cell.strip().replace("|", "\\|") for cell in column.cells] for column in columns), strict=True)
    return [
        f"| {' | '.join(column.title for column in columns)} |",
        f"|{'|'.join('---:' if column.right else '---' for column in columns)}|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _width(columns: Sequence[Column]) -> int:
    return sum(max(map(len, (column.title, *column.cells))) + 2 for column in columns) - 2


def _lines(columns: Sequence[Column]) -> list[str]:
    padded = []
    for column in columns:
        width = _width([column])
        cells = (column.title, *column.cells)
        padded.append([cell.rjust(width) if column.right else cell.ljust(width) for cell in cells])
    return ["  ".join(row).rstrip() for row in zip(*padded, strict=True)]
