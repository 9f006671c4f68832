"""The bare `pytest` is to stay within five minutes on two cores: who spends them is said, and no test may spend many.

What counts is time of the processor, a test's own and that of the processes it started and waited for: unlike the time
on the clock it hardly depends on what else runs on the machine. Fixtures do not count, since the first who asks pays
for all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

SPENT = "processor seconds"


class Budget:
    """A plugin of pytest that measures tests where they run and reports where results are gathered.

    Args:
        refused: seconds at which a test fails that is not marked `slow`. The most costly takes 6.
        said: seconds from which on a test is named in the summary.
        whole: seconds of all tests from which on the summary says so.
    """

    def __init__(self, refused: float = 40, said: float = 10, whole: float = 2 * 5 * 60) -> None:
        self.refused, self.said, self.whole = refused, said, whole
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        before = _processor_seconds()
        yield
        spent = _processor_seconds() - before
        if item.get_closest_marker("slow"):
            return
        item.user_properties.append((SPENT, spent))
        if spent > self.refused:
            pytest.fail(f"took {spent:.0f} processor seconds: make it quicker, or mark it `slow`", pytrace=False)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and SPENT in (properties := dict(report.user_properties)):
            self.seconds[report.nodeid] = float(str(properties[SPENT]))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for name, spent in sorted(self.seconds.items(), key=lambda found: -found[1]):
            if spent > self.said:
                terminalreporter.line(f"{spent:.0f} processor seconds: {name}; mark it `slow`, or make it quicker")
        if (whole := sum(self.seconds.values())) > self.whole:
            terminalreporter.line(f"{whole:.0f} processor seconds in all: five minutes on two cores are {self.whole}")


def _processor_seconds() -> float:
    """Of this process and of those that it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
