"""A measured figure, the limit that was measured beside it, and how both are timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

BEAMS = (1, 3, 5)


@dataclass(frozen=True)
class Figure:
    """The median of several repeats, beside what it is measured against.

    Attributes:
        key: its name in JSON, "part.name"; it never changes.
        what: a few words for a reader.
        unit: of `value`, `low`, `high` and `limit`; "" for a share.
        value: the median of the repeats (of shares that sum to 1, the mean).
        low, high: the least and the greatest of them.
        repeats: how many there were.
        limit: the median of what it is measured against; None: nothing.
        against: what that is, or why it was not measured.
        ratio: the median over the repeats of value / limit, each pair measured in the same repeat.
    """

    key: str
    what: str
    unit: str
    value: float
    low: float
    high: float
    repeats: int
    limit: float | None = None
    against: str = ""
    ratio: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """All but the key, for JSON."""
        return {name: value for name, value in asdict(self).items() if name != "key"}


def figure(
    key: str, what: str, unit: str, values: Sequence[float], limits: Sequence[float] = (), against: str = ""
) -> Figure:
    """A figure of some repeats; where there are limits, one for each repeat."""
    value = statistics.median(values)
    made = Figure(key, what, unit, value, min(values), max(values), len(values), against=against)
    if not limits:
        return made
    ratio = statistics.median(v / limit for v, limit in zip(values, limits, strict=True))
    return replace(made, limit=statistics.median(limits), ratio=ratio)


def by_beam(
    part: str, what: str, photos: int, seconds: Mapping[str, Sequence[float]], against: str
) -> Iterator[Figure]:
    """Photos a second of each of `BEAMS`, from the seconds of the tasks "beam_K", beside those of the task "limit"."""
    limits = rates(photos, seconds["limit"])
    for beam in BEAMS:
        speeds = rates(photos, seconds[f"beam_{beam}"])
        yield figure(f"{part}.beam_{beam}", f"{what}, beam {beam}", "photos/s", speeds, limits, against)


def interleaved(repeats: int, **tasks: Callable[[], object]) -> dict[str, list[float]]:
    """Seconds that each task takes: all tasks in turns, so that what slows the machine slows them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            seconds[name].append(timed(task))
    return seconds


def timed(task: Callable[[], object]) -> float:
    """Seconds of wall clock that a call takes."""
    started = time.perf_counter()
    task()
    return time.perf_counter() - started


def rates(number: float, seconds: Sequence[float]) -> list[float]:
    """`number` things in so many seconds -> things a second."""
    return [number / each for each in seconds]
