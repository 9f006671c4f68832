"""Beam search, sampling and scoring over an abstract step: one implementation for torch and numpy.

`decode.py` is the loop that all of them share, `constraints.py` what every sentence keeps to.
"""

from seesay.search.beam import BeamOptions, beam_search
from seesay.search.constraints import Constraint, Forbidden, NoRepeatedNgrams, NoRepeatedWords, Rules
from seesay.search.hypothesis import Hypothesis
from seesay.search.sampling import SampleOptions, sample
from seesay.search.scoring import score
from seesay.search.step import NotNumbersError, StepModel

__all__ = [
    "BeamOptions",
    "Constraint",
    "Forbidden",
    "Hypothesis",
    "NoRepeatedNgrams",
    "NoRepeatedWords",
    "NotNumbersError",
    "Rules",
    "SampleOptions",
    "StepModel",
    "beam_search",
    "sample",
    "score",
]
