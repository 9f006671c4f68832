"""What runs in each actor of the cluster: a model that opens, captions and writes blocks of photos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seesay.caption import Caption, Failure
from seesay.data.sources import Unreadable, opened_at, places
from seesay.errors import first_line
from seesay.outputs.parquet import part_name, row_of, write_rows
from seesay.outputs.writer import Job, entry_of

if TYPE_CHECKING:
    from seesay.runtime import CaptionModel

Load = Callable[[], "CaptionModel"]
Results = Callable[["CaptionModel", list[Any]], Any]


class BlockCaptioner:
    """Captions blocks of photos that are given by their places, and writes a file for each block.

    Photos are opened here, so that their bytes never travel between machines. No error leaves a
    block: a photo that cannot be captioned is a row with an error. A block that is captioned again,
    as after a kill, replaces its file. May be called from several threads.

    Args:
        load: opens the model.
        results: (model, sources) -> a result for each.
        out: the folder of the files.
        run: the job's folder; see `seesay.outputs.parquet.RUNS`.
        made_by: the model and its options, which each file has; "attention" tells whether words
            have their maps.
    """

    def __init__(self, load: Load, results: Results, out: Path, run: Path, made_by: dict[str, Any]) -> None:
        self.model, self.results = load(), results
        self.out, self.run, self.made_by = out, run, made_by
        self.job = Job(attention=bool(made_by.get("attention")))

    def __call__(self, block: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Write rows of `seesay.outputs.parquet` for the columns number, id, path and place.

        Returns:
            How many rows are errors, as a table of one row.
        """
        photos = [_source(str(path), str(place)) for path, place in zip(block["path"], block["place"], strict=True)]
        rows = []
        for id_, path, result in zip(block["id"], block["path"], self._captions(photos), strict=True):
            rows.append(row_of(entry_of(None, result, self.job, {}) | {"id": str(id_), "image": str(path)}))
        if self.run.is_dir():  # else a later job may have these photos
            write_rows(self.out / part_name(int(block["number"][0])), rows, self.made_by)
        return {"failed": np.array([sum(row["error"] is not None for row in rows)])}

    def _captions(self, photos: list[Any]) -> list[Caption | Failure]:
        try:
            return list(self.results(self.model, photos))
        except Exception:  # of one photo, whatever it is: find it by captioning each alone
            return [self._alone(photo) for photo in photos]

    def _alone(self, photo: Any) -> Caption | Failure:
        try:
            return next(iter(self.results(self.model, [photo])))
        except Exception as error:
            return Failure(getattr(photo, "name", str(photo)), f"cannot be captioned ({first_line(error)})")


def _source(path: str, place: str) -> Any:
    try:
        return opened_at(place, places())
    except (ValueError, TypeError, KeyError) as error:
        return Unreadable(path, f"its place cannot be understood ({first_line(error)})")
