"""What the processor offers."""

from __future__ import annotations

import os
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
