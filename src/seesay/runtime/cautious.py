"""Cautious captions: of a wide search's sentences and other forms of the best, the one that risks least.

Doubt costs more than in the choice of other captions, and the agreement of pairs of words counts for more.
A plainer form names a thing by what it is a kind of ("a boy" becomes "a child", or "a person"), a shorter form ends
before a preposition ("a dog is running" for "a dog is running through the snow").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from seesay.bundle.format import Bundle
from seesay.data.nouns import singular
from seesay.data.things import plainer, thing_of
from seesay.data.tokens import NEVER_WRITTEN, CaptionTokenizer
from seesay.runtime.confidence import Evidence, Judge, Preference
from seesay.runtime.encoded import PhotoInput
from seesay.runtime.engine import Engine
from seesay.runtime.requests import Request, arrays_of, beam_options, by_confidence
from seesay.runtime.word_rules import WordRules
from seesay.search import Hypothesis

BEAM = 24  # of the search, at least
FORMS = 3  # plainer forms that the decoder scores, at most
DOUBT = 0.5  # a word is replaced only if its thing is less likely than this to be there,
GAIN = 0.15  # and the plainer one more likely by this
CAUTIOUS = Preference(doubt=1.8, pairs=0.6)  # docs/experiments.md
SHORTEST = 5  # words of a shorter form, at least
# fmt: off
PLACES = frozenset((
    "with", "on", "in", "at", "near", "by", "over", "through", "across", "down", "along", "under", "behind", "beside",
    "next", "from", "into", "off", "around", "outside", "inside", "against", "while",
))
# fmt: on
"""What a shorter form may end before. Not "of", "to" or "and": these join what belongs together."""
OPEN = PLACES | {"a", "an", "the", "of", "to", "and", "is", "are"}  # what it may not end with

Sentence = tuple[int, ...]


def cautious_request(bundle: Bundle, judge: Judge, beam: int | None, rules: WordRules) -> Request:
    """Request the most cautious sentence; see `CaptionModel.caption`."""
    options = beam_options(bundle, beam, rules)
    options = replace(options, beam=max(options.beam, BEAM))
    may_change = not rules.get("prefix") and not rules.get("forbid") and not rules.get("constraints")

    def run(engine: Engine, photos: Sequence[PhotoInput]) -> list[list[Hypothesis]]:
        chosen = []
        for photo, found in zip(photos, engine.search(arrays_of(photos), options), strict=True):
            evidence, forms = photo.evidence(judge), []
            sentences = by_confidence(bundle.tokenizer, judge, photo, found)
            if may_change:
                forms = plainer_forms(bundle.tokenizer, judge, evidence, sentences)
                forms += shorter_forms(bundle.tokenizer, sentences[0].tokens)
            scored = [engine.score([photo.arrays], form)[0] for form in forms]
            chosen.append(by_confidence(bundle.tokenizer, judge, photo, [*found, *scored], CAUTIOUS)[:1])
        return chosen

    return run


def plainer_forms(
    tokenizer: CaptionTokenizer, judge: Judge, evidence: Evidence, sentences: Sequence[Hypothesis]
) -> list[Sentence]:
    """The best sentence with its doubtful things named more plainly, in tokens: all at once, then one by one."""
    best = sentences[0].tokens
    spans = tokenizer.words(best)
    if len(spans) != len(best):  # a model that writes pieces of words
        return []
    swaps: dict[int, int] = {}
    for place, (span, logprob) in enumerate(zip(spans, sentences[0].logprobs, strict=False)):
        there = judge.word_confidence(evidence, span.text, logprob)
        if there is not None and there < DOUBT:
            for word in _plainer_words(span.text):
                token = _token(tokenizer, word)
                likely = judge.word_confidence(evidence, word, logprob)
                if token is not None and likely is not None and likely > there + GAIN and token not in best:
                    swaps[place] = token
                    break
    forms = [swaps, *([{place: token} for place, token in swaps.items()] if len(swaps) > 1 else [])] if swaps else []
    return [_with_article(tokenizer, best, form) for form in forms[:FORMS]]


def shorter_forms(tokenizer: CaptionTokenizer, tokens: Sentence) -> list[Sentence]:
    """The beginnings of a sentence that could be a sentence, in tokens; the shortest first."""
    spans = tokenizer.words(tokens)
    ends = range(SHORTEST, len(spans))
    return [tokens[: spans[n].start] for n in ends if spans[n].text in PLACES and spans[n - 1].text not in OPEN]


def _token(tokenizer: CaptionTokenizer, word: str) -> int | None:
    """The id of a word that the model can write."""
    ids = tokenizer.encode(word)
    return ids[0] if len(ids) == 1 and ids[0] not in NEVER_WRITTEN else None


def _plainer_words(word: str) -> Iterator[str]:
    """Words for what the thing is a kind of, the nearest first; plural if the word is."""
    thing = thing_of(word)
    several = singular(word) != word.lower() and thing != word
    for name in plainer(thing) if thing else ():
        yield PLURALS.get(name, f"{name}s") if several else name


PLURALS = {"person": "people", "child": "children", "clothing": "clothing", "food": "food", "furniture": "furniture"}


def _with_article(tokenizer: CaptionTokenizer, tokens: Sentence, swaps: dict[int, int]) -> Sentence:
    """The tokens with some replaced, and "a" or "an" before them as their first letter wants."""
    changed = [swaps.get(place, token) for place, token in enumerate(tokens)]
    one, before_vowel = _token(tokenizer, "a"), _token(tokenizer, "an")
    for place in swaps:
        if place and one is not None and before_vowel is not None and changed[place - 1] in (one, before_vowel):
            vowel = tokenizer.token(changed[place])[0] in "aeiou"
            changed[place - 1] = before_vowel if vowel else one
    return tuple(changed)
