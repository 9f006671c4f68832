"""Which words of a caption name what, and where that is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from seesay.caption import Caption
from seesay.data.boxes import boxes_named
from seesay.data.boxes.naming import KIND_WORDS, singular
from seesay.data.records import CaptionRecord
from seesay.data.tokens import split_words
from seesay.geometry import Box
from seesay.metrics.localisation import NamedWord

NOUNS = frozenset(noun for nouns in KIND_WORDS.values() for noun in nouns)


def named_words(caption: Caption, record: CaptionRecord) -> tuple[NamedWord, ...]:
    """The words of any sentence about the photo that name something with a box."""
    found = []
    for position, word in enumerate(caption.words):
        if boxes := boxes_named(word.text, record.objects):
            found.append(_named(caption, record, position, boxes, word.text))
    return tuple(found)


def mentioned_words(caption: Caption, record: CaptionRecord, number: int) -> tuple[NamedWord, ...]:
    """The heads of the phrases of a reference that have boxes.

    Args:
        caption: the record's caption `number`, scored by a model.
        record: with its objects.
        number: of the caption.
    """
    # A displayed word may be two of `split_words` ("dog's").
    display = [i for i, word in enumerate(caption.words) for _ in split_words(word.text)]
    found = []
    for thing in record.objects:
        for which, word in thing.mentions:
            if which == number and word < len(display):
                position = display[word]
                noun = singular(caption.words[position].text)
                found.append(_named(caption, record, position, thing.boxes, noun))
    return tuple(sorted(found, key=lambda named: named.position))


def absent_words(caption: Caption, record: CaptionRecord) -> tuple[NamedWord, ...]:
    """Words that name a thing of a known kind which is in no reference and has no box; `boxes` are empty."""
    said = {singular(word) for reference in record.captions for word in split_words(reference)}
    drawn = {name for thing in record.objects for name in thing.names}
    found = []
    for position, word in enumerate(caption.words):
        noun = singular(word.text)
        if noun in NOUNS and noun not in said | drawn and not boxes_named(noun, record.objects):
            found.append(_named(caption, record, position, (), noun))
    return tuple(found)


def _named(caption: Caption, record: CaptionRecord, position: int, boxes: Sequence[Box], noun: str) -> NamedWord:
    word = caption.words[position]
    return NamedWord(record.id, singular(noun), word.attention, tuple(boxes), position, word.logprob)


def mentioned_captions(record: CaptionRecord) -> Iterable[int]:
    """Numbers of the record's captions that have phrases with boxes, in order, each once."""
    return sorted({number for thing in record.objects for number, _ in thing.mentions})
