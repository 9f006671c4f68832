"""The guard that keeps the bare `pytest` quick."""

from __future__ import annotations

import budget
import pytest

pytest_plugins = ["pytester"]

TESTS = """
import subprocess, sys, time
import pytest

def work():
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass

def test_that_works():
    work()

def test_that_has_it_done():
    subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.2: pass"], check=True)

@pytest.mark.slow
def test_that_is_marked():
    work()

def test_that_waits():
    time.sleep(0.2)

@pytest.fixture
def made():
    work()

def test_of_a_fixture(made):
    pass
"""


def test_processor_seconds_are_watched(pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]) -> None:
    pytester.makepyfile(TESTS)
    pytester.makeini("[pytest]\nmarkers = slow")
    watching = budget.Budget(refused=0.15, said=0.15, whole=0.3)
    passed, _, failed = pytester.inline_run("-q", "-p", "no:cacheprovider", plugins=[watching]).listoutcomes()
    assert len(passed) == 3
    assert [report.nodeid.partition("::")[2] for report in failed] == ["test_that_works", "test_that_has_it_done"]
    assert "took 0 processor seconds: make it quicker, or mark it `slow`" in str(failed[0].longrepr)
    *named, in_all = [line for line in capsys.readouterr().out.splitlines() if line.startswith("0 processor seconds")]
    assert {line.partition("::")[2] for line in named} == {
        "test_that_works; mark it `slow`, or make it quicker",
        "test_that_has_it_done; mark it `slow`, or make it quicker",
    }
    assert in_all == "0 processor seconds in all: five minutes on two cores are 0.3"
