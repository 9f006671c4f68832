"""Measurements of a model's attention: where it lies, and how the words depend on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np

from seesay.caption import Caption
from seesay.data.hiding import hide, top_regions
from seesay.data.images import open_photo
from seesay.data.records import CaptionRecord
from seesay.evaluation.deletion import Fall, Sentence, deletion, falls_of
from seesay.evaluation.named_words import absent_words, mentioned_captions, mentioned_words, named_words
from seesay.geometry import resampled
from seesay.metrics.localisation import MapScores, NamedWord, Share, localisation
from seesay.metrics.statistics import area_under_curve, rank_correlation
from seesay.runtime import CaptionModel
from seesay.runtime.occlusion import occlusion_falls

HIDDEN = 0.25  # share of the photo that is hidden where only one share is measured
# photos for measurements that hide parts, which score a sentence hundreds of times for each photo
PHOTOS = 60


@dataclass(frozen=True)
class AttentionReport:
    """Figures of the maps in `Word.attention`. All intervals come from resampling photos.

    Attributes:
        own: localisation of nouns in the model's own captions, see `seesay.metrics.localisation`.
        references: localisation of the heads of phrases in reference captions, scored word by word.
        deletion: falls of the words' log-probabilities when parts of the photo are hidden.
        insertion: the falls when everything else is hidden.
        occlusion: rank correlation, -1 to 1, of each word's map with its falls when single regions
            are hidden.
        absent: how well flat maps and small falls detect named things that are absent
            (`absent_words`).
        torch: measurements that need the torch model, or why they are missing: `swap`, the falls
            when the attention weights are replaced, and `randomised`, how similar the maps are when
            the decoder's weights are random.
    """

    own: dict[str, dict[str, MapScores]]
    references: dict[str, dict[str, MapScores]]
    deletion: list[Fall]
    insertion: list[Fall]
    occlusion: Share
    absent: dict[str, Any]
    torch: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "localisation": {"own": _plain(self.own), "references": _plain(self.references)},
            "deletion": [_fall(fall) for fall in self.deletion],
            "insertion": [_fall(fall) for fall in self.insertion],
            "occlusion": self.occlusion.to_dict(),
            "absent": self.absent,
            **self.torch,
        }

    def lines(self) -> list[str]:
        """The main figures, a line each."""
        lines = []
        for name, part in (("own captions", self.own), ("reference captions", self.references)):
            for size in ("all", "small"):
                scores = part[size]
                if not scores["attention"].pointing.words:
                    continue
                others = ", ".join(
                    f"{kind.replace('_', ' ')} {scores[kind].pointing.mean:.2f}"
                    for kind in ("centre", "other_word", "other_photo")
                )
                boxes = "" if size == "all" else f", {size} boxes"
                lines.append(f"pointing, {name}{boxes}: {_told(scores['attention'].pointing)}; {others}")
            if part["all"]["attention"].mass.words:
                mass = part["all"]["attention"].mass
                area = part["all"]["uniform"].mass.mean
                lines.append(f"mass in the box, {name}: {_told(mass)}; the box's area {area:.2f}")
        for fall in self.deletion:
            if fall.share == HIDDEN:
                falls = ", ".join(f"{area} {share.mean:.2f}" for area, share in fall.falls.items())
                gap = _told(fall.gaps["random"])
                lines.append(f"hiding a quarter ({fall.fill}) costs: {falls}; top over random {gap}")
        if self.occlusion.words:
            lines.append(f"rank correlation of attention and occlusion: {_told(self.occlusion)}")
        return lines


def evaluate_attention(
    model: CaptionModel,
    records: Sequence[CaptionRecord],
    captions: Mapping[str, Caption],
    photos: int = PHOTOS,
    seed: int = 0,
    advance: Callable[[], None] | None = None,
) -> AttentionReport:
    """Measure a model's attention on photos with boxes.

    Args:
        model: the model that captioned.
        records: photos with their `objects` (`seesay.data.boxes.read_boxes`).
        captions: record id -> caption of each photo.
        photos: the number of random photos for measurements that hide parts; localisation uses all
            photos.
        seed: of that draw and of random areas.
        advance: called after each photo, at most `steps` times in all.
    """
    boxed = [record for record in records if record.objects and record.id in captions]
    own = [word for record in boxed for word in named_words(captions[record.id], record)]
    references: list[NamedWord] = []
    for record in boxed:
        references += _reference_words(model, record)
        if advance:
            advance()
    drawn = Random(seed).sample(boxed, min(photos, len(boxed)))
    sentences = [_sentence(record, captions[record.id]) for record in drawn]
    falls = deletion(model, sentences, seed=seed, advance=advance)
    shown = deletion(model, sentences, insert=True, seed=seed, advance=advance)
    return AttentionReport(
        localisation(own),
        localisation(references),
        falls,
        shown,
        _occlusion(model, sentences, captions, advance),
        _absent(model, drawn, captions, seed),
        _in_torch(model, drawn, captions, seed),
    )


def steps(records: Sequence[CaptionRecord], photos: int) -> int:
    """The maximal number of calls of `advance` by `evaluate_attention`, for progress."""
    boxed = sum(bool(record.objects) for record in records)
    return boxed + 3 * min(photos, boxed)


def _reference_words(model: CaptionModel, record: CaptionRecord) -> list[NamedWord]:
    numbers = list(mentioned_captions(record))
    if not numbers:
        return []
    photo = model.encode(record.image)
    words: list[NamedWord] = []
    for number in numbers:
        scored = model.score(photo, record.captions[number], strict=False)
        words += mentioned_words(scored, record, number)
    return words


def _sentence(record: CaptionRecord, caption: Caption) -> Sentence:
    return Sentence(record.id, open_photo(record.image), caption.text, named_words(caption, record))


def _occlusion(
    model: CaptionModel,
    sentences: Sequence[Sentence],
    captions: Mapping[str, Caption],
    advance: Callable[[], None] | None,
) -> Share:
    """Rank correlation of attention and occlusion, over words that name things with a box."""
    values: list[float] = []
    photos: list[str] = []
    for sentence in sentences:
        if sentence.words:
            falls = occlusion_falls(model, sentence.picture, sentence.text)
            for word in sentence.words:
                in_patches = resampled(word.attention, falls.shape[1:]).round(12)  # ties stay ties
                values.append(rank_correlation(in_patches.ravel(), falls[word.position].ravel()))
                photos.append(sentence.photo)
        if advance:
            advance()
    return Share.of(values, photos)


def _absent(
    model: CaptionModel, records: Sequence[CaptionRecord], captions: Mapping[str, Caption], seed: int
) -> dict[str, Any]:
    """How well two signs detect that a named thing is absent from the photo (AUC).

    The signs are a flat map, and a small fall of the word's log-probability when the attended part
    is hidden.
    """
    present = [_sentence(record, captions[record.id]) for record in records]
    missing = [
        Sentence(s.photo, s.picture, s.text, absent_words(captions[record.id], record))
        for s, record in zip(present, records, strict=True)
    ]
    signs: list[list[list[float]]] = []
    for sentences in (present, missing):
        words = [word for sentence in sentences for word in sentence.words]
        falls = deletion_falls(model, sentences, seed) if words else []
        signs.append([[_entropy(word.attention) for word in words], [-fall for fall in falls]])
    (flat, small), (flat_missing, small_missing) = signs
    enough = bool(flat and flat_missing)
    return {
        "words": len(flat_missing),
        "present": len(flat),
        "auc_flat_map": round(area_under_curve(flat_missing, flat), 4) if enough else None,
        "auc_small_fall": round(area_under_curve(small_missing, small), 4) if enough else None,
    }


def deletion_falls(model: CaptionModel, sentences: Sequence[Sentence], seed: int) -> list[float]:
    """The fall of each word when its most attended quarter is blurred."""
    falls: list[float] = []
    for sentence in sentences:
        for word in sentence.words:
            hidden = hide(sentence.picture, top_regions(word.attention, HIDDEN), "blur", seed)
            falls += falls_of(model, [hidden], sentence.text, word)
    return falls


def _in_torch(
    model: CaptionModel, records: Sequence[CaptionRecord], captions: Mapping[str, Caption], seed: int
) -> dict[str, Any]:
    """Measurements that need the bundle's torch model, in float32, or why they are missing."""
    try:
        from seesay.evaluation.with_torch.randomised import randomised
        from seesay.evaluation.with_torch.sentences import torch_sentences
        from seesay.evaluation.with_torch.swap import swap
        from seesay.export.load import load_captioner
    except ModuleNotFoundError as error:
        reason = {"left_out": f"needs {error.name}: pip install 'seesay[train]'"}
        return {"swap": reason, "randomised": reason}
    captioner, tokenizer = load_captioner(model.bundle), model.bundle.tokenizer
    words = [named_words(captions[record.id], record) for record in records]
    sentences = torch_sentences(captioner, tokenizer, records, [captions[r.id] for r in records], words)
    swapped = swap(captioner.decoder, sentences)
    falls = {kind: share.to_dict() for kind, share in swapped.falls.items()}
    left = randomised(captioner.decoder, sentences, seed)
    return {
        "swap": {"falls": falls, "own": round(swapped.own, 7)},
        "randomised": {part: share.to_dict() for part, share in left.items()},
    }


def _entropy(weights: np.ndarray) -> float:
    """Relative entropy: 1 for a uniform map, 0 for a single region."""
    shares = weights[weights > 0]
    return float(-(shares * np.log(shares)).sum() / max(np.log(weights.size), 1e-12))


def _plain(part: dict[str, dict[str, MapScores]]) -> dict[str, Any]:
    return {
        size: {
            kind: {"pointing": scores.pointing.to_dict(), "mass": scores.mass.to_dict()}
            for kind, scores in kinds.items()
        }
        for size, kinds in part.items()
    }


def _fall(fall: Fall) -> dict[str, Any]:
    return {
        "fill": fall.fill,
        "share": fall.share,
        "falls": {area: share.to_dict() for area, share in fall.falls.items()},
        "gaps": {area: share.to_dict() for area, share in fall.gaps.items()},
    }


def _told(share: Share) -> str:
    low, high = share.interval
    return f"{share.mean:.2f} ({low:.2f} to {high:.2f}, {share.words:,} words)"
