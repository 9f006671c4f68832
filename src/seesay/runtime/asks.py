"""What can be asked of photos that are encoded: sentences of each, by one of the searches."""

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
from seesay.runtime.rules import Wishes, tokens_of, with_wishes
from seesay.runtime.sessions import Encoded
from seesay.search import BeamOptions, Hypothesis, NotNumbersError, SampleOptions
from seesay.search.step import UNLIKELIEST

Ask = Callable[[Engine, Sequence[PhotoInput]], list[list[Hypothesis]]]  # for each photo one sentence or several

ROUNDING = 1e-3  # what a log-probability may have above zero, and a share of the attention beyond 0 and 1


def answer(ask: Ask, engine: Engine, photos: Sequence[PhotoInput], bundle: Bundle) -> list[list[Hypothesis]]:
    """What an ask gives.

    Raises:
        BundleError: log-probabilities or attention are no numbers, or no such ones: the bundle's graphs are to blame.
    """
    try:
        found = ask(engine, photos)
    except NotNumbersError:
        found = None
    if found is None or not all(map(_has_numbers, chain.from_iterable(found))):
        raise BundleError(
            f"bundle {printable(bundle.folder)}: its graphs give no numbers (log-probabilities or attention that are "
            "NaN, infinite or out of range)"
        )
    return found


def _has_numbers(sentence: Hypothesis) -> bool:
    # no comparison holds for NaN, and what a model gave as minus infinity is UNLIKELIEST here
    likely = all(UNLIKELIEST < logprob <= ROUNDING for logprob in sentence.logprobs)
    low, high = np.min(sentence.attention, initial=0.0), np.max(sentence.attention, initial=0.0)
    return likely and bool(low >= -ROUNDING and high <= 1 + ROUNDING)


def best(bundle: Bundle, beam: int | None, wishes: Wishes) -> Ask:
    """The best sentence; see `CaptionModel.caption`."""
    options = _beam_options(bundle, beam, wishes)
    return lambda engine, photos: engine.search(_arrays(photos), options)


def alternatives(bundle: Bundle, n: int, beam: int | None, wishes: Wishes) -> Ask:
    """The `n` best sentences; see `CaptionModel.alternatives`."""
    n = whole_number("n", n)
    options = _beam_options(bundle, beam, wishes)
    options = replace(options, beam=max(options.beam, n))
    if n == 1:
        return lambda engine, photos: engine.search(_arrays(photos), options)
    return lambda engine, photos: [
        _different(bundle.tokenizer, sentences)[:n]
        for sentences in engine.search(_arrays(photos), options, options.beam)
    ]


def samples(bundle: Bundle, options: SampleOptions, wishes: Wishes) -> Ask:
    """Sentences drawn at random; see `CaptionModel.sample`. The model's own rules apply beside those of the options."""
    own = bundle.search
    options = replace(
        options,
        max_words=min(options.max_words, own.max_words),
        constraints=(*own.constraints, *options.constraints),
    )
    options = with_wishes(options, bundle.tokenizer, **wishes)
    return lambda engine, photos: engine.sample(_arrays(photos), options, [photo.key for photo in photos])


def scored(bundle: Bundle, text: str, strict: bool = True) -> Ask:
    """One given sentence; see `CaptionModel.score`."""
    tokens = tokens_of(bundle.tokenizer, text, "text", strict)
    return lambda engine, photos: [[sentence] for sentence in engine.score(_arrays(photos), tokens)]


def _beam_options(bundle: Bundle, beam: int | None, wishes: Wishes) -> BeamOptions:
    options = bundle.search if beam is None else replace(bundle.search, beam=whole_number("beam", beam))
    return with_wishes(options, bundle.tokenizer, **wishes)


def _different(tokenizer: CaptionTokenizer, sentences: list[Hypothesis]) -> list[Hypothesis]:
    """Without those that read as one before them does: a word can be written in other pieces."""
    texts: dict[str, Hypothesis] = {}
    for sentence in sentences:
        texts.setdefault(tokenizer.decode(sentence.tokens), sentence)
    return list(texts.values())


def _arrays(photos: Sequence[PhotoInput]) -> list[Encoded]:
    return [photo.arrays for photo in photos]
