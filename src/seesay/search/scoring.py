"""Scoring: the log-probability of a given sentence, and the attention at each of its words."""

from __future__ import annotations

from collections.abc import Sequence

from seesay.search.beam import BeamOptions, beam_search
from seesay.search.hypothesis import Hypothesis
from seesay.search.step import StepModel


def score(model: StepModel, tokens: Sequence[int]) -> list[Hypothesis]:
    """Score one sentence for each photo, by a greedy search whose tokens are all forced.

    Args:
        model: the decoder.
        tokens: one or more ids, without start and end; tokens that no search writes are allowed.

    Returns:
        The sentence for each photo, with the log-probability and the attention of each token.

    Raises:
        ValueError: no tokens.
        NotNumbersError: the step gave log-probabilities that are NaN or +infinite.
    """
    options = BeamOptions(beam=1, max_words=len(tokens), prefix=tuple(tokens))
    return [sentence for [sentence] in beam_search(model, options)]
