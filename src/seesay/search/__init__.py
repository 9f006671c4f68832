"""Greedy search, beam search and sampling over an abstract step, for torch and numpy alike."""

from seesay.search.beam import Hypothesis, SearchOptions, beam_search
from seesay.search.sampling import Samples, sample

__all__ = ["Hypothesis", "Samples", "SearchOptions", "beam_search", "sample"]
