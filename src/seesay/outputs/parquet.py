"""Parquet: a folder of files with a row for each photo, each file complete, so that a run can be resumed."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seesay.errors import SeesayError, require
from seesay.outputs.jsonl import refuse_others
from seesay.outputs.writer import Done, Job, Result, Writer, entry_of, valid_text
from seesay.writing import naming, only_writer, written_whole

if TYPE_CHECKING:
    from seesay.data.images import HasPicture, ImageSource

ROWS = 4096  # of a file
SECONDS = 60.0  # after which a file is written whatever its rows: no more than that is lost by a kill
MADE_BY = b"seesay.made_by"  # in the schema's metadata
RUNS = ".runs"  # folders of jobs on a cluster; a job's actors write rows only while its folder is there
TRUST = ("confidence", "kind", "photo_probability", "withheld")  # null for models that were not calibrated
COLUMNS = ("id", "path", "caption", "score", *TRUST, "words", "error")


class ParquetRows(Writer):
    """Files `part-000000.parquet`, ... with the columns of `COLUMNS`.

    A photo that could not be captioned is a row with an error and without a caption.

    Attributes:
        made_by: the model and its options, which each file has.
        number: of the next file.

    Raises:
        MissingExtraError: pyarrow is not installed.
        BusyError: another process writes to the folder.
        SeesayError: the folder has other files, or captions already and no `Job.resume`; or, with it,
            captions of another model or with other options.
    """

    about = "Write Parquet files with a row a photo into this folder."
    resumes = True
    whole = False

    def __init__(self, path: str | Path, job: Job | None = None) -> None:
        super().__init__(path, job)
        require("pyarrow.parquet", "parquet", "--parquet")
        with ExitStack() as opened:
            with naming(self.path):
                self.path.mkdir(exist_ok=True)
            busy = f"{self.path}: another process is writing to it; wait for it, or give another --parquet folder"
            opened.enter_context(only_writer(self.path / ".lock", busy))
            shutil.rmtree(self.path / RUNS, ignore_errors=True)  # actors may outlive a job that was killed
            if not self.job.resume and any(self._files()):
                raise SeesayError(f"{self.path}: has captions already; --resume goes on with it, or give a new folder")
            self.made_by = dict(self.job.made_by())
            self.made_by["attention"] = self.job.attention
            if self.job.resume:
                self.done = self._captioned_before()
            self._open = opened.pop_all()
        self._rows: list[dict[str, Any]] = []
        self.number = max((int(file.stem.partition("-")[2]) for file in self._files()), default=-1) + 1
        self._written = time.monotonic()

    @classmethod
    def files(cls, path: Path, job: Job) -> list[Path]:
        if not path.parent.resolve().is_dir():
            raise SeesayError(f"{path}: cannot be written: its folder {path.parent.resolve()} does not exist")
        if path.exists() and not path.is_dir():
            raise SeesayError(f"{path}: cannot be written: expected a folder, new or empty")
        others = [file.name for file in path.iterdir() if not _is_part(file)] if path.is_dir() else []
        if visible := [name for name in others if not name.startswith(".")]:
            raise SeesayError(f"{path}: cannot be written: it has other files, such as {visible[0]}; give a new folder")
        return []

    def write(self, photo: ImageSource | HasPicture, result: Result) -> None:
        self.write_entry(entry_of(photo, result, self.job, {}))

    def write_entry(self, entry: Mapping[str, Any]) -> None:
        """Write an object of JSON lines as a row. Raises SeesayError: the file cannot be written."""
        self._rows.append(row_of(entry))
        if len(self._rows) >= ROWS or time.monotonic() - self._written > SECONDS:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            write_rows(self.path / part_name(self.number), self._rows, self.made_by)
            self.number += 1
        self._rows, self._written = [], time.monotonic()

    def close(self) -> None:
        with self._open:
            self._flush()

    def discard(self) -> None:
        self.close()  # what was captioned before the error is kept

    def _files(self) -> list[Path]:
        return sorted(filter(_is_part, self.path.iterdir()))

    def _captioned_before(self) -> Done:
        done = Done()
        for file in self._files():
            table, before = read_rows(file)
            refuse_other_rows(before, self.made_by, str(file))
            failed = [row for row in table if row["error"] is not None]
            captioned = [row for row in table if row["error"] is None]
            for row in captioned:
                done.note(row["path"], row["id"])
            if failed:  # they are tried again
                write_rows(file, captioned, before)
        return done


def refuse_other_rows(before: Mapping[str, Any], how: Mapping[str, Any], where: str) -> None:
    """Refuse to go on with rows made in another way. Raises SeesayError as `refuse_others` does.

    Args:
        before: the model and the options of the rows, "attention" among them.
        how: those of this run.
        where: the rows' place, for the message.
    """
    words = [{"attention": ()}] if before.get("attention") else [{}]
    refuse_others({"made_by": before, "words": words}, how, where, "or another --parquet folder")


def row_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the columns from an object of JSON lines."""
    row = dict.fromkeys(COLUMNS)
    row |= {name: entry[name] for name in COLUMNS if name in entry}
    row["path"] = entry["image"]
    row["id"] = entry.get("id", entry["image"])
    return {name: valid_text(value) for name, value in row.items()}


def entry_of_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `row_of`."""
    entry = {"image": row["path"], "id": row["id"]}
    if row["error"] is not None:
        return entry | {"error": row["error"]}
    entry |= {"caption": row["caption"], "score": row["score"]}
    entry |= {name: row[name] for name in TRUST if row.get(name) is not None}
    return entry | {"words": [_without_nulls(word) for word in row["words"] or ()]}


def _without_nulls(word: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in word.items() if value is not None}


def schema(attention: bool) -> Any:
    """The columns' types; with `attention` each word has its rows x cols map."""
    arrow = require("pyarrow", "parquet", "--parquet")
    word = [("text", arrow.string()), ("logprob", arrow.float64()), ("confidence", arrow.float64())]
    word += [("attention", arrow.list_(arrow.list_(arrow.float32())))] if attention else []
    kinds = dict.fromkeys(COLUMNS, arrow.string()) | {
        **dict.fromkeys(("score", "confidence", "photo_probability"), arrow.float64()),
        "withheld": arrow.bool_(),
        "words": arrow.list_(arrow.struct(word)),
    }
    return arrow.schema([arrow.field(name, kind) for name, kind in kinds.items()])


def write_rows(file: Path, rows: Iterable[Mapping[str, Any]], made_by: Mapping[str, Any]) -> None:
    """Write a file of rows, whole or not at all.

    Args:
        file: it is replaced.
        rows: of `row_of`.
        made_by: the model and the options.
    """
    parquet = require("pyarrow.parquet", "parquet", "--parquet")
    table = table_of(rows, bool(made_by.get("attention")))
    table = table.replace_schema_metadata({MADE_BY: json.dumps(dict(made_by)).encode()})
    with written_whole(file) as scratch:
        parquet.write_table(table, scratch)


def table_of(rows: Iterable[Mapping[str, Any]], attention: bool) -> Any:
    """Rows of `row_of` as a pyarrow table; with `attention` each word has its rows x cols map."""
    return require("pyarrow", "parquet", "--parquet").Table.from_pylist(list(rows), schema=schema(attention))


def rows_and_errors(path: Path, errors: bool = True) -> tuple[int, int]:
    """(rows, those that are errors) of a folder or a file; without `errors` the second is 0.

    Files that are not complete count as empty.
    """
    parquet = require("pyarrow.parquet", "parquet", "--parquet")
    rows = failed = 0
    for file in parts_of(path) if path.is_dir() else [path]:
        try:
            rows += parquet.read_metadata(file).num_rows
            if errors:
                column = parquet.read_table(file, columns=["error"]).column(0)
                failed += len(column) - column.null_count
        except (OSError, ValueError):
            continue
    return rows, failed


def read_rows(file: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(rows, model and options) of a file.

    Raises:
        SeesayError: it is damaged, or not of this writer.
    """
    try:
        table = require("pyarrow.parquet", "parquet", str(file)).read_table(file)
        made_by = json.loads((table.schema.metadata or {}).get(MADE_BY, b"{}"))
        if set(COLUMNS) - set(TRUST) <= set(table.column_names):  # files of older versions lack TRUST
            return table.select([name for name in COLUMNS if name in table.column_names]).to_pylist(), made_by
    except (OSError, ValueError) as error:
        raise SeesayError(f"{file}: damaged, cannot be read ({error})") from None
    raise SeesayError(f"{file}: columns {', '.join(table.column_names)}; expected {', '.join(COLUMNS)}")


def parts_of(folder: Path) -> Iterator[Path]:
    """The Parquet files of a folder, in order of their names; hidden ones are none."""
    yield from sorted(file for file in folder.glob("*.parquet") if not file.name.startswith((".", "_")))


def part_name(number: int) -> str:
    """The name of a file; numbers grow from run to run."""
    return f"part-{number:06}.parquet"


def _is_part(file: Path) -> bool:
    return file.match("part-*.parquet") and file.stem.partition("-")[2].isdigit()
