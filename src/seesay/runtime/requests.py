"""Requests for sentences about encoded photos: the best, alternatives, samples, or a given one scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from seesay.bundle.format import Bundle
from seesay.data.tokens import CaptionTokenizer
from seesay.errors import BundleError, TextError, printable, whole_number
from seesay.runtime.confidence import USUAL, Judge, Preference, Said
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
        TextError: the rules allow no sentence.
    """
    try:
        results = request(engine, photos)
    except NotNumbersError:
        results = None
    if results is not None and not all(results):
        raise TextError("the rules allow no sentence")
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


def best(bundle: Bundle, judge: Judge | None, beam: int | None, rules: WordRules) -> Request:
    """Request the best sentence; see `CaptionModel.caption`.

    Args:
        bundle: the model's.
        judge: says which of the search's sentences is the best; None: the likeliest is.
        beam, rules: as there.
    """
    return alternatives(bundle, judge, 1, beam, rules)


def alternatives(bundle: Bundle, judge: Judge | None, n: int, beam: int | None, rules: WordRules) -> Request:
    """Request the `n` best sentences; see `CaptionModel.alternatives`, and `best` for the judge.

    If the search finds fewer, a second one, whose ended sentences keep their places, adds more after these.
    """
    n = whole_number("n", n)
    options = beam_options(bundle, beam, rules)
    options = replace(options, beam=max(options.beam, n))

    def ranked(photo: PhotoInput, sentences: list[Hypothesis]) -> list[Hypothesis]:
        if judge:
            sentences = by_confidence(bundle.tokenizer, judge, photo, sentences)
        return _distinct(bundle.tokenizer, sentences) if n > 1 else sentences

    def run(engine: Engine, photos: Sequence[PhotoInput]) -> list[list[Hypothesis]]:
        found = [*map(ranked, photos, engine.search(arrays_of(photos), options))]
        few = [i for i, sentences in enumerate(found) if len(sentences) < n]
        if few and all(found):
            more = engine.search(arrays_of([photos[i] for i in few]), options, keep_ended=True)
            for i, sentences in zip(few, more, strict=True):
                found[i] = _distinct(bundle.tokenizer, [*found[i], *ranked(photos[i], sentences)])
        return [sentences[:n] for sentences in found]

    return run


def by_confidence(
    tokenizer: CaptionTokenizer,
    judge: Judge,
    photo: PhotoInput,
    sentences: Sequence[Hypothesis],
    preference: Preference = USUAL,
) -> list[Hypothesis]:
    """A photo's sentences, the one first that should be the caption; see `Judge.ranked`."""
    if len(sentences) < 2:
        return list(sentences)
    said = [Said.of(tokenizer, sentence) for sentence in sentences]
    return [sentences[i] for i in judge.ranked(photo.evidence(judge), said, preference)]


def samples(bundle: Bundle, options: SampleOptions, rules: WordRules) -> Request:
    """Request samples; see `CaptionModel.sample`. The model's rules apply besides those of the options."""
    model_rules = bundle.search
    options = replace(
        options,
        max_words=min(options.max_words, model_rules.max_words),
        constraints=(*model_rules.constraints, *options.constraints),
    )
    options = with_rules(options, bundle.tokenizer, **rules)
    return lambda engine, photos: engine.sample(arrays_of(photos), options, [photo.key for photo in photos])


def scored(bundle: Bundle, text: str, strict: bool = True) -> Request:
    """Request the score of a given sentence; see `CaptionModel.score`."""
    tokens = tokens_of(bundle.tokenizer, text, "text", strict)
    return lambda engine, photos: [[sentence] for sentence in engine.score(arrays_of(photos), tokens)]


def beam_options(bundle: Bundle, beam: int | None, rules: WordRules) -> BeamOptions:
    """The options of a search with this bundle; see `CaptionModel.caption`."""
    options = bundle.search if beam is None else replace(bundle.search, beam=whole_number("beam", beam))
    return with_rules(options, bundle.tokenizer, **rules)


def _distinct(tokenizer: CaptionTokenizer, sentences: list[Hypothesis]) -> list[Hypothesis]:
    """Drop sentences with the text of an earlier one: a word may have several tokenisations."""
    texts: dict[str, Hypothesis] = {}
    for sentence in sentences:
        texts.setdefault(tokenizer.decode(sentence.tokens), sentence)
    return list(texts.values())


def arrays_of(photos: Sequence[PhotoInput]) -> list[Encoded]:
    """Photos as an engine takes them."""
    return [photo.arrays for photo in photos]
