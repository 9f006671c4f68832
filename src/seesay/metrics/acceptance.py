"""Whether a person would accept a caption, estimated by its agreement with people's captions.

Each reference is scored with CIDEr-D against the other references of its photo. A caption is
acceptable if its own CIDEr-D is at least the score that two thirds of the references reach
(docs/confidence.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seesay.metrics.cider import CiderD
from seesay.metrics.inputs import References, Tokens

WEAKER = 1 / 3  # share of the references whose score is below the threshold


def people_scores(references: References) -> np.ndarray:
    """CIDEr-D, 0 to 10, of each reference against the photo's others, where there are others."""
    scores: list[np.ndarray] = []
    for which in range(max(map(len, references))):
        photos = [captions for captions in references if len(captions) > max(which, 1)]
        if photos:
            others = [[c for i, c in enumerate(captions) if i != which] for captions in photos]
            scores.append(CiderD(others, corpus=references).score([captions[which] for captions in photos]))
    return np.concatenate(scores) if scores else np.zeros(0)


def acceptance_threshold(references: References) -> float:
    """The CIDEr-D that two thirds of the references reach; 0 if no photo has two references."""
    scores = people_scores(references)
    return float(np.quantile(scores, WEAKER)) if len(scores) else 0.0


def acceptable(hypotheses: Sequence[Tokens], references: References) -> np.ndarray:
    """(B,) whether each caption reaches the threshold that these references set."""
    return CiderD(references).score(hypotheses) >= acceptance_threshold(references)
