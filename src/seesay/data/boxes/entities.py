"""Flickr30k Entities (Plummer et al. 2015, https://arxiv.org/abs/1505.04870) as published.

`Sentences/NAME.txt` has a caption in each line, with phrases marked `[/EN#283585/people A young
child]`;
`Annotations/NAME.xml` has the boxes of each entity. Entity 0 and `notvisual` phrases have none, and
neither have scenes (`<scene>1</scene>`) and things without a place (`<nobndbox>1</nobndbox>`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from seesay.data.boxes.source import BoxFile, FoundObject, Mention, fraction_box
from seesay.data.nouns import singular
from seesay.data.records import Problem
from seesay.data.text import read_lines
from seesay.data.tokens import split_words
from seesay.errors import DataError
from seesay.geometry import Box

SENTENCES, ANNOTATIONS = "Sentences", "Annotations"
_PHRASE = re.compile(r"\[/EN#(\d+)((?:/[^\s/\]]+)+)\s+([^\]]*)\]")


class _Phrase(NamedTuple):
    entity: str
    kind: str
    mention: Mention
    head: str


def is_entities(folder: Path) -> bool:
    """Whether a folder holds Flickr30k Entities."""
    return (folder / SENTENCES).is_dir() and (folder / ANNOTATIONS).is_dir()


def read_entities(folder: Path, label: Callable[[Path], str]) -> BoxFile:
    """Read the boxes of all photos of a folder.

    Files that cannot be read are left out and reported.

    Args:
        folder: holds `Sentences` and `Annotations`.
        label: a file's name in problems.
    """
    objects: dict[str, list[FoundObject]] = {}
    problems: list[Problem] = []
    empty = 0
    for file in sorted((folder / ANNOTATIONS).glob("*.xml")):
        try:
            boxes, bad = _boxes(file)
            phrases = list(_phrases(folder / SENTENCES / f"{file.stem}.txt"))
        except DataError as error:
            reason = str(error).removeprefix(f"{file}: ")
            problems.append(Problem("error", label(file), f"{reason}: its boxes are left out"))
            continue
        empty += bad
        objects[file.stem] = _objects(boxes, phrases)
    if empty:
        what = f"boxes without area inside their photo, left out: {empty:,}"
        problems.append(Problem("note", label(folder), what))
    return BoxFile(objects, tuple(problems))


def _objects(boxes: dict[str, list[Box]], phrases: list[_Phrase]) -> list[FoundObject]:
    """The entities that have boxes and are named, in the order in which they are named."""
    objects: dict[str, FoundObject] = {}
    for phrase in phrases:
        if phrase.entity in boxes:
            thing = objects.setdefault(phrase.entity, FoundObject(phrase.kind, boxes[phrase.entity]))
            thing.names.add(phrase.head)
            thing.mentions.append(phrase.mention)
    return list(objects.values())


def _phrases(file: Path) -> Iterator[_Phrase]:
    for line in read_lines(file):
        # Text outside and inside of phrases is split piece by piece, because a phrase's words are
        # counted.
        words: list[str] = []
        heads: list[tuple[re.Match[str], int]] = []
        position = 0
        for match in _PHRASE.finditer(line):
            words += split_words(line[position : match.start()])
            inside = split_words(match[3])
            words += inside
            position = match.end()
            if inside and match[1] != "0":
                # The head of a phrase is its last word, as in English noun phrases without a
                # preposition; Entities splits phrases at prepositions.
                heads.append((match, len(words) - 1))
        words += split_words(line[position:])
        sentence = tuple(words)
        for match, head in heads:
            kind = match[2].split("/")[1]
            yield _Phrase(match[1], kind, Mention(sentence, head), singular(sentence[head]))


def _boxes(file: Path) -> tuple[dict[str, list[Box]], int]:
    """Boxes by entity, and the number of boxes without area inside the photo."""
    try:
        root = ElementTree.parse(file).getroot()
        size = (_number(root, "size/width"), _number(root, "size/height"))
        if min(size) <= 0:
            raise ValueError(f"a photo of {size[0]:g} x {size[1]:g} pixels")
        boxes: dict[str, list[Box]] = {}
        empty = 0
        for item in root.iter("object"):
            if (corners := item.find("bndbox")) is None:
                continue
            sides = ("xmin", "ymin", "xmax", "ymax")
            box = fraction_box(tuple(_number(corners, side) for side in sides), size)
            if box is None:
                empty += 1
                continue
            for name in item.findall("name"):  # one box may show several entities
                boxes.setdefault((name.text or "").strip(), []).append(box)
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{file}: not an annotation of Flickr30k Entities ({error})") from None
    return boxes, empty


def _number(item: ElementTree.Element, name: str) -> float:
    text = item.findtext(name)
    if text is None:
        raise ValueError(f"no <{name}>")
    return float(text)
