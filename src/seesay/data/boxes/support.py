"""Which things are on a photo, by its references and its boxes."""

from __future__ import annotations

from seesay.data.boxes.naming import KIND_WORDS
from seesay.data.records import BoxedObject, CaptionRecord
from seesay.data.things import supports
from seesay.data.tokens import split_words

MISLEADING = ("hot dog", "teddy bear")  # categories whose last word names another thing


def boxed_things(record: CaptionRecord) -> frozenset[str]:
    """The things that have boxes, and the kinds of these, as in `seesay.data.things`."""
    return supports(noun for thing in record.objects for noun in certain_nouns(thing))


def things_on(record: CaptionRecord) -> frozenset[str]:
    """The things that a reference names or that have boxes, and the kinds of these."""
    return supports(word for text in record.captions for word in split_words(text)) | boxed_things(record)


def certain_nouns(thing: BoxedObject) -> frozenset[str]:
    """The nouns that are right for a thing with a box.

    `thing.names` are all nouns that may name it. For a category of COCO these are the words for
    anything of the kind, and only the category's own name is certain: a "person" need not be a
    "woman".
    """
    if thing.names != KIND_WORDS.get(thing.kind):  # the nouns of a phrase, or a category without such words
        return thing.names | {thing.kind}
    return frozenset() if thing.kind in MISLEADING else frozenset({thing.kind.split()[-1]})
