"""Devices: short names of ONNX Runtime's execution providers, and the number of CPU cores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import onnxruntime

from seesay.errors import DeviceError

Device = Literal["cpu", "cuda", "directml", "coreml"]
Wanted = Literal["auto", "cpu", "cuda", "directml", "coreml"]

PROVIDERS: dict[Device, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}
ACCELERATORS: tuple[Device, ...] = ("cuda", "directml", "coreml")  # in the order in which "auto" tries them
PACKAGES = {"cuda": "onnxruntime-gpu", "directml": "onnxruntime-directml", "coreml": "onnxruntime on a Mac"}


def choose_device(wanted: Wanted, available: Sequence[str] | None = None) -> Device:
    """The device to try.

    Args:
        wanted: one of `PROVIDERS`, or "auto": the first accelerator that the installed ONNX Runtime has, else "cpu".
        available: names of ONNX Runtime's providers; None: those that are installed.

    Raises:
        DeviceError: the installed ONNX Runtime does not have it.
    """
    providers = onnxruntime.get_available_providers() if available is None else available
    supported: list[Device] = [device for device, provider in PROVIDERS.items() if provider in providers]
    if wanted == "auto":
        accelerators: list[Device] = [device for device in ACCELERATORS if device in supported]
        return accelerators[0] if accelerators else "cpu"
    if wanted not in PROVIDERS:
        raise DeviceError(f"device={wanted}: expected auto, {', '.join(PROVIDERS)}")
    if wanted not in supported:
        raise DeviceError(
            f"device={wanted}: ONNX Runtime {onnxruntime.__version__} as installed here has only "
            f"{', '.join(supported)}; "
            f"{wanted} comes with {PACKAGES[wanted]}"
        )
    return wanted


def active_device(session: onnxruntime.InferenceSession) -> Device:
    """The device that a session really uses: ONNX Runtime falls back to the CPU if an accelerator cannot start."""
    first, *_ = session.get_providers()
    devices: dict[str, Device] = {provider: device for device, provider in PROVIDERS.items()}
    return devices.get(first, "cpu")


def cores(limit: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The number of cores that this process may use, limited by its container's CPU quota.

    Args:
        limit: the file of that quota on Linux (control groups, version 2): microseconds in each period.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        share, period = map(int, limit.read_text().split())
    except (OSError, ValueError):  # none, or "max"
        return allowed
    return max(1, min(allowed, share // period))
