"""`seesay evaluate`: one line a score, and JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from seesay.cli.outputs import emit_json, refuse_unwritable, tell
from seesay.data.boxes import read_boxes
from seesay.data.readers import read_dataset, unpack_photos
from seesay.data.shapes import grounding_of
from seesay.data.splits import limit_splits
from seesay.errors import printable
from seesay.evaluation import evaluate
from seesay.evaluation.attention import PHOTOS, evaluate_attention, steps
from seesay.progress import progress
from seesay.report import report
from seesay.runtime import CaptionModel
from seesay.runtime.engine import Precision


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
    report_out: Path | None = None,
    report_photos: int = 12,
    precision: Precision = "auto",
    columns: str = "",
    boxes: Sequence[Path] = (),
    attention_photos: int = PHOTOS,
) -> None:
    """Score a model on a split, print the figures, write them as JSON and as a page with photos."""
    refuse_unwritable(json_out, report_out)
    dataset = read_dataset(list(data), layout, splits, columns=columns, unpacked=False)
    if boxes:
        dataset = read_boxes(list(boxes), dataset)
        print(dataset.problems[-1], file=sys.stderr)
    records = dataset.split(split)
    if limit is not None:  # of the photos to caption, not of the training captions that they are compared with
        records = limit_splits(records, limit, seed=0)
    unpack_photos(replace(dataset, records=tuple(records)))
    captioner = CaptionModel.load(model, precision=precision)
    trained_with = captioner.bundle.recipe["data"]["splits"]
    if splits != trained_with:
        told = f"the model was trained with data.splits={printable(trained_with)}, this is with --splits {splits}"
        print(f"note: {told}: of the same data, it may have been trained on photos of this {split}", file=sys.stderr)
    training = [caption for record in dataset.records if record.split == "train" for caption in record.captions]
    with progress("captioning", len(records), Console(stderr=True)) as advance:
        result = evaluate(
            captioner, records, beam, training_captions=training, advance=advance, grounding=grounding_of(dataset)
        )
    how = f"beam {result.about['beam']}, {captioner.precisions}"
    lines = [f"{captioner.bundle.name} on {split} of {', '.join(map(printable, data))}, {how}"]
    lines += [result.scores.table(), "", result.statistics.table()]
    if attention:
        looks = result.attention.to_dict()
        lines += ["", *(f"attention {name.replace('_', ' ')}: {value:.3f}" for name, value in looks.items())]
        lines += [f"pointing accuracy: {result.pointing}"] if result.pointing else []
    proof = None
    if attention and any(record.objects for record in records):
        with progress("measuring attention", steps(records, attention_photos), Console(stderr=True)) as advance:
            proof = evaluate_attention(captioner, records, result.captions, attention_photos, advance=advance)
        lines += proof.lines()
    lines += [f"left out: {problem}" for problem in result.failures]
    tell("\n".join(lines), json_out)
    if json_out:
        about = {"data": [str(path) for path in data], "split": split}
        per_image = result.scores.per_image.to_dict() if result.scores.per_image else None
        values = {**about, **result.to_dict(attention), "per_image": per_image}  # that for `seesay compare`
        if proof:
            values["attention"] |= proof.to_dict()
        emit_json(json_out, values)
    if report_out:
        title = f"{captioner.bundle.name} on {split} of {', '.join(path.name for path in data)}"
        tell(f"\n{printable(report(report_out, result, records, title, report_photos))}", json_out)
