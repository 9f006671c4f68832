"""Would a person accept a caption? Measured as agreement with what people wrote (docs/confidence.md).

A caption is acceptable if its CIDEr-D against the references is at least that of the weaker third of people's own
sentences, each against the photo's other references, with the same document frequencies.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seesay.metrics.cider import CiderD
from seesay.metrics.inputs import References, Tokens

WEAKER = 1 / 3  # share of people's own sentences that score below the threshold


def people_scores(references: References) -> np.ndarray:
    """CIDEr-D of each reference against the photo's other ones, 0 to 10; of photos with at least two."""
    scores: list[np.ndarray] = []
    for which in range(max(map(len, references))):
        photos = [captions for captions in references if len(captions) > max(which, 1)]
        if photos:
            others = [[c for i, c in enumerate(captions) if i != which] for captions in photos]
            scores.append(CiderD(others, corpus=references).score([captions[which] for captions in photos]))
    return np.concatenate(scores) if scores else np.zeros(0)


def acceptance_threshold(references: References) -> float:
    """The CIDEr-D that two thirds of people's own sentences reach; 0 if no photo has two references."""
    scores = people_scores(references)
    return float(np.quantile(scores, WEAKER)) if len(scores) else 0.0


def acceptable(hypotheses: Sequence[Tokens], references: References) -> np.ndarray:
    """(B,) True where a caption reaches the threshold of these references."""
    return CiderD(references).score(hypotheses) >= acceptance_threshold(references)
