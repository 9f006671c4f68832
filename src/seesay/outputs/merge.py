"""Merging the outputs of shards into one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seesay.errors import SeesayError
from seesay.outputs.jsonl import JsonLines, differences, is_cut_off, read_entry
from seesay.outputs.parquet import ParquetRows, entry_of_row, parts_of, read_rows
from seesay.outputs.writer import Job
from seesay.writing import STANDARD_OUTPUT, is_stream, naming, written_whole


@dataclass
class Merged:
    """What was merged.

    Attributes:
        photos: rows written.
        failed: how many of them are errors.
        repeated: rows left out because another one has the same photo.
        cut_off: places of lines that a killed run left unfinished; they are left out.
    """

    photos: int = 0
    failed: int = 0
    repeated: int = 0
    cut_off: list[str] = field(default_factory=list)


def merge(parts: Sequence[Path], out: Path, parquet: bool = False) -> Merged:
    """Merge files of JSON lines and folders of Parquet files; each photo is written once.

    Of several rows with one photo the first caption counts, or the first error if there is none.

    Args:
        parts: files or folders, as `seesay caption` wrote them.
        out: a file of JSON lines (or "-"), or with `parquet` a new folder.
        parquet: what to write.

    Raises:
        SeesayError: a part is no output of `seesay caption`, or was made by another model or with
            other options than the first; or the output is one of the parts, or cannot be written.
    """
    if any(part.resolve() == out.resolve() for part in parts):
        raise SeesayError(f"{out}: it is one of the parts; give another name")
    merged, first = Merged(), dict[str, Any]()
    captioned: set[tuple[str, str]] = set()
    for where, entry in _entries(parts, merged):
        if "caption" in entry:
            captioned.add(_key(entry))
            first = first or {"where": where, "made_by": entry.get("made_by") or {}}
            if changed := differences(entry, first["made_by"]):
                raise SeesayError(f"{where}: was made with other options than {first['where']}: {changed}")
    merged.cut_off.clear()
    with ExitStack() as stack:
        if parquet:
            attention = _has_attention(parts)
            job = Job(attention=attention, made_by=lambda: first.get("made_by", {}))
            writer = stack.enter_context(ParquetRows(out, job))
        else:
            in_place = out == STANDARD_OUTPUT or is_stream(out)
            writer = stack.enter_context(JsonLines(out if in_place else stack.enter_context(written_whole(out))))
        for _, entry in _each_once(_entries(parts, merged), captioned, merged):
            writer.write_entry(entry)
    return merged


def _each_once(
    entries: Iterable[tuple[str, dict[str, Any]]], captioned: set[tuple[str, str]], merged: Merged
) -> Iterator[tuple[str, dict[str, Any]]]:
    seen: set[tuple[str, str]] = set()
    for where, entry in entries:
        key = _key(entry)
        if key in seen or ("error" in entry and key in captioned):
            merged.repeated += 1
            continue
        seen.add(key)
        merged.photos += 1
        merged.failed += "error" in entry
        yield where, entry


def _key(entry: dict[str, Any]) -> tuple[str, str]:
    return entry["image"], entry.get("id", "")


def _has_attention(parts: Sequence[Path]) -> bool:
    entries = (entry for _, entry in _entries(parts, Merged()) if entry.get("words"))
    return "attention" in next(entries, {"words": [{}]})["words"][0]


def _entries(parts: Sequence[Path], merged: Merged) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, object of JSON lines) of every row."""
    for part in parts:
        if part.is_dir() or part.suffix.lower() == ".parquet":
            yield from _rows(part)
            continue
        try:
            lines = part.open("rb")
        except OSError as error:
            raise SeesayError(f"{part}: cannot be read: {error.strerror}") from None
        with naming(part), lines:
            for number, line in enumerate(lines, 1):
                if is_cut_off(line):
                    merged.cut_off.append(f"{part}:{number}")
                elif line.strip():
                    yield f"{part}:{number}", read_entry(line, f"{part}:{number}")


def _rows(part: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    files = list(parts_of(part)) if part.is_dir() else [part]
    if not files:
        raise SeesayError(f"{part}: has no Parquet files")
    for file in files:
        rows, made_by = read_rows(file)
        made_by.pop("attention", None)
        for row in rows:
            entry = entry_of_row(row)
            yield str(file), entry | ({"made_by": made_by} if made_by and "caption" in entry else {})
