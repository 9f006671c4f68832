"""Statistics of captions on which recipe keys depend: lengths, number of words, frequencies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from seesay.data.tokens import split_words

RARE = 5  # the default of tokens.min_count; rarer words become the unknown word


@dataclass(frozen=True)
class CaptionFigures:
    """Lengths and vocabulary of captions, split into words as for training.

    Attributes:
        captions: the number of captions.
        mean, shortest, longest: words per caption.
        most: 99 % of the captions have at most this many words.
        words: the number of different words.
        rare: how many of these occur fewer than `RARE` times.
        rare_share: the share of these words in the text, 0 to 1.
    """

    captions: int
    mean: float
    shortest: int
    longest: int
    most: int
    words: int
    rare: int
    rare_share: float

    def lines(self, of: str) -> list[str]:
        """Two lines of text; `of` names the captions in them."""
        return [
            f"length of {of}: {self.mean:.1f} words on average, {self.shortest} to {self.longest}, "
            f"99 % have at most {self.most}",
            f"vocabulary of {of}: {self.words:,} words; {self.rare:,} are written fewer than {RARE} times, "
            f"{self.rare_share:.1%} of the text",
        ]


def caption_figures(captions: Iterable[str]) -> CaptionFigures | None:
    """Figures of captions; None if there are no captions."""
    counts: Counter[str] = Counter()
    lengths: list[int] = []
    for caption in captions:
        words = split_words(caption)
        counts.update(words)
        lengths.append(len(words))
    if not lengths:
        return None
    rare = [count for count in counts.values() if count < RARE]
    return CaptionFigures(
        captions=len(lengths),
        mean=float(np.mean(lengths)),
        shortest=min(lengths),
        longest=max(lengths),
        most=int(np.quantile(lengths, 0.99, method="inverted_cdf")),
        words=len(counts),
        rare=len(rare),
        rare_share=sum(rare) / max(counts.total(), 1),
    )
