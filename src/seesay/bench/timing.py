"""Measured figures and their limits, and how both are timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

BEAMS = (1, 3, 5)


@dataclass(frozen=True)
class Figure:
    """The median of several repeats, with the limit that it is compared with.

    Attributes:
        key: name in JSON, "part.name"; it never changes.
        what: description in a few words.
        unit: the unit of `value`, `low`, `high` and `limit`; "" for a share.
        value: the median of the repeats (the mean for shares that sum to 1).
        low, high: the lowest and highest repeat.
        repeats: number of repeats.
        limit: the median of the limit; None: there is no limit.
        against: what the limit is, or why it was not measured.
        ratio: the median over the repeats of value / limit.
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
        """A dict for JSON, without the key."""
        return {name: value for name, value in asdict(self).items() if name != "key"}


def figure(
    key: str, what: str, unit: str, values: Sequence[float], limits: Sequence[float] = (), against: str = ""
) -> Figure:
    """A figure from the values of all repeats, and the limits, if any, of the same repeats."""
    value = statistics.median(values)
    plain = Figure(key, what, unit, value, min(values), max(values), len(values), against=against)
    if not limits:
        return plain
    ratio = statistics.median(v / limit for v, limit in zip(values, limits, strict=True))
    return replace(plain, limit=statistics.median(limits), ratio=ratio)


def by_beam(
    part: str, what: str, photos: int, seconds: Mapping[str, Sequence[float]], against: str
) -> Iterator[Figure]:
    """Photos per second for each of `BEAMS`, from the seconds of the tasks "beam_K" and "limit"."""
    limits = rates(photos, seconds["limit"])
    for beam in BEAMS:
        speeds = rates(photos, seconds[f"beam_{beam}"])
        yield figure(f"{part}.beam_{beam}", f"{what}, beam {beam}", "photos/s", speeds, limits, against)


def interleaved(repeats: int, **tasks: Callable[[], object]) -> dict[str, list[float]]:
    """Seconds of each task and repeat.

    Tasks take turns, so that a temporary slowdown of the machine affects all of them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            seconds[name].append(timed(task))
    return seconds


def timed(task: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    started = time.perf_counter()
    task()
    return time.perf_counter() - started


def rates(number: float, seconds: Sequence[float]) -> list[float]:
    """Rates per second: `number` things in each of the times."""
    return [number / duration for duration in seconds]
