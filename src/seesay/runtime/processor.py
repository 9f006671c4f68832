"""What the processor offers: cores, and sums of 8 bits."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime

# An ONNX graph, as the package that makes them is not there: y (M, N) = MatMulInteger(a (M, K) uint8, b (K, N) int8)
PRODUCT = (
    b'\x08\x08\x12\x00:b\n\x18\n\x01a\n\x01b\x12\x01y"\rMatMulInteger\x12\x01gZ\x15\n\x01a\x12\x10\n\x0e\x08\x02\x12\n\n\x03\x12\x01m\n\x03\x12\x01k'
    b"Z\x15\n\x01b\x12\x10\n\x0e\x08\x03\x12\n\n\x03\x12\x01k\n\x03\x12\x01nb\x15\n\x01y\x12\x10\n\x0e\x08\x06\x12\n\n\x03\x12\x01m\n\x03\x12\x01nB\x04\n\x00\x10\r"
)


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
def sums_are_exact() -> bool:
    """Whether ONNX Runtime sums products of 8 bits exactly here.

    x86 without VNNI adds two products in 16 bits, which do not hold 255 * 127 + 255 * 127.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    largest = {"a": np.full((2, 8), 255, np.uint8), "b": np.full((8, 16), 127, np.int8)}
    try:
        session = onnxruntime.InferenceSession(PRODUCT, options, providers=["CPUExecutionProvider"])
        return bool((np.asarray(session.run(None, largest)[0]) == 8 * 255 * 127).all())
    except Exception:  # a runtime built without such products
        return False
