"""Comparing models on the same photos: scores with intervals, and paired tests."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from seesay.data.records import CaptionRecord
from seesay.data.text import parse_json, read_text
from seesay.data.tokens import split_words
from seesay.errors import DataError, printable
from seesay.evaluation.caption_scores import how_made
from seesay.evaluation.comparison.run_table import Column, markdown_table, text_blocks
from seesay.metrics import score_captions
from seesay.metrics.resampling import DRAWS, FIGURES, Figure, PerImage, difference, figure, resampled

TITLES = {
    **{f"bleu_{n}": f"BLEU-{n}" for n in range(1, 5)},
    "meteor": "METEOR",
    "rouge_l": "ROUGE-L",
    "cider": "CIDEr",
}
SHOWN = ("bleu_1", "bleu_4", "meteor", "rouge_l", "cider")  # in the table; the CSV has all
CLEAR = 0.05  # differences with a smaller p are marked


@dataclass(frozen=True)
class ScoredModel:
    """A model's captions of some photos, scored.

    Attributes:
        name: the model's name in tables.
        how: beam and precision, as text.
        ids: the photos' ids, in the order of `per_image`.
        per_image: statistics of each image.
        tokeniser: "ptb" or "seesay".
    """

    name: str
    how: str
    ids: tuple[str, ...]
    per_image: PerImage
    tokeniser: str


@dataclass(frozen=True)
class ModelComparison:
    """Models side by side; made by `compare_models`.

    Attributes:
        models: models with different names.
        scores: name -> figure (of `FIGURES`) -> value and interval; fractions, CIDEr 0 to 10.
        differences: (name, other name) -> figure -> how much higher the first is; each pair once.
        about: notes on the data and on how to read the figures.
    """

    models: tuple[ScoredModel, ...]
    scores: Mapping[str, Mapping[str, Figure]]
    differences: Mapping[tuple[str, str], Mapping[str, Figure]]
    about: tuple[str, ...]

    def table(self, width: int = 120) -> str:
        """Plain text, x100: a row for each model and each pair, and notes."""
        blocks = [block for columns in self._blocks() for block in text_blocks(columns, width)]
        notes = "\n".join(textwrap.fill(text, width, subsequent_indent="  ") for text in self.about)
        return "\n\n".join([*blocks, notes])

    def markdown(self) -> str:
        """The same as Markdown."""
        parts = []
        for columns in self._blocks():
            parts += [*markdown_table(columns), ""]
        return "\n".join([*parts, *(f"- {text}" for text in self.about)]) + "\n"

    def csv(self) -> str:
        """All figures and differences, one in each row, unrounded: fractions, CIDEr 0 to 10."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["model", "minus", "figure", "value", "low", "high", "p"])
        for name, figures in self.scores.items():
            writer.writerows([name, "", key, one.value, one.low, one.high, ""] for key, one in figures.items())
        for (name, other), figures in self.differences.items():
            writer.writerows([name, other, key, one.value, one.low, one.high, one.p] for key, one in figures.items())
        return text.getvalue()

    def _blocks(self) -> list[list[Column]]:
        shown = [key for key in SHOWN if any(key in figures for figures in self.scores.values())]
        models = [Column("model", list(self.scores), right=False)]
        pairs = [Column("difference", [f"{one} - {other}" for one, other in self.differences], right=False)]
        for key in shown:
            models.append(Column(TITLES[key], [_score(figures.get(key)) for figures in self.scores.values()]))
            pairs.append(Column(TITLES[key], [_difference(figures.get(key)) for figures in self.differences.values()]))
        return [models, pairs] if self.differences else [models]


def score_model(
    name: str,
    bundle: str | Path,
    records: Sequence[CaptionRecord],
    precision: Any = "float32",
    beam: int | None = None,
    advance: Callable[..., None] | None = None,
) -> ScoredModel:
    """Caption the photos and score the captions.

    Args:
        name: the model's name in tables.
        bundle: a bundle's folder, or a packaged model's name.
        records: photos with references.
        precision: as for `CaptionModel.load`; use the same for all models.
        beam: None takes the bundle's own.
        advance: called after each photo.

    Raises:
        BundleError: no such bundle, or it lacks the precision.
        DataError: more than a tenth of the photos cannot be read.
    """
    from seesay.evaluation import evaluate
    from seesay.runtime import CaptionModel

    model = CaptionModel.load(bundle, precision=precision)
    result = evaluate(model, records, beam, advance=advance)
    assert result.scores.per_image is not None
    return ScoredModel(
        name,
        result.how,
        tuple(result.captions),
        result.scores.per_image,
        result.scores.tokeniser,
    )


def read_scores(path: Path, records: Sequence[CaptionRecord] | None = None) -> ScoredModel:
    """Read a file of `seesay evaluate --json`; its captions are scored again if records are given.

    Raises:
        DataError: it is another file, lacks the statistics that intervals need, or has other
            photos.
    """
    values = parse_json(read_text(path), str(path), "what `seesay evaluate --json` writes")
    captions = values.get("captions") if isinstance(values, dict) else None
    if not isinstance(captions, dict) or not captions or not all(isinstance(text, str) for text in captions.values()):
        raise DataError(f"{path}: no captions in it; expected what `seesay evaluate --json` writes")
    how = how_made(values)
    if records is not None:
        return _rescored(path, how, captions, records)
    scores = values.get("scores")
    tokeniser = scores.get("tokeniser") if isinstance(scores, dict) else None
    if values.get("per_image") is None or tokeniser not in ("ptb", "seesay"):
        raise DataError(
            f"{path}: has no scores of each image, which intervals and tests need; evaluate again, or give the "
            "data: --data PATH --split SPLIT"
        )
    try:
        per_image = PerImage.from_dict(values["per_image"])
    except DataError as error:
        raise DataError(f"{path}: per_image: {error}") from None
    if len(per_image.cider) != len(captions):
        raise DataError(f"{path}: {len(per_image.cider)} scores for {len(captions)} captions; it is damaged")
    return ScoredModel(path.stem, how, tuple(captions), per_image, tokeniser)


def _rescored(path: Path, how: str, captions: Mapping[str, str], records: Sequence[CaptionRecord]) -> ScoredModel:
    known = [record for record in records if record.id in captions]
    if not known:
        raise DataError(
            f"{path}: none of its {len(captions):,} photos is among the {len(records):,} of the data; its ids are such "
            f"as '{next(iter(captions))}', the data's such as '{records[0].id}'"
        )
    texts = {record.id: captions[record.id] for record in known}
    scores = score_captions(texts, {record.id: record.captions for record in known}, split_words)
    assert scores.per_image is not None
    return ScoredModel(path.stem, how, tuple(texts), scores.per_image, scores.tokeniser)


def compare_models(models: Sequence[ScoredModel], of: str = "") -> ModelComparison:
    """Compare models on the photos that all of them have captioned.

    Args:
        models: one or more.
        of: the data and the split, for the notes.

    Raises:
        DataError: there are no models, no common photos, or different tokenisers.
    """
    if not models:
        raise DataError("no models to compare: expected one or more")
    named = _named(models)
    tokenisers = {model.tokeniser for model in named}
    if len(tokenisers) > 1:
        which = "; ".join(f"{model.name}: {model.tokeniser}" for model in named)
        raise DataError(
            f"the scores are of different tokenisers ({which}), which cannot be compared: evaluate again with "
            "`pip install 'seesay[eval]'`, or give the data: --data PATH"
        )
    others = [set(model.ids) for model in named[1:]]
    shared = [id_ for id_ in named[0].ids if all(id_ in ids for ids in others)]
    if not shared:
        raise DataError("no photo has captions of all models; give scores of the same data and split")
    values = resampled({model.name: _of(model, shared) for model in named})
    figures = {
        name: {key: figure(values_of_model[key]) for key in FIGURES if key in values_of_model}
        for name, values_of_model in values.items()
    }
    differences = {
        (one, other): {
            key: difference(values[one][key], values[other][key])
            for key in FIGURES
            if key in values[one] and key in values[other]
        }
        for other, one in combinations(values, 2)
    }
    return ModelComparison(named, figures, differences, _about(named, shared, of))


def _of(model: ScoredModel, shared: Sequence[str]) -> PerImage:
    place = {id_: number for number, id_ in enumerate(model.ids)}
    return model.per_image.take(np.array([place[id_] for id_ in shared]))


def _named(models: Sequence[ScoredModel]) -> tuple[ScoredModel, ...]:
    """The models with unique names: equal names get numbers."""
    names: list[str] = []
    for model in models:
        name, number = model.name, 2
        while name in names:
            name, number = f"{model.name}-{number}", number + 1
        names.append(name)
    return tuple(replace(model, name=name) for model, name in zip(models, names, strict=True))


def _about(models: Sequence[ScoredModel], shared: Sequence[str], of: str) -> tuple[str, ...]:
    ways: dict[str, list[str]] = {}
    for model in models:
        ways.setdefault(model.how, []).append(model.name)
    data = f" of {printable(of)}" if of else ""
    lines = [f"{len(shared):,} photos{data}, tokeniser '{models[0].tokeniser}'."]
    if left := {model.name: len(model.ids) - len(shared) for model in models if len(model.ids) > len(shared)}:
        counts = ", ".join(f"{name} {count:,}" for name, count in left.items())
        lines.append(f"Left out, as not every model has a caption of them: {counts} photos; CIDEr keeps their idf.")
    if len(ways) == 1:
        lines.append(f"All models: {next(iter(ways))}.")
    else:
        listed = "; ".join(f"{', '.join(names)}: {how}" for how, names in ways.items())
        lines.append(f"Warning: not all captions were made in the same way: {listed}.")
    if models[0].tokeniser != "ptb":
        lines.append(
            "Without METEOR, and not comparable with published figures: pip install 'seesay[eval]' "
            "installs the official tokeniser."
        )
    lines.append(f"[low, high]: 95 % of {DRAWS:,} resamples of the photos, the same ones for all models.")
    if len(models) > 1:
        lines.append(
            "p: two-sided paired bootstrap test: how often resamples give the difference the other sign, times two; * "
            f"where it is below {CLEAR:g}. Of many tests some are below by chance."
        )
    return tuple(lines)


def _score(score: Figure | None) -> str:
    return "-" if score is None else f"{100 * score.value:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]"


def _difference(gap: Figure | None) -> str:
    if gap is None or gap.p is None:
        return "-"
    mark = "*" if gap.p < CLEAR else ""
    return f"{100 * gap.value:+.1f} [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}] p={gap.p:.3f}{mark}"
