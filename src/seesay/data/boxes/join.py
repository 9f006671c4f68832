"""Assigning boxes to records, by the photo's file name and the captions' text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path

from seesay.data.boxes.entities import is_entities, read_entities
from seesay.data.boxes.instances import instance_files, read_instances
from seesay.data.boxes.source import BoxFile, FoundObject, Mention
from seesay.data.records import BoxedObject, CaptionRecord, Dataset, Problem
from seesay.data.split_lists import photo_number
from seesay.data.text import count_of
from seesay.data.tokens import split_words
from seesay.errors import DataError

SIMILAR = 0.8  # two sentences with at least this share of equal words count as copies


def read_boxes(paths: Sequence[Path | str] | Path | str, dataset: Dataset) -> Dataset:
    """Add boxes to a data set, and a note for each source with the number of matches.

    Photos are joined by the stem of their file name, or by Flickr's or COCO's number in it
    (Flickr30k's `1000268201` is Flickr8k's `1000268201_693b08cb0e`); phrases by the text of their
    sentence.

    Args:
        paths: folders of Flickr30k Entities, COCO's instances files, or folders that hold those.
        dataset: the data set.

    Raises:
        DataError: a path has no boxes, or a file is damaged.
    """
    given = [paths] if isinstance(paths, str | Path) else paths
    objects: dict[str, list[BoxedObject]] = {}
    problems = list(dataset.problems)
    for path in (Path(path).expanduser() for path in given):
        source = _read(path)
        problems += [*source.problems, _match(path, source, dataset.records, objects)]
    records = (replace(record, objects=(*record.objects, *objects.get(record.id, ()))) for record in dataset.records)
    return replace(dataset, records=tuple(records), problems=tuple(problems))


def _read(path: Path) -> BoxFile:
    def label(file: Path) -> str:
        return (Path(path.name) / file.relative_to(path)).as_posix() if file != path else path.name

    if is_entities(path):
        return read_entities(path, label)
    if files := instance_files(path):
        sources = [read_instances(file, label) for file in files]
        objects: dict[str, list[FoundObject]] = {}
        for source in sources:
            for name, things in source.objects.items():
                objects.setdefault(name, []).extend(things)
        return BoxFile(objects, tuple(problem for source in sources for problem in source.problems))
    there = "no such file or folder" if not path.exists() else "no boxes found"
    raise DataError(
        f"{path}: {there}; expected a folder of Flickr30k Entities (Sentences and Annotations) or of "
        "COCO's instances_*.json, or such a file"
    )


def _match(
    path: Path,
    source: BoxFile,
    records: Iterable[CaptionRecord],
    objects: dict[str, list[BoxedObject]],
) -> Problem:
    """Add the objects of each record to `objects` by its id, and report the number of matches."""
    numbers = {photo_number(f"{name}.jpg"): name for name in source.objects}
    numbers.pop("", None)
    used: set[str] = set()
    named = mentioned = 0
    for record in records:
        stem = record.image.stem
        name = stem if stem in source.objects else numbers.get(photo_number(record.image.name), "")
        if name not in source.objects:
            continue
        used.add(name)
        places = _Places(record)
        things = [_placed(thing, places) for thing in source.objects[name]]
        mentions = [mention for thing in source.objects[name] for mention in thing.mentions]
        named += sum(bool(places.of(mention)) for mention in mentions)
        mentioned += len(mentions)
        # the data set may hold them already
        known = {(thing.kind, thing.boxes) for thing in record.objects}
        objects.setdefault(record.id, []).extend(t for t in things if (t.kind, t.boxes) not in known)
    boxes = sum(len(thing.boxes) for name in used for thing in source.objects[name])
    phrases = f", {named:,} of {mentioned:,} phrases found in captions" if mentioned else ""
    what = f"{count_of(len(used), 'photo')} of {len(source.objects):,} matched, with {boxes:,} boxes{phrases}"
    kind = "note" if used else "error"
    return Problem(kind, f"boxes {path.name}", what)


class _Places:
    """The positions of a sentence's words in a record's captions.

    Copies of a data set differ in hyphens and corrected letters, so a sentence that equals no
    caption is aligned, word by word, with the most similar one.
    """

    def __init__(self, record: CaptionRecord) -> None:
        self._captions = [tuple(split_words(caption)) for caption in record.captions]
        self._known: dict[tuple[str, ...], list[dict[int, int]]] = {}

    def of(self, mention: Mention) -> list[tuple[int, int]]:
        """(caption, word) for each caption that contains the sentence; [] if none is similar."""
        if mention.words not in self._known:
            self._known[mention.words] = self._aligned(mention.words)
        places = enumerate(self._known[mention.words])
        return [(number, words[mention.word]) for number, words in places if mention.word in words]

    def _aligned(self, sentence: tuple[str, ...]) -> list[dict[int, int]]:
        """For each caption a mapping from word indices of the sentence to those of the caption."""
        if sentence in self._captions:
            same = {number: number for number in range(len(sentence))}
            return [same if caption == sentence else {} for caption in self._captions]
        pieces, word_of_piece = _pieces(sentence)
        alignment: list[dict[int, int]] = [{} for _ in self._captions]
        best_ratio = SIMILAR
        for number, caption in enumerate(self._captions):
            caption_pieces, caption_word_of_piece = _pieces(caption)
            matcher = SequenceMatcher(None, pieces, caption_pieces, autojunk=False)
            if (ratio := matcher.ratio()) > best_ratio:
                best_ratio = ratio
                alignment = [{} for _ in self._captions]
                for block in matcher.get_matching_blocks():
                    for step in range(block.size):
                        alignment[number][word_of_piece[block.a + step]] = caption_word_of_piece[block.b + step]
        return alignment


def _pieces(words: Sequence[str]) -> tuple[list[str], list[int]]:
    """Words split at hyphens, and the index of each piece's word."""
    pieces = [(piece, number) for number, word in enumerate(words) for piece in word.split("-")]
    return [piece for piece, _ in pieces], [number for _, number in pieces]


def _placed(thing: FoundObject, places: _Places) -> BoxedObject:
    """Convert a thing's mentions into indices of the record's captions; others are dropped."""
    mentions = [place for mention in thing.mentions for place in places.of(mention)]
    return BoxedObject(thing.kind, tuple(thing.boxes), frozenset(thing.names), tuple(mentions))
