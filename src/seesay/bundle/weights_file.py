"""Checking weights.safetensors before use: its header fits the file, and all numbers are finite."""

from __future__ import annotations

import json
import math
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seesay.bundle.errors import damaged, refused
from seesay.errors import shown

WEIGHTS = "weights.safetensors"
LONGEST_HEADER = 2**26  # bytes; a header of 435 tensors has 50,000
# By the name of a type in the file: its size in bytes, and the bits of infinity as an integer;
# those of finite numbers are smaller.
BYTES = {"F64": 8, "F32": 4, "F16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
SMALL = {"F32": np.dtype("<f4"), "I8": np.dtype("i1")}  # what `read_tensors` reads
INFINITY = {"F64": 0x7FF0 << 48, "F32": 0x7F80 << 16, "F16": 0x7C00}


class Entry(NamedTuple):
    """A tensor in the file; `start` and `stop` are byte offsets from the end of the header."""

    start: int
    stop: int
    dtype: str
    name: str
    shape: tuple[int, ...]


def check_weights(folder: Path) -> dict[str, Entry]:
    """Check a bundle's weights; returns the tensors by name.

    Raises:
        BundleError: the file is no safetensors file, or a tensor has NaN or infinite values.
    """
    _, _, entries = _check(folder / WEIGHTS)
    return {entry.name: entry for entry in entries}


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read and check a small safetensors file of float32 and int8 tensors, by name.

    Raises:
        BundleError: as for `check_weights`, or a tensor of another type.
    """
    data, start, entries = _check(path)
    tensors = {}
    for entry in entries:
        if entry.dtype not in SMALL:
            raise refused(path, f"{shown(entry.name)} is of type {entry.dtype}, expected {' or '.join(SMALL)}")
        whole = np.array(data[start + entry.start : start + entry.stop])  # a copy: the file is closed
        tensors[entry.name] = whole.view(SMALL[entry.dtype]).reshape(entry.shape)
    return tensors


def _check(path: Path) -> tuple[np.ndarray, int, list[Entry]]:
    """The file's bytes, where its tensors begin, and the tensors in file order."""
    try:
        data = np.memmap(path, np.uint8, "r")
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        raise damaged(path, f"cannot be read ({error})") from None
    try:
        start, entries = _header(data)
    except RecursionError:
        raise damaged(path, "its header is nested too deeply") from None
    except ValueError as error:
        raise damaged(path, str(error)) from None
    for dtype, run in groupby(entries, lambda entry: entry.dtype):
        group = list(run)
        if not _is_finite(data[start + group[0].start : start + group[-1].stop], dtype):
            bad = next(e for e in group if not _is_finite(data[start + e.start : start + e.stop], dtype))
            raise refused(path, f"{shown(bad.name)} holds values that are NaN or infinite")
    return data, start, entries


def _is_finite(data: np.ndarray, dtype: str) -> bool:
    """Whether all numbers are finite, from their bits as signed and unsigned integers.

    For float16 this is several times faster than `np.isfinite`.
    """
    if dtype not in INFINITY or not len(data):
        return True
    bits, infinity = 8 * BYTES[dtype], INFINITY[dtype]
    signed, unsigned = data.view(f"i{bits // 8}"), data.view(f"u{bits // 8}")
    return int(signed.max()) < infinity and int(unsigned.max()) < infinity + (1 << (bits - 1))


def _header(data: np.ndarray) -> tuple[int, list[Entry]]:
    """The offset of the first tensor, and all tensors in file order."""
    size = int.from_bytes(data[:8].tobytes(), "little")
    if len(data) < 8 or size > min(LONGEST_HEADER, len(data) - 8):
        raise ValueError(f"its header is said to have {size:,} bytes")
    header = json.loads(data[8 : 8 + size].tobytes())
    if not isinstance(header, dict):
        raise ValueError(f"its header is {shown(header)}, expected names and tensors")
    header.pop("__metadata__", None)
    entries = sorted(_entry(name, values) for name, values in header.items())
    end = 0
    for entry in entries:
        if entry.start != end:
            raise ValueError(f"{shown(entry.name)} starts at byte {entry.start:,}, expected {end:,}")
        end = entry.stop
    if end != len(data) - 8 - size:
        raise ValueError(f"its tensors have {end:,} bytes, the file has {len(data) - 8 - size:,} for them")
    return 8 + size, entries


def _entry(name: str, values: Any) -> Entry:
    try:
        dtype, shape, (start, stop) = values["dtype"], tuple(values["shape"]), values["data_offsets"]
        sound = all(type(number) is int and 0 <= number < 2**48 for number in (start, stop, *shape))
        if sound and len(shape) <= 32 and stop - start == BYTES[dtype] * math.prod(shape):
            return Entry(start, stop, dtype, name, shape)
    except (KeyError, TypeError, ValueError):
        pass
    raise ValueError(f"{shown(name)}={shown(values)}: expected dtype ({', '.join(BYTES)}), shape and data_offsets")
