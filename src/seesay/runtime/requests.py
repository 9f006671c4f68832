"""Requests for sentences about encoded photos: the best, alternatives, samples, or a given one scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from seesay.bundle.format import Bundle
from seesay.data.tokens import CaptionTokenizer
from seesay.errors import BundleError, printable, whole_number
from seesay.runtime.encoded import PhotoInput
from seesay.runtime.engine import Engine
from seesay.runtime.sessions import Encoded
from seesay.runtime.word_rules import WordRules, tokens_of, with_rules
from seesay.search import BeamOptions, Hypothesis, NotNumbersError, SampleOptions
from seesay.search.step import UNLIKELIEST

Request = Callable[[Engine, Sequence[PhotoInput]], list[list[Hypothesis]]]  # for each photo its sentences

ROUNDING = 1e-3  # tolerance: log-probabilities up to this above 0, attention weights this far outside [0, 1]


def run_request(
    request: Request, engine: Engine, photos: Sequence[PhotoInput], bundle: Bundle
) -> list[list[Hypothesis]]:
    """Run a request and check its results.

    Raises:
        BundleError: the bundle's graphs gave log-probabilities or attention weights that are NaN or out of range.
    """
    try:
        results = request(engine, photos)
    except NotNumbersError:
        results = None
    if results is None or not all(map(_is_valid, chain.from_iterable(results))):
        raise BundleError(
            f"bundle {printable(bundle.folder)}: its graphs give no numbers (log-probabilities or attention that are "
            "NaN, infinite or out of range)"
        )
    return results


def _is_valid(sentence: Hypothesis) -> bool:
    # comparisons with NaN are False; minus infinity has been clipped to UNLIKELIEST
    logprobs = all(UNLIKELIEST < logprob <= ROUNDING for logprob in sentence.logprobs)
    low, high = np.min(sentence.attention, initial=0.0), np.max(sentence.attention, initial=0.0)
    return logprobs and bool(low >= -ROUNDING and high <= 1 + ROUNDING)


def best(bundle: Bundle, beam: int | None, rules: WordRules) -> Request:
    """Request the best sentence; see `CaptionModel.caption`."""
    options = _beam_options(bundle, beam, rules)
    return lambda engine, photos: engine.search(_arrays(photos), options)


def alternatives(bundle: Bundle, n: int, beam: int | None, rules: WordRules) -> Request:
    """Request the `n` best sentences; see `CaptionModel.alternatives`."""
    n = whole_number("n", n)
    options = _beam_options(bundle, beam, rules)
    options = replace(options, beam=max(options.beam, n))
    if n == 1:
        return lambda engine, photos: engine.search(_arrays(photos), options)
    return lambda engine, photos: [
        _distinct(bundle.tokenizer, sentences)[:n]
        for sentences in engine.search(_arrays(photos), options, options.beam)
    ]


def samples(bundle: Bundle, options: SampleOptions, rules: WordRules) -> Request:
    """Request samples; see `CaptionModel.sample`. The model's rules apply besides those of the options."""
    model_rules = bundle.search
    options = replace(
        options,
        max_words=min(options.max_words, model_rules.max_words),
        constraints=(*model_rules.constraints, *options.constraints),
    )
    options = with_rules(options, bundle.tokenizer, **rules)
    return lambda engine, photos: engine.sample(_arrays(photos), options, [photo.key for photo in photos])


def scored(bundle: Bundle, text: str, strict: bool = True) -> Request:
    """Request the score of a given sentence; see `CaptionModel.score`."""
    tokens = tokens_of(bundle.tokenizer, text, "text", strict)
    return lambda engine, photos: [[sentence] for sentence in engine.score(_arrays(photos), tokens)]


def _beam_options(bundle: Bundle, beam: int | None, rules: WordRules) -> BeamOptions:
    options = bundle.search if beam is None else replace(bundle.search, beam=whole_number("beam", beam))
    return with_rules(options, bundle.tokenizer, **rules)


def _distinct(tokenizer: CaptionTokenizer, sentences: list[Hypothesis]) -> list[Hypothesis]:
    """Drop sentences with the text of an earlier one: a word may have several tokenisations."""
    texts: dict[str, Hypothesis] = {}
    for sentence in sentences:
        texts.setdefault(tokenizer.decode(sentence.tokens), sentence)
    return list(texts.values())


def _arrays(photos: Sequence[PhotoInput]) -> list[Encoded]:
    return [photo.arrays for photo in photos]
