"""Statistics of captions (length, variety, repetition, endings), and of samples of numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seesay.errors import DataError
from seesay.metrics.inputs import Tokens, check_hypotheses

# fmt: off
# Words that rarely end a sentence: 0.7 % of the 30,000 human captions of Flickr8k end with one of
# them, nearly always "on" as in "looks on".
OPEN_WORDS = frozenset((
    "a", "an", "the", "his", "its", "their", "our", "your", "my",
    "and", "or", "but", "while", "as",
    "of", "with", "without", "at", "to", "from", "for", "in", "on", "into", "onto", "near", "next", "between",
    "through", "across", "against", "along", "beside", "under",
    "is", "are", "was", "were", "be", "being", "has", "have",
))
# Function words that do end sentences: "near a wall with a dog behind it".
FUNCTION_WORDS = OPEN_WORDS | frozenset((
    "this", "that", "these", "those", "some", "her", "him", "it", "them", "he", "she", "they", "who", "which", "there",
    "by", "up", "down", "off", "out", "over", "around", "behind", "'s",
))
# fmt: on
MOST_FREQUENT = 5  # captions listed at most


@dataclass(frozen=True)
class CaptionStatistics:
    """Variety and flaws of a set of captions, one for each photo. Shares lie in 0..1.

    Below, H is the set of the B captions; the caller decides what counts as a word.

    Attributes:
        captions: B.
        lengths: number of words -> number of captions with so many words.
        mean_length: sum of |h| / B.
        distinct_words: different words in H.
        vocabulary_share: share of the training captions' different words that H uses (similar to
            Cov of van Miltenburg et al., COLING 2018); None if the training captions are unknown.
        distinct: distinct-1, -2 and -3, different n-grams in H / all n-grams in H (Li et al., NAACL
            2016, who divide by the number of words). They fall with the number of captions, and are
            0 without n-grams.
        distinct_captions: number of different captions.
        shared: share of captions that another photo has too, word for word.
        most_frequent: the captions that most photos share, with the number of photos; at most 5,
            all of at least two photos.
        novel: share of captions that equal no training caption (%novel of van Miltenburg et al.);
            None if the training captions are unknown.
        repeated_words: share of captions in which a word follows itself ("a dog dog").
        repeated_trigrams: share of captions in which a trigram occurs twice.
        repeated_content: share of the content words (all but `FUNCTION_WORDS`) that occur earlier
            in the same caption: seq-rep-1 of Welleck et al. (ICLR 2020) on content words, captions
            weighted by their length.
        broken_endings: share of captions whose last word is one of `OPEN_WORDS` ("a dog with a"),
            as captions trained on CIDEr alone have.
    """

    captions: int
    lengths: dict[int, int]
    mean_length: float
    distinct_words: int
    vocabulary_share: float | None
    distinct: tuple[float, float, float]
    distinct_captions: int
    shared: float
    most_frequent: tuple[tuple[str, int], ...]
    novel: float | None
    repeated_words: float
    repeated_trigrams: float
    repeated_content: float
    broken_endings: float

    def to_dict(self) -> dict[str, Any]:
        """A flat dict for JSON with `distinct_1` to `distinct_3`; lengths as text, shortest first."""
        values = {name: value for name, value in vars(self).items() if name != "distinct"}
        return values | {
            "lengths": {str(words): count for words, count in self.lengths.items()},
            "min_length": min(self.lengths),
            "max_length": max(self.lengths),
            **{f"distinct_{n}": value for n, value in enumerate(self.distinct, start=1)},
            "most_frequent": [{"caption": text, "photos": photos} for text, photos in self.most_frequent],
        }

    def facts(self) -> dict[str, str]:
        """The statistics in words: heading -> one line."""
        learnt = "" if self.vocabulary_share is None else f", {_percent(self.vocabulary_share)} of the training words"
        made_up = "" if self.novel is None else f", {_percent(self.novel)} are in no training caption"
        facts = {
            "Length": f"{self.mean_length:.1f} words a caption, {min(self.lengths)} to {max(self.lengths)}",
            "Words": f"{self.distinct_words:,} different words{learnt}",
            "Distinct 1-3": f"{', '.join(f'{value:.3f}' for value in self.distinct)} of the n-grams",
            "Captions": f"{self.distinct_captions:,} different of {self.captions:,}; "
            f"{_percent(self.shared)} are another photo's too{made_up}",
            "Repetition": f"{_percent(self.repeated_words)} say a word twice running, "
            f"{_percent(self.repeated_trigrams)} three words again; "
            f"{_percent(self.repeated_content)} of content words were said before",
            "Endings": f"{_percent(self.broken_endings)} break off, as in 'a dog with a'",
        }
        if self.most_frequent:
            facts["Most often"] = "{1:,} times '{0}'".format(*self.most_frequent[0])
        return facts

    def table(self) -> str:
        """Plain text, `facts` line by line."""
        return "\n".join(f"{name:14}{fact}" for name, fact in self.facts().items())


def caption_statistics(
    hypotheses: Sequence[Tokens], training_captions: Iterable[Tokens] | None = None
) -> CaptionStatistics:
    """Statistics of a captioner's captions.

    Args:
        hypotheses: B captions as tokens.
        training_captions: the captions it was trained on, tokenised in the same way; None or empty
            if unknown.

    Raises:
        DataError: there is no caption.
    """
    if not hypotheses:
        raise DataError("no captions to count: expected at least one")
    check_hypotheses(hypotheses)
    captions = [tuple(caption) for caption in hypotheses]
    times = Counter(captions)
    words = _words(captions)
    known = set(map(tuple, training_captions or ()))
    learnt = _words(known)

    def share(holds: Callable[[Tokens], bool]) -> float:
        return sum(map(holds, captions)) / len(captions)

    return CaptionStatistics(
        captions=len(captions),
        lengths=dict(sorted(Counter(map(len, captions)).items())),
        mean_length=sum(map(len, captions)) / len(captions),
        distinct_words=len(words),
        vocabulary_share=len(words & learnt) / len(learnt) if learnt else None,
        distinct=(_distinct(captions, 1), _distinct(captions, 2), _distinct(captions, 3)),
        distinct_captions=len(times),
        shared=share(lambda caption: times[tuple(caption)] > 1),
        most_frequent=tuple(
            (" ".join(map(str, caption)), photos) for caption, photos in times.most_common(MOST_FREQUENT) if photos > 1
        ),
        novel=share(lambda caption: tuple(caption) not in known) if known else None,
        repeated_words=share(lambda caption: any(a == b for a, b in _ngrams(caption, 2))),
        repeated_trigrams=share(lambda caption: _repeats(list(_ngrams(caption, 3))) > 0),
        repeated_content=_repeated_content(captions),
        broken_endings=share(lambda caption: bool(caption) and caption[-1] in OPEN_WORDS),
    )


def _words(captions: Iterable[Tokens]) -> set[Hashable]:
    return {word for caption in captions for word in caption}


def _ngrams(caption: Tokens, n: int) -> Iterator[tuple[Hashable, ...]]:
    return zip(*(caption[start:] for start in range(n)), strict=False)


def _repeats(items: Sequence[Hashable]) -> int:
    """The number of items that equal an earlier one."""
    return len(items) - len(set(items))


def _distinct(captions: Iterable[Tokens], n: int) -> float:
    grams = [gram for caption in captions for gram in _ngrams(caption, n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def _repeated_content(captions: Iterable[Tokens]) -> float:
    content = [[word for word in caption if word not in FUNCTION_WORDS] for caption in captions]
    return sum(map(_repeats, content)) / max(sum(map(len, content)), 1)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def bootstrap_interval(per_image: np.ndarray, seed: int, draws: int = 1000, level: float = 0.95) -> tuple[float, float]:
    """A confidence interval for the mean of a score: the percentile bootstrap (Efron 1979).

    Args:
        per_image: (B,) scores.
        seed: the seed of the draws; the same seed gives the same interval.
        draws: resamples of B images with replacement.
        level: share of the resampled means inside the interval, above 0, below 1.

    Returns:
        Lower and upper end, in the unit of `per_image`.

    Raises:
        DataError: no scores, or `level` or `draws` out of range.
    """
    per_image = np.asarray(per_image, np.float64)
    if per_image.ndim != 1 or not per_image.size:
        raise DataError(f"per-image scores have shape {per_image.shape}: expected (images,), at least one")
    if not 0 < level < 1 or draws < 1:
        raise DataError(f"got level {level} and {draws} draws: expected a level between 0 and 1, a draw or more")
    random = np.random.default_rng(seed)
    means = [random.choice(per_image, per_image.size).mean() for _ in range(draws)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def ratio_interval(
    sums: np.ndarray, counts: np.ndarray, seed: int, draws: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Like `bootstrap_interval`, for values in groups, such as the words of a photo.

    Whole groups are resampled.

    Args:
        sums: the sum of the values of each group.
        counts: the number of values of each group, above 0.
        seed, draws, level: as for `bootstrap_interval`.

    Returns:
        (low, high) of sum / count.
    """
    random = np.random.default_rng(seed)
    drawn = random.integers(0, len(sums), (draws, len(sums)))
    means = np.sort(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def area_under_curve(positive: Sequence[float], negative: Sequence[float]) -> float:
    """The area under the ROC curve.

    This is the probability that a positive value exceeds a negative one; ties count half.

    Args:
        positive, negative: values, at least one of each.
    """
    differences = np.asarray(positive, np.float64)[:, None] - np.asarray(negative, np.float64)[None, :]
    return float((differences > 0).mean() + 0.5 * (differences == 0).mean())


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of two arrays (N,), -1 to 1; 0 if one of them is constant."""
    ranks = [_ranks(np.asarray(values, np.float64)) for values in (a, b)]
    centred = [rank - rank.mean() for rank in ranks]
    scale = np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum())
    return float((centred[0] * centred[1]).sum() / scale) if scale else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0; equal values get the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum()
    return ((ends - counts + ends - 1) / 2)[inverse]
