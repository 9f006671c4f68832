"""Greedy and beam search over an abstract step, for torch and numpy alike."""

from seesay.search.beam import Hypothesis, SearchOptions, beam_search

__all__ = ["Hypothesis", "SearchOptions", "beam_search"]
