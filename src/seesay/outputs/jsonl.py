"""JSON lines: one object for each photo, written at once, so that an interrupted run can be resumed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seesay.errors import SeesayError, printable
from seesay.outputs.writer import Done, Job, Result, Writer, entry_of, text_file
from seesay.writing import STANDARD_OUTPUT, is_stream, naming, only_writer, written_whole

if TYPE_CHECKING:
    from seesay.data.images import HasPicture, ImageSource

LINE_START = b'{"image": '


class JsonLines(Writer):
    """The JSON form of each result on its own line.

    Raises:
        BusyError: another process writes to the file.
        SeesayError: with `Job.resume`, the file was not written by this writer, or by another model or with other
            options.
    """

    about = "Write one JSON object a photo here (.jsonl, or - for stdout)."
    resumes = True
    whole = False
    streams = True

    def __init__(self, path: str | Path, job: Job | None = None) -> None:
        super().__init__(path, job)
        with ExitStack() as opened:
            if self.path != STANDARD_OUTPUT and not is_stream(self.path):
                target = self.path.resolve()
                busy = f"{self.path}: another process is writing to it; wait for it, or give another --json file"
                opened.enter_context(only_writer(target.with_name(f".{target.name}.lock"), busy))
            self.made_by = dict(self.job.made_by())
            how = {**self.made_by, "attention": self.job.attention}
            self.done = captioned_before(self.path, how) if self.job.resume else Done()
            self._file = opened.enter_context(text_file(self.path, append=bool(self.done)))
            self._open = opened.pop_all()

    def write(self, photo: ImageSource | HasPicture, result: Result) -> None:
        self.write_entry(entry_of(photo, result, self.job, self.made_by))

    def write_entry(self, entry: Mapping[str, Any]) -> None:
        """Write an object of its own line. Raises SeesayError: the file cannot be written."""
        to_stdout = self.path == STANDARD_OUTPUT  # which may be a terminal in any encoding
        with naming(self.path):
            self._file.write(json.dumps(entry, ensure_ascii=to_stdout) + "\n")
            self._file.flush()

    def close(self) -> None:
        self._open.close()

    def discard(self) -> None:
        self._open.close()


def captioned_before(path: Path, how: Mapping[str, Any]) -> Done:
    """Photos that an earlier run captioned. Failures and an incomplete last line are removed from the file.

    Raises:
        SeesayError: a line was not written by `JsonLines`, or by another model or with other options; the file is not
            changed.
    """
    if path == STANDARD_OUTPUT or is_stream(path):
        raise SeesayError(f"{path}: --resume goes on with a file only")
    if not path.exists():
        return Done()
    kept = Done()
    has_origin = True
    with written_whole(path) as scratch, path.open("rb") as old, scratch.open("wb") as new:
        for number, line in enumerate(old, 1):  # with attention it may be larger than memory
            if is_cut_off(line):
                break
            if not line.strip():
                continue
            entry = read_entry(line, f"{path}:{number}")
            if "caption" in entry and kept.note(entry["image"], entry.get("id")):
                has_origin &= refuse_others(entry, how, f"{path}:{number}")
                new.write(line)
    if not has_origin:
        print(f"seesay: note: {printable(path)}: does not say which model made its captions", file=sys.stderr)
    return kept


def read_entry(line: bytes, where: str) -> dict[str, Any]:
    """Parse a line that `JsonLines` wrote. Raises SeesayError for any other."""
    try:
        entry = json.loads(line)
        is_named = isinstance(entry["image"], str) and isinstance(entry.get("id", ""), str)
        if is_named and ("caption" in entry or "error" in entry):
            return entry
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise SeesayError(f"{where}: no line that `seesay caption --json` wrote; --resume goes on with such a file only")


def refuse_others(
    entry: Mapping[str, Any],
    how: Mapping[str, Any],
    where: str,
    instead: str = "another --json file, or leave --resume out to begin anew",
) -> bool:
    """Refuse to append to captions made in another way; returns whether the line says how it was made.

    Raises:
        SeesayError: it was made by another model or with other options.
    """
    if changed := differences(entry, how):
        raise SeesayError(f"{where}: was made with {changed}; give the same options, {instead}")
    return entry.get("made_by") is not None


def differences(entry: Mapping[str, Any], how: Mapping[str, Any]) -> str:
    """How the options of a line differ from others, in words; "" if they do not, or if the line has none."""
    before = entry.get("made_by")
    was = dict(before) if isinstance(before, dict) else {}
    now = dict(how)
    if was:  # an option that is missing was not given
        names = dict.fromkeys((*now, *was))
        was, now = ({name: options.get(name) for name in names} for options in (was, now))
    if (words := entry.get("words")) and isinstance(words, list):
        was["attention"] = "attention" in words[0]
    else:
        was.pop("attention", None)
    changed = [name for name in now if name in was and was[name] != now[name]]
    if "digest" not in changed and "model" in changed:
        changed.remove("model")  # the same model under another name
    return ", ".join(f"{key} {printable(str(was[key])[:40])} (now {printable(now[key])})" for key in changed)


def is_cut_off(line: bytes) -> bool:
    """Whether a line is the last one of a run that was killed while it was written."""
    return not line.endswith(b"\n") and line.startswith(LINE_START[: len(line)])
