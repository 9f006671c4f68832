"""Grouping similar problems into one line with a count."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from seesay.data.records import Problem
from seesay.data.text import first_few

ALIKE = 6  # this many similar problems become one line


def grouped(problems: Iterable[Problem]) -> list[str]:
    """A line for each problem, or for many problems that differ only in names and numbers."""
    groups: dict[tuple[str, str, str], list[Problem]] = {}
    for problem in problems:
        groups.setdefault((problem.kind, _place(problem.where), _pattern(problem.what)), []).append(problem)
    return [line for group in groups.values() for line in _lines(group)]


def _lines(group: Sequence[Problem]) -> list[str]:
    if len(group) < ALIKE:
        return [str(problem) for problem in group]
    first = group[0]
    places = first_few([problem.where.removeprefix(_place(first.where)).lstrip(":/") for problem in group])
    return [f"{first} ({len(group):,} alike: {places})"]


def _place(where: str) -> str:
    """The file of a row, or the folder of a file."""
    return where.rpartition(":")[0] or where.rpartition("/")[0]


def _pattern(what: str) -> str:
    return re.sub(r"'[^']*'|\([^)]*\)|\d[\d,]*", "...", what)
