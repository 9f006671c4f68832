"""Beam search, sampling and scoring of sentences: one implementation for torch and numpy.

A decoder is a function that computes one step (`step.py`). `decode.py` has the loop that all
searches share, and `constraints.py` the rules that they obey.
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
