"""Scoring: how likely a given sentence is, and where the model looks while it reads it."""

from __future__ import annotations

from collections.abc import Sequence

from seesay.search.beam import BeamOptions, beam_search
from seesay.search.hypothesis import Hypothesis
from seesay.search.step import StepModel


def score(model: StepModel, tokens: Sequence[int]) -> list[Hypothesis]:
    """The sentence of these tokens for each photo: a greedy search that has no choice, so it is scored by `step` too.

    Args:
        model: the decoder, and where it begins.
        tokens: one or more ids, without start and end; ids that are never written may be among them.

    Returns:
        For each photo the sentence, with the log-probability and the attention of each token.

    Raises:
        ValueError: no tokens.
        NotNumbersError: the step gave log-probabilities that are not numbers.
    """
    options = BeamOptions(beam=1, max_words=len(tokens), prefix=tuple(tokens))
    return [sentence for [sentence] in beam_search(model, options)]
