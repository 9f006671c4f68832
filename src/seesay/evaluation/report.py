"""Choosing the photos and figures of an evaluation's report page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random

import numpy as np

from seesay.caption import Failure
from seesay.data.images import open_photo
from seesay.data.records import CaptionRecord
from seesay.errors import PhotoError
from seesay.evaluation import Evaluation
from seesay.explain import ScoredPhoto, Section, Summary, draw_boxes, write_report
from seesay.metrics import Scores

BOXED = 20  # photos with boxes on the page
CIDER_STEP = 20  # width of a bar, x100


def report(
    path: str | Path, result: Evaluation, records: Sequence[CaptionRecord], title: str, photos: int = 12
) -> Path:
    """Write an evaluation as an HTML page: figures, then photos with their captions.

    There are sections with the best, middling, worst and some unselected captions. The page
    contains the photos (at reduced size) and references, which may not be yours to publish.

    Args:
        path: the file.
        result: the evaluation.
        records: the photos and references of the evaluation.
        title: heading, plain text.
        photos: photos in each section; in those chosen by CIDEr-D at most a third of all photos.

    Returns:
        The path.

    Raises:
        SeesayError: the file cannot be written.
    """
    known = {record.id: record for record in records}
    chosen = by_cider(dict(zip(result.captions, result.scores.cider_each, strict=True)), photos)
    chosen["Unselected"] = [example["id"] for example in result.examples(photos)]
    sections = [Section(name, ABOUT[name], _judged(ids, result, known)) for name, ids in chosen.items()]
    if boxed := [name for name in result.captions if known[name].objects]:
        drawn = Random(0).sample(sorted(boxed), min(BOXED, len(boxed)))
        sections.append(Section("Boxes", ABOUT["Boxes"], _judged(drawn, result, known, boxes=True)))
    return write_report(path, title, _figures(result), sections)


ABOUT = {
    "The best": "The highest CIDEr of one photo's caption against its own references, the best first.",
    "The middling": "Around the median.",
    "The worst": "The lowest, the worst first. CIDEr counts shared words: a caption can be right and score 0.",
    "Boxes": "Drawn at random, with a fixed seed, among the photos with boxes, which are framed: do the words that "
    "name these things light up inside the frames?",
    "Unselected": "Drawn at random with a fixed seed, the best first: what to expect of the next photo.",
}


def by_cider(cider: Mapping[str, float], photos: int) -> dict[str, list[str]]:
    """The best, the middling and the worst ids, at most `photos` of each and no id twice.

    Args:
        cider: id -> CIDEr-D; equal ones keep their order.
        photos: how many of each.
    """
    ranked = sorted(cider, key=lambda name: -cider[name])
    count = min(photos, len(ranked) // 3)
    middle = (len(ranked) - count) // 2
    return {
        "The best": ranked[:count],
        "The middling": ranked[middle : middle + count],
        "The worst": ranked[::-1][:count],
    }


def _judged(
    ids: Iterable[str], result: Evaluation, records: Mapping[str, CaptionRecord], boxes: bool = False
) -> Iterator[ScoredPhoto]:
    per_photo = result.per_photo
    for name in ids:
        caption = result.captions[name]
        try:
            image = open_photo(records[name].image)
            if boxes:
                image = draw_boxes(image, (box for thing in records[name].objects for box in thing.boxes))
        except PhotoError as error:  # too large for the memory at full size, or deleted meanwhile
            image, caption = None, Failure(caption.image, error.reason)
        yield ScoredPhoto(image, caption, per_photo[name]["cider"], records[name].captions)


def _figures(result: Evaluation) -> Summary:
    about, attention = result.about, result.attention
    facts = {
        "Model": f"{about['model']}, {result.how}, seesay {about['seesay']}",
        "Photos": f"{about['images']:,} with {about['references']:,} references, tokeniser '{result.scores.tokeniser}'",
        **result.statistics.facts(),
        "Attention": f"entropy {attention.entropy:.3f} of a uniform map's; distance of a word's map to the next word's "
        f"{attention.between_words:.3f}, to the next photo's {attention.between_photos:.3f}",
    }
    if most_frequent := result.statistics.most_frequent:
        facts["Most often"] = ", ".join(f"'{text}' ({photos:,})" for text, photos in most_frequent)
    if result.trust:
        facts |= result.trust.facts()
    if result.pointing:
        facts["Pointing"] = str(result.pointing)
    if result.failures:
        facts["Left out"] = "; ".join(map(str, result.failures))
    lengths = result.statistics.lengths
    charts = {
        "CIDEr of each photo": _cider_counts(result.scores),
        "Words a caption": {str(n): lengths.get(n, 0) for n in range(min(lengths), max(lengths) + 1)},
    }
    if result.trust and result.trust.captions:
        charts["Percent accepted, by confidence (photos)"] = result.trust.chart()
    return Summary(_shown(result.scores), facts, charts, result.scores.notes)


def _shown(scores: Scores) -> dict[str, str]:
    low, high = (f"{100 * end:.1f}" for end in scores.cider_interval)
    figures = {f"BLEU-{n}": value for n, value in enumerate(scores.bleu, start=1)}
    figures |= {"METEOR": scores.meteor, "ROUGE-L": scores.rouge_l}
    shown = {name: f"{100 * value:.1f}" for name, value in figures.items() if value is not None}
    return shown | {"CIDEr": f"{100 * scores.cider:.1f}", "95 % of resamples": f"{low} to {high}"}


def _cider_counts(scores: Scores) -> dict[str, int]:
    bars = np.bincount((100 * np.asarray(scores.cider_each) // CIDER_STEP).astype(int))
    return {f"{CIDER_STEP * n} to {CIDER_STEP * (n + 1)}": int(count) for n, count in enumerate(bars)}
