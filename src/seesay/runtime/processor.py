"""What the processor offers: cores, and instructions."""

from __future__ import annotations

import os
from functools import cache
from itertools import takewhile
from pathlib import Path


def cores(limit: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Those that this process may run on, as far as the system tells, and no more than its container's share of them.

    Args:
        limit: where Linux has that share, as microseconds of each period (control groups, version 2).
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        share, period = map(int, limit.read_text().split())
    except (OSError, ValueError):  # none, or "max"
        return allowed
    return max(1, min(allowed, share // period))


@cache
def first_core(source: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """What Linux says of the first core: "model name", "flags" (x86) or "Features" (ARM); empty on other systems."""
    try:
        with source.open(errors="replace") as file:
            pairs = [line.partition(":") for line in takewhile(str.strip, file)]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in pairs}


def instructions() -> frozenset[str]:
    """Their names as Linux has them, such as "avx2" or "asimd"; empty on other systems."""
    core = first_core()
    return frozenset((core.get("flags") or core.get("Features") or "").split())


def has_vnni() -> bool:
    """Whether sums of products of 8 bits are known to be exact, and fast.

    x86 without these instructions adds two products in 16 bits, which may not hold them.
    """
    return not instructions().isdisjoint({"avx512_vnni", "avx_vnni"})
