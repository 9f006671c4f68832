"""The machine that figures were measured on: processor, memory, system and package versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from seesay.runtime.device import cores
from seesay.version import __version__

PACKAGES = ("onnxruntime", "numpy", "pillow", "torch", "pycocoevalcap")
# instruction sets that decide the speed of matrix products, by their Linux names on x86 and ARM
INSTRUCTIONS = ("avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16")
INSTRUCTIONS += ("amx_tile", "amx_int8", "amx_bf16")
INSTRUCTIONS += ("asimd", "asimddp", "i8mm", "bf16", "sve", "sve2")


def machine() -> dict[str, Any]:
    """CPU, cores, instruction sets, memory, system and package versions, as far as known."""
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
    """The peak resident memory of this process in bytes; None where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux `getrusage` starts with the parent's peak
        peak = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM")), None)
        return int(peak.split()[1]) * 1024 if peak else None
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def _cpuinfo() -> dict[str, str]:
    """/proc/cpuinfo of the first core; empty on systems other than Linux."""
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
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
