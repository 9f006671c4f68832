"""`Scores`: the results of an evaluation, with the notes needed to read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from seesay.metrics.bleu import bleu_counts, bleu_of
from seesay.metrics.cider import CiderD
from seesay.metrics.inputs import References, Tokens
from seesay.metrics.resampling import PerImage
from seesay.metrics.rouge import rouge_l
from seesay.metrics.statistics import bootstrap_interval

FEW_IMAGES = 100


@dataclass(frozen=True)
class Scores:
    """Scores of captions against their references.

    Attributes:
        bleu: BLEU-1 to BLEU-4 of the corpus, 0 to 1.
        meteor: METEOR 1.5 of the corpus, 0 to 1; None if it was left out.
        rouge_l: mean ROUGE-L, 0 to 1.
        cider: mean CIDEr-D, 0 to 10 (published figures are this x100).
        cider_interval: 95 % bootstrap interval of `cider` over the images (seed 0).
        comparable: whether the official tokeniser was used, as in published figures.
        tokeniser: the tokeniser, "ptb" or "seesay".
        images: the number of scored images.
        references: the number of their reference captions.
        left_out: why METEOR is missing, if it is missing.
        cider_each: CIDEr-D of each image, in the given order; `cider` is their mean.
        per_image: statistics of each image in the same order, for intervals and tests.
    """

    bleu: tuple[float, float, float, float]
    meteor: float | None
    rouge_l: float
    cider: float
    cider_interval: tuple[float, float]
    comparable: bool
    tokeniser: str
    images: int
    references: int
    left_out: str = "pip install 'seesay[eval]'"
    cider_each: tuple[float, ...] = field(default=(), repr=False)
    per_image: PerImage | None = field(default=None, repr=False, compare=False)

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings for readers of the figures, one sentence each."""
        notes = {
            f"METEOR left out: {self.left_out}": self.meteor is None,
            f"BLEU, ROUGE-L and CIDEr use the tokeniser '{self.tokeniser}' and are not comparable with "
            "published figures": not self.comparable,
            f"CIDEr on {self.images} images says little (document frequencies come from these references): one "
            f"image scores 0, and with fewer than {FEW_IMAGES} chance moves it a lot": self.images < FEW_IMAGES,
        }
        return tuple(note for note, applies in notes.items() if applies)

    def to_dict(self) -> dict[str, Any]:
        """The corpus scores as a flat dict for JSON, with `bleu_1` to `bleu_4`, as fractions."""
        return {
            **{f"bleu_{n}": value for n, value in enumerate(self.bleu, start=1)},
            "meteor": self.meteor,
            "rouge_l": self.rouge_l,
            "cider": self.cider,
            "cider_interval": list(self.cider_interval),
            "comparable": self.comparable,
            "tokeniser": self.tokeniser,
            "images": self.images,
            "references": self.references,
            "notes": list(self.notes),
        }

    def table(self) -> str:
        """Plain text: a line for each score, x100 with one decimal, then the notes."""
        low, high = (f"{100 * end:.1f}" for end in self.cider_interval)
        figures = {f"BLEU-{n}": value for n, value in enumerate(self.bleu, start=1)}
        figures |= {"METEOR": self.meteor, "ROUGE-L": self.rouge_l, "CIDEr": self.cider}
        lines = [f"{name:8}{_hundredfold(value):>6}" for name, value in figures.items()]
        lines[-1] += f"   95 % of resamples of the images: {low} to {high}"
        lines.append(f"{self.images} images, {self.references} references, tokeniser '{self.tokeniser}'")
        return "\n".join([*lines, *(f"Note: {note}" for note in self.notes)])


def basic_scores(hypotheses: Sequence[Tokens], references: References, tokeniser: str = "seesay") -> Scores:
    """BLEU, ROUGE-L and CIDEr-D of tokens, without METEOR.

    Unless the tokens are PTB tokens, the scores are not comparable with published figures.

    Args:
        hypotheses: B captions as tokens.
        references: B lists of captions as tokens.
        tokeniser: the name of the tokeniser.

    Raises:
        DataError: the two differ in length, there are no images, or one has no reference.
    """
    counts = bleu_counts(hypotheses, references)
    one, two, three, four = bleu_of(counts.sum(axis=0)).tolist()
    rouge = rouge_l(hypotheses, references)
    cider = CiderD(references).score(hypotheses)
    return Scores(
        bleu=(one, two, three, four),
        meteor=None,
        rouge_l=float(rouge.mean()),
        cider=float(cider.mean()),
        cider_interval=bootstrap_interval(cider, seed=0),
        comparable=False,
        tokeniser=tokeniser,
        images=len(references),
        references=sum(map(len, references)),
        cider_each=tuple(cider.tolist()),
        per_image=PerImage(counts, rouge, cider),
    )


def _hundredfold(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
