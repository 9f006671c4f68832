"""What runs in each actor of the cluster: a model that opens and captions the photos of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from seesay.caption import Caption, Failure
from seesay.data.sources import Unreadable, opened_at, places
from seesay.errors import first_line
from seesay.outputs.parquet import row_of, table_of
from seesay.outputs.writer import Job, entry_of

if TYPE_CHECKING:
    from seesay.runtime import CaptionModel

Load = Callable[[], "CaptionModel"]
Results = Callable[["CaptionModel", list[Any]], Any]


class BatchCaptioner:
    """Captions batches of photos that are given by their places.

    Photos are opened here, so that their bytes never travel between machines. No error leaves a
    batch: a photo that cannot be captioned is a row with an error.

    Args:
        load: opens the model.
        results: (model, sources) -> a result for each.
        attention: whether words have their maps.
    """

    def __init__(self, load: Load, results: Results, attention: bool = False) -> None:
        self.model, self.results, self.job = load(), results, Job(attention=attention)

    def __call__(self, batch: dict[str, np.ndarray]) -> Any:
        """Rows of `seesay.outputs.parquet` for the columns id, path and place."""
        rows = []
        photos = [_source(str(path), str(place)) for path, place in zip(batch["path"], batch["place"], strict=True)]
        for id_, path, result in zip(batch["id"], batch["path"], self._captions(photos), strict=True):
            rows.append(row_of(entry_of(None, result, self.job, {}) | {"id": str(id_), "image": str(path)}))
        return table_of(rows, self.job.attention)

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
