"""`seesay compare --data`: models, or files of scores, compared on the same photos with intervals and paired tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from seesay.bundle.names import find_bundle, short_name
from seesay.cli.writable import refuse_unwritable
from seesay.data.readers import read_dataset, unpack_photos
from seesay.data.splits import limit_splits
from seesay.evaluation.comparison import compare_models, read_scores, score_model
from seesay.progress import progress
from seesay.runtime.engine import Precision
from seesay.writing import write_text


def compare_on(
    models: Sequence[Path],
    data: Sequence[Path],
    *,
    split: str,
    precision: Precision,
    beam: int | None,
    limit: int | None,
    layout: str,
    splits: str,
    columns: str,
    markdown: Path | None,
    csv: Path | None,
) -> None:
    """Score models on a split, or read their scores if no data is given; print the table, write the requested files.

    Args:
        models: folders of runs or bundles, names of packaged models, or scores files (.json).
        data: the data set's folder; none: all models are scores files.
    """
    refuse_unwritable(markdown, csv)
    if not data:
        comparison = compare_models([read_scores(path) for path in models])
    else:
        folders = [None if is_scores(path) else _bundle(path) for path in models]  # missing bundles are reported first
        dataset = read_dataset(data, layout, splits, columns=columns, unpacked=False)
        records = dataset.split(split)
        if limit is not None:
            records = limit_splits(records, limit, seed=0)
        unpack_photos(replace(dataset, records=tuple(records)))
        count = len(records) * sum(folder is not None for folder in folders)
        with progress("captioning", count, Console(stderr=True)) as advance:
            scored = [
                read_scores(path, records)
                if folder is None
                else score_model(short_name(str(path.resolve())), folder, records, precision, beam, advance)
                for path, folder in zip(models, folders, strict=True)
            ]
        comparison = compare_models(scored, f"{split} of {', '.join(map(str, data))}")
    print(comparison.table())
    if markdown:
        write_text(markdown, comparison.markdown())
    if csv:
        write_text(csv, comparison.csv())


def is_scores(path: Path) -> bool:
    """Whether a name is a file of scores rather than a model."""
    return path.suffix.lower() == ".json"


def _bundle(path: Path) -> Path:
    """The bundle in a run's folder, else the bundle with this path or name."""
    inner = path / "bundle"
    return inner if inner.is_dir() else find_bundle(str(path))
