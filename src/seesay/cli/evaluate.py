"""`seesay evaluate`: one line a score, and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from seesay.bundle.format import write_json
from seesay.cli.outputs import refuse_unwritable
from seesay.data.readers import read_dataset
from seesay.data.shapes import grounding_of
from seesay.evaluation import evaluate
from seesay.progress import progress
from seesay.runtime import CaptionModel


def evaluate_model(
    model: str,
    data: Sequence[Path],
    split: str,
    beam: int | None,
    attention: bool,
    json_out: Path | None,
    layout: str,
    splits: str,
    limit: int | None,
) -> None:
    """Score a model on a split, print the figures and write them as JSON."""
    refuse_unwritable(json_out)
    dataset = read_dataset(list(data), layout, splits, limit)
    records = dataset.split(split)
    captioner = CaptionModel.load(model)
    training = [caption for record in dataset.records if record.split == "train" for caption in record.captions]
    with progress("captioning", len(records), Console(stderr=True)) as advance:
        result = evaluate(
            captioner, records, beam, training_captions=training, advance=advance, grounding=grounding_of(dataset)
        )
    print(f"{captioner.bundle.name} on {split} of {', '.join(map(str, data))}, beam {result.about['beam']}")
    print(result.scores.table())
    statistics = result.statistics
    print(f"{statistics.mean_length:.1f} words a caption, {statistics.distinct_words:,} different words")
    if attention:
        for name, value in result.attention.to_dict().items():
            print(f"attention {name.replace('_', ' ')}: {value:.3f}")
        if result.pointing:
            print(f"pointing accuracy: {result.pointing}")
    for problem in result.failures:
        print(f"left out: {problem}")
    if json_out:
        about = {"data": [str(path) for path in data], "split": split}
        write_json(json_out, {**about, **result.to_dict(attention)})
