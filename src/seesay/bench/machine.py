"""What a figure of speed means nothing without: the machine, the versions, the memory."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from seesay.runtime.device import cores
from seesay.version import __version__

PACKAGES = ("onnxruntime", "numpy", "pillow", "torch", "pycocoevalcap")
# what decides the speed of matrix products, as Linux names it on x86 and on ARM
INSTRUCTIONS = ("avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16")
INSTRUCTIONS += ("amx_tile", "amx_int8", "amx_bf16")
INSTRUCTIONS += ("asimd", "asimddp", "i8mm", "bf16", "sve", "sve2")


def machine() -> dict[str, Any]:
    """CPU, cores, instruction sets, memory, system and versions; what cannot be found out is None or left out."""
    cpu = _cpuinfo()
    flags = (cpu.get("flags") or cpu.get("Features") or "").split()
    return {
        "cpu": cpu.get("model name") or platform.processor() or platform.machine(),
        "cores": cores(),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "memory_bytes": _memory(),
        "system": platform.platform(),
        "versions": {"seesay": __version__, "python": platform.python_version(), **_versions()},
    }


def peak_memory() -> int | None:
    """The most bytes of real memory that this process had at once; None where the system does not say."""
    status = Path("/proc/self/status")
    if status.exists():  # `getrusage` there starts with the peak of the process that started this one
        peak = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM")), None)
        return int(peak.split()[1]) * 1024 if peak else None
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def _cpuinfo() -> dict[str, str]:
    """/proc/cpuinfo of the first core; empty elsewhere than on Linux."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    pairs = (line.partition(":") for line in path.read_text(errors="replace").split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
