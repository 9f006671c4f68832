"""`seesay evaluate`: a line per score, JSON, and a page with photos."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from seesay.cli.load_model import load_model
from seesay.cli.writable import emit_json, refuse_unwritable, tell
from seesay.data.boxes import read_boxes
from seesay.data.readers import read_dataset, unpack_photos
from seesay.data.records import CaptionRecord, Dataset
from seesay.data.shapes import grounding_of
from seesay.data.splits import limit_splits
from seesay.errors import printable
from seesay.evaluation import Evaluation, evaluate
from seesay.evaluation.attention_report import PHOTOS, AttentionReport, evaluate_attention, steps
from seesay.evaluation.report import report
from seesay.progress import progress
from seesay.runtime import CaptionModel
from seesay.runtime.device import Wanted
from seesay.runtime.sessions import Precision


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """The options of `seesay evaluate`.

    Attributes:
        model: bundle folder or packaged name.
        data: folders of data sets.
        split: whose photos are captioned.
        beam: None: the model's own.
        layout, splits, columns: how to read the data, as for `seesay.data.readers.read_dataset`.
        limit: largest number of photos; None: all.
        boxes: files of boxes.
        attention: whether to report figures about the attention maps.
        attention_photos: number of photos for the test that hides parts of them, which needs boxes.
        json: file for the figures; "-" is standard output.
        report: file for a page with photos, `report_photos` in each of its parts.
        precision, device: as for `seesay.load`.
        likeliest: as for `CaptionModel.caption`.
    """

    model: str
    data: Sequence[Path]
    split: str = "test"
    beam: int | None = None
    layout: str = "auto"
    splits: str = "auto"
    columns: str = ""
    limit: int | None = None
    boxes: Sequence[Path] = ()
    attention: bool = False
    attention_photos: int = PHOTOS
    json: Path | None = None
    report: Path | None = None
    report_photos: int = 12
    precision: Precision = "auto"
    device: Wanted = "cpu"
    likeliest: bool = False


def evaluate_model(options: EvaluateOptions) -> None:
    """Score a model on a split; print the figures, write them as JSON and as a page with photos."""
    refuse_unwritable(options.json, options.report)
    dataset, records = _read(options)
    captioner = load_model(options.model, precision=options.precision, device=options.device)
    _warn_of_other_splits(captioner, options)
    training = [caption for record in dataset.records if record.split == "train" for caption in record.captions]
    with progress("captioning", len(records), Console(stderr=True)) as advance:
        result = evaluate(
            captioner,
            records,
            options.beam,
            likeliest=options.likeliest,
            training_captions=training,
            advance=advance,
            grounding=grounding_of(dataset),
        )
    proof = _attention(captioner, records, result, options)
    tell("\n".join(_lines(captioner, result, proof, options)), options.json)
    if options.json:
        per_image = result.scores.per_image.to_dict() if result.scores.per_image else None  # for `seesay compare`
        values = {"data": [str(path) for path in options.data], "split": options.split, "device": captioner.device}
        values |= {**result.to_dict(options.attention), "per_image": per_image}
        if proof:
            values["attention"] |= proof.to_dict()
        emit_json(options.json, values)
    if options.report:
        title = f"{captioner.bundle.name} on {options.split} of {', '.join(path.name for path in options.data)}"
        written = report(options.report, result, records, title, options.report_photos)
        tell(f"\n{printable(written)}", options.json)


def _read(options: EvaluateOptions) -> tuple[Dataset, Sequence[CaptionRecord]]:
    """The data set, and the records to caption, with their photos unpacked."""
    dataset = read_dataset(list(options.data), options.layout, options.splits, columns=options.columns, unpacked=False)
    if options.boxes:
        dataset = read_boxes(list(options.boxes), dataset)
        print(dataset.problems[-1], file=sys.stderr)
    records = dataset.split(options.split)
    if options.limit is not None:  # limits the photos to caption; statistics still use all captions
        records = limit_splits(records, options.limit, seed=0)
    unpack_photos(replace(dataset, records=tuple(records)))
    return dataset, records


def _trust(result: Evaluation) -> list[str]:
    facts = result.trust.facts() if result.trust else {}
    return ["", *(f"{name:14}{fact}" for name, fact in facts.items())] if facts else []


def _warn_of_other_splits(captioner: CaptionModel, options: EvaluateOptions) -> None:
    trained_with = captioner.bundle.recipe["data"]["splits"]
    if options.splits != trained_with:
        difference = (
            f"the model was trained with data.splits={printable(trained_with)}, this is with --splits {options.splits}"
        )
        risk = f"of the same data, it may have been trained on photos of this {options.split}"
        print(f"note: {difference}: {risk}", file=sys.stderr)


def _attention(
    captioner: CaptionModel, records: Sequence[CaptionRecord], result: Evaluation, options: EvaluateOptions
) -> AttentionReport | None:
    """Figures about the attention maps, if they are wanted and the data have boxes."""
    if not (options.attention and any(record.objects for record in records)):
        return None
    number = options.attention_photos
    with progress("measuring attention", steps(records, number), Console(stderr=True)) as advance:
        return evaluate_attention(captioner, records, result.captions, number, advance=advance)


def _lines(
    captioner: CaptionModel, result: Evaluation, proof: AttentionReport | None, options: EvaluateOptions
) -> Iterator[str]:
    """The lines to print."""
    yield f"{captioner.bundle.name} on {options.split} of {', '.join(map(printable, options.data))}, {result.how}"
    yield from (
        result.scores.table(),
        "",
        result.statistics.table(),
        *_trust(result),
        "",
        f"device: {captioner.device}",
    )
    if options.attention:
        figures = result.attention.to_dict()
        yield from ("", *(f"attention {name.replace('_', ' ')}: {value:.3f}" for name, value in figures.items()))
        if result.pointing:
            yield f"pointing accuracy: {result.pointing}"
    if proof:
        yield from proof.lines()
    yield from (f"left out: {problem}" for problem in result.failures)
