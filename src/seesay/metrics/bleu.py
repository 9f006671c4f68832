"""Corpus BLEU (Papineni et al. 2002), as pycocoevalcap computes it, and sentence BLEU."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from seesay.metrics.inputs import References, Tokens, check_pairs

ORDERS = 4
COUNTS = 2 * ORDERS + 2  # statistics of an image
# pycocoevalcap's constants against division by zero; the figures must equal its figures
TINY, SMALL = 1e-15, 1e-9


def bleu(hypotheses: Sequence[Tokens], references: References) -> tuple[float, float, float, float]:
    """BLEU-1 to BLEU-4 of a corpus, equal to pycocoevalcap's `Bleu(4)`.

    The matches of each n-gram are clipped to its largest count in any one reference, and precisions
    are those of all images together. The brevity penalty compares with the reference closest in
    length (of two, the shorter). See Papineni et al., "BLEU", ACL 2002.

    Args:
        hypotheses: B captions as tokens.
        references: B lists of captions as tokens.

    Returns:
        Four fractions, 0 (worst) to 1.

    Raises:
        DataError: the two differ in length, there are no images, or one has no reference.
    """
    one, two, three, four = bleu_of(bleu_counts(hypotheses, references).sum(axis=0)).tolist()
    return one, two, three, four


def bleu_counts(hypotheses: Sequence[Tokens], references: References) -> np.ndarray:
    """The statistics of BLEU for each image, (B, 10).

    They are the matches, then the n-grams of the hypothesis, of orders 1 to 4, then the lengths of
    hypothesis and closest reference.

    Raises:
        DataError: as for `bleu`.
    """
    check_pairs(hypotheses, references)
    counts = np.zeros((len(hypotheses), COUNTS), np.int64)
    for row, hypothesis, captions in zip(counts, hypotheses, references, strict=True):
        for n in range(ORDERS):
            row[n] = _clipped_matches(hypothesis, captions, n + 1)
            row[ORDERS + n] = max(0, len(hypothesis) - n)
        row[2 * ORDERS :] = len(hypothesis), _closest_length(len(hypothesis), captions)
    return counts


def bleu_of(counts: np.ndarray) -> np.ndarray:
    """BLEU-1 to BLEU-4, (..., 4), of sums of `bleu_counts`, (..., 10)."""
    matches, guesses = counts[..., :ORDERS], counts[..., ORDERS : 2 * ORDERS]
    ratio = (counts[..., 2 * ORDERS] + TINY) / (counts[..., 2 * ORDERS + 1] + SMALL)
    penalty = np.where(ratio < 1, np.exp(1 - 1 / ratio), 1.0)
    products = np.cumprod((matches + TINY) / (guesses + SMALL), axis=-1)
    return penalty[..., None] * products ** (1 / np.arange(1, ORDERS + 1))


def sentence_bleu(sentences: Sequence[Tokens], captions: Sequence[Tokens]) -> list[float]:
    """Smoothed BLEU-4 of single sentences about one image.

    One is added to the numbers of matches and n-grams of every order above 1 (Lin and Och 2004,
    https://aclanthology.org/C04-1072), because short sentences rarely match in four words in a row
    and would score 0. The mean over a corpus is not the BLEU of the corpus.

    Args:
        sentences: tokens of each.
        captions: the image's references as tokens, at least one.

    Returns:
        For each sentence a fraction from 0 (no word matches) to 1.
    """
    most = [_most_in_one(captions, n + 1) for n in range(ORDERS)]
    return [_smoothed(sentence, most, _closest_length(len(sentence), captions)) for sentence in sentences]


def _smoothed(sentence: Tokens, most: Sequence[Counter[tuple]], reference_length: int) -> float:
    matches = [(_ngrams(sentence, n + 1) & most[n]).total() for n in range(ORDERS)]
    if not matches[0]:
        return 0.0
    guesses = [max(0, len(sentence) - n) for n in range(ORDERS)]
    precisions = ((matches[n] + (n > 0)) / (guesses[n] + (n > 0)) for n in range(ORDERS))
    return _brevity_penalty(len(sentence), reference_length) * math.prod(precisions) ** (1 / ORDERS)


def _ngrams(caption: Tokens, n: int) -> Counter[tuple]:
    return Counter(zip(*(caption[k:] for k in range(n)), strict=False))


def _clipped_matches(hypothesis: Tokens, captions: Sequence[Tokens], n: int) -> int:
    return (_ngrams(hypothesis, n) & _most_in_one(captions, n)).total()


def _most_in_one(captions: Sequence[Tokens], n: int) -> Counter[tuple]:
    """The largest count of each n-gram in any single caption."""
    most: Counter[tuple] = Counter()
    for caption in captions:
        most |= _ngrams(caption, n)
    return most


def _closest_length(length: int, captions: Sequence[Tokens]) -> int:
    return min((abs(len(caption) - length), len(caption)) for caption in captions)[1]


def _brevity_penalty(length: int, reference_length: int) -> float:
    ratio = (length + TINY) / (reference_length + SMALL)
    return math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
