"""The report of a benchmark: a table to read, and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seesay.bench.timing import Figure


@dataclass(frozen=True)
class Report:
    """The results of one benchmark.

    Attributes:
        date: the start of the benchmark, ISO 8601.
        model: the bundle's name.
        precision: of encoder and decoder, and the device, in words.
        machine: the machine, from `seesay.bench.machine.machine`.
        options: the options of the benchmark.
        seconds: the duration of the benchmark.
        figures: the figures, in the order of measurement.
        left_out: {part: the reason why it was not measured}.
    """

    date: str
    model: str
    precision: str
    machine: Mapping[str, Any]
    options: Mapping[str, Any]
    seconds: float
    figures: Sequence[Figure]
    left_out: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """For JSON; figures by their keys."""
        return {**vars(self), "figures": {figure.key: figure.to_dict() for figure in self.figures}}

    def table(self) -> str:
        """Plain text: the machine, a line per figure in groups, and the parts left out."""
        return "\n".join([*self._head(), "", *_table(self.figures), *self._tail()])

    def _head(self) -> list[str]:
        machine = self.machine
        memory = f"{machine['memory_bytes'] / 2**30:.0f} GiB" if machine["memory_bytes"] else "unknown memory"
        instructions = ", ".join(machine["instructions"])
        versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
        return [
            f"{machine['cpu']}, {machine['cores']} cores{f' ({instructions})' if instructions else ''}, {memory}",
            *([f"graphics card: {machine['gpu']}"] if machine.get("gpu") else []),
            f"{machine['system']}; {versions}",
            f"model {self.model}, {self.precision}, {self.date}, {self.seconds:.0f} s",
        ]

    def _tail(self) -> list[str]:
        lines = [f"left out: {part}: {why}" for part, why in self.left_out.items()]
        return ["", "low and high: of the repeats. ratio: figure / limit, the median over the repeats.", *lines]


HEADER = ("", "figure", "", "low", "high", "limit", "ratio", "limit: what")
LEFT = (0, 2, 7)


def _table(figures: Sequence[Figure]) -> list[str]:
    """Lines with aligned cells, and a blank line between parts."""
    rows = [HEADER, *map(_row, figures)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(HEADER))]
    lines, part = [], ""
    for row, key in zip(rows, ("", *(figure.key for figure in figures)), strict=True):
        if part and key.split(".")[0] != part:
            lines.append("")
        part = key.split(".")[0]
        cells = (
            cell.ljust(w) if n in LEFT else cell.rjust(w) for n, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    return lines


def _row(figure: Figure) -> tuple[str, ...]:
    single = figure.repeats == 1
    spread = ("", "") if single else (_short(figure.low), _short(figure.high))
    limit = "" if figure.limit is None else _short(figure.limit)
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    return (figure.what, _short(figure.value), figure.unit, *spread, limit, ratio, figure.against)


def _short(value: float) -> str:
    """Three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
