"""Finding the words of a caption that name things, and the boxes of these things."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from seesay.caption import Caption
from seesay.data.boxes import boxes_named
from seesay.data.boxes.naming import KIND_WORDS
from seesay.data.nouns import singular
from seesay.data.records import CaptionRecord
from seesay.data.tokens import split_words
from seesay.geometry import Box
from seesay.metrics.localisation import NamedWord

NOUNS = frozenset(noun for nouns in KIND_WORDS.values() for noun in nouns)


def named_words(caption: Caption, record: CaptionRecord) -> tuple[NamedWord, ...]:
    """The words of a caption that name something with a box."""
    words = []
    for position, word in enumerate(caption.words):
        if boxes := boxes_named(word.text, record.objects):
            words.append(_named(caption, record, position, boxes, word.text))
    return tuple(words)


def mentioned_words(caption: Caption, record: CaptionRecord, number: int) -> tuple[NamedWord, ...]:
    """The heads of those phrases of a reference caption that have boxes.

    Args:
        caption: the record's caption `number`, scored by a model.
        record: the photo's record, with its objects.
        number: the number of the caption.
    """
    # A displayed word may be two of `split_words` ("dog's").
    display_index = [i for i, word in enumerate(caption.words) for _ in split_words(word.text)]
    words = []
    for thing in record.objects:
        for which, word in thing.mentions:
            if which == number and word < len(display_index):
                position = display_index[word]
                noun = singular(caption.words[position].text)
                words.append(_named(caption, record, position, thing.boxes, noun))
    return tuple(sorted(words, key=lambda named: named.position))


def absent_words(caption: Caption, record: CaptionRecord) -> tuple[NamedWord, ...]:
    """Words for things of known kinds that neither references nor boxes contain.

    Their `boxes` are empty.
    """
    reference_nouns = {singular(word) for reference in record.captions for word in split_words(reference)}
    boxed_nouns = {name for thing in record.objects for name in thing.names}
    words = []
    for position, word in enumerate(caption.words):
        noun = singular(word.text)
        if noun in NOUNS and noun not in reference_nouns | boxed_nouns and not boxes_named(noun, record.objects):
            words.append(_named(caption, record, position, (), noun))
    return tuple(words)


def _named(caption: Caption, record: CaptionRecord, position: int, boxes: Sequence[Box], noun: str) -> NamedWord:
    word = caption.words[position]
    return NamedWord(record.id, singular(noun), word.attention, tuple(boxes), position, word.logprob)


def mentioned_captions(record: CaptionRecord) -> Iterable[int]:
    """Sorted indices of the record's captions with phrases that have boxes."""
    return sorted({number for thing in record.objects for number, _ in thing.mentions})
