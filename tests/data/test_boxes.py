"""Readers of boxes: Flickr30k Entities and COCO instances as published, joined with the photos' captions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import SHARED, needs_shared

from seesay.data.boxes import boxes_named, read_boxes
from seesay.data.boxes.naming import KIND_WORDS
from seesay.data.boxes.support import boxed_things, things_on
from seesay.data.nouns import singular
from seesay.data.records import BoxedObject, CaptionRecord, Dataset
from seesay.errors import DataError

SENTENCES = """[/EN#1/people Two young boys] throw [/EN#2/other a red ball] over [/EN#3/other/scene a beach] .
[/EN#1/people Kids] play with [/EN#2/other it] and [/EN#0/notvisual the wind] , [/EN#4/clothing/people a "hat"] on .
A sentence about nothing .
"""
ANNOTATION = """<annotation><filename>77.jpg</filename>
<size><width>200</width><height>100</height><depth>3</depth></size>
<object><name>1</name><bndbox><xmin>20</xmin><ymin>10</ymin><xmax>60</xmax><ymax>90</ymax></bndbox></object>
<object><name>1</name><name>4</name>
<bndbox><xmin>100</xmin><ymin>10</ymin><xmax>140</xmax><ymax>50</ymax></bndbox></object>
<object><name>2</name><bndbox><xmin>180</xmin><ymin>-5</ymin><xmax>240</xmax><ymax>25</ymax></bndbox></object>
<object><name>2</name><bndbox><xmin>50</xmin><ymin>60</ymin><xmax>50</xmax><ymax>80</ymax></bndbox></object>
<object><name>3</name><scene>1</scene><nobndbox>0</nobndbox></object>
<object><name>5</name><scene>0</scene><nobndbox>1</nobndbox></object></annotation>"""
CAPTIONS = (
    "Two young boys throw a red ball over a beach.",
    'Kids play with it and the wind, a "hat" on.',
    "Nobody drew boxes for this one.",
)


def dataset(*names: str, captions: tuple[str, ...] = CAPTIONS) -> Dataset:
    records = (CaptionRecord(Path(name).stem, Path("photos") / name, captions, "train") for name in names)
    return Dataset("folder", tuple(records))


@pytest.fixture
def entities(tmp_path: Path) -> Path:
    folder = tmp_path / "Entities"
    for name, text in (("Sentences/77.txt", SENTENCES), ("Annotations/77.xml", ANNOTATION)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_entities_as_published(entities: Path):
    """Several boxes of an entity, one box of several, scenes and things without a box, other sentences."""
    found = read_boxes(entities, dataset("77.jpg", "78.jpg"))
    boys, ball, hat = found.records[0].objects
    assert boys.kind == "people" and boys.names == {"boy", "kid"}
    assert boys.boxes == ((0.1, 0.1, 0.3, 0.9), (0.5, 0.1, 0.7, 0.5))
    assert boys.mentions == ((0, 2), (1, 0))
    assert ball.boxes == ((0.9, 0.0, 1.0, 0.25),), "cut at the photo's edge; without area left out"
    assert ball.names == {"ball", "it"} and ball.mentions == ((0, 6), (1, 3))
    assert hat.boxes == ((0.5, 0.1, 0.7, 0.5),) and hat.mentions == ((1, 8),)
    assert found.records[1].objects == ()
    said = [str(problem) for problem in found.problems]
    assert any("left out: 1" in line for line in said)
    assert any("1 photo of 1 matched, with 4 boxes, 5 of 5 phrases found" in line for line in said)


def test_photos_are_joined_by_flickrs_number_too(entities: Path):
    for name in ("Sentences/1000268201.txt", "Annotations/1000268201.xml"):
        source = next((entities / name).parent.glob("77.*"))
        source.rename(entities / name)
    found = read_boxes([entities], dataset("1000268201_693b08cb0e.jpg", "77.jpg"))
    assert len(found.records[0].objects) == 3 and not found.records[1].objects


def test_sentences_that_the_captions_lack_are_counted(entities: Path):
    found = read_boxes(entities, dataset("77.jpg", captions=CAPTIONS[1:]))
    assert "3 of 5 phrases" in str(found.problems[-1])
    assert found.records[0].objects[0].mentions == ((0, 0),)


def test_a_copy_with_other_hyphens_and_letters_is_the_same_sentence(entities: Path):
    captions = ("Two-young boys threw a red ball over a beach.", "Kids play with a ball and a hat.")
    found = read_boxes(entities, dataset("77.jpg", captions=captions))
    boys, ball, hat = found.records[0].objects
    assert boys.mentions == ((0, 1),) and ball.mentions == ((0, 5),) and not hat.mentions
    assert "2 of 5 phrases" in str(found.problems[-1])


def test_damaged_annotations_are_named_and_left_out(entities: Path):
    (entities / "Annotations" / "bad.xml").write_text("<annotation><size>", encoding="utf-8")
    (entities / "Annotations" / "lone.xml").write_text(ANNOTATION, encoding="utf-8")
    lines = [str(problem) for problem in read_boxes(entities, dataset("77.jpg")).problems]
    assert any("Entities/Annotations/bad.xml" in line and "left out" in line for line in lines)
    assert any("lone" in line for line in lines)


def write_instances(path: Path, **changes: object) -> Path:
    content = {
        "images": [
            {"id": 5, "file_name": "000000000042.jpg", "width": 200, "height": 100},
            {"id": "x", "file_name": "other.jpg", "width": 0, "height": 10},
        ],
        "categories": [{"id": 1, "name": "person"}, {"id": 37, "name": "sports ball"}, {"id": 9, "name": "kite"}],
        "annotations": [
            {"image_id": 5, "category_id": 1, "bbox": [20, 10, 40, 80], "iscrowd": 0},
            {"image_id": 5, "category_id": 1, "bbox": [100, 0, 100, 100], "iscrowd": 1},
            {"image_id": 5, "category_id": 37, "bbox": [0, 0, 20, 20]},
            {"image_id": 5, "category_id": 9, "bbox": [0, 0, 2, 2]},
            {"image_id": 5, "category_id": 99, "bbox": [0, 0, 20, 20]},
            {"image_id": "x", "category_id": 1, "bbox": [0, 0, 20, 20]},
            {"image_id": 5, "category_id": 1, "bbox": [0, 0, 0, 20]},
            {"image_id": 5, "category_id": 1, "bbox": "everywhere"},
            "nothing",
        ],
    }
    path.write_text(json.dumps(content | changes), encoding="utf-8")
    return path


def test_coco_instances_as_published(tmp_path: Path):
    """One object a category, crowds included; what makes no sense is counted; the year in a name is no obstacle."""
    write_instances(tmp_path / "instances_val2017.json")
    for given in (tmp_path, tmp_path / "instances_val2017.json"):
        found = read_boxes(given, dataset("COCO_val2014_000000000042.jpg"))
        people, ball, kite = found.records[0].objects
        assert people.boxes == ((0.1, 0.1, 0.3, 0.9), (0.5, 0.0, 1.0, 1.0))
        assert {"man", "woman", "child"} < people.names
        assert "ball" in ball.names and kite.names == {"kite"} and not kite.mentions
        assert any("left out: 5" in str(problem) for problem in found.problems)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda folder: folder / "nowhere", "no such file or folder; expected"),
        (lambda folder: folder, "no boxes found; expected"),
        (lambda folder: write_instances(folder / "instances_a.json", categories=3), "expected the lists"),
    ],
)
def test_what_holds_no_boxes_is_an_error(tmp_path: Path, make, said: str):
    with pytest.raises(DataError, match=said):
        read_boxes(make(tmp_path), dataset("a.jpg"))


def test_boxes_of_other_photos_are_an_error_in_the_report(entities: Path):
    problem = read_boxes(entities, dataset("a.jpg")).problems[-1]
    assert problem.kind == "error" and "0 photos of 1 matched" in problem.what


MAN = BoxedObject("people", ((0.1, 0.1, 0.2, 0.2),), frozenset({"man"}))
WOMAN = BoxedObject("people", ((0.5, 0.5, 0.9, 0.9),), frozenset({"woman"}))
DOG = BoxedObject("animals", ((0.3, 0.3, 0.4, 0.4),), frozenset({"dog"}))


@pytest.mark.parametrize(
    ("word", "objects", "named"),
    [
        ("man", [MAN, WOMAN, DOG], [MAN]),
        ("Women", [MAN, WOMAN, DOG], [WOMAN]),
        ("people", [MAN, WOMAN, DOG], [MAN, WOMAN]),
        ("guy", [MAN, DOG], [MAN]),
        ("guy", [MAN, WOMAN], []),  # which of them is not clear
        ("puppy", [MAN, DOG], [DOG]),
        ("dogs", [DOG, DOG], [DOG, DOG]),
        ("runs", [MAN, DOG], []),
        ("cat", [], []),
    ],
)
def test_what_a_word_names(word, objects, named):
    assert boxes_named(word, objects) == tuple(box for thing in named for box in thing.boxes)


@pytest.mark.parametrize(
    ("thing", "there", "not_there"),
    [
        (DOG, "dog animal", "cat puppy"),
        (WOMAN, "woman person", "man girl"),
        (BoxedObject("people", MAN.boxes, frozenset({"welder"})), "person", "man"),
        (BoxedObject("person", MAN.boxes, KIND_WORDS["person"]), "person", "man woman boy"),
        (BoxedObject("sports ball", MAN.boxes, KIND_WORDS["sports ball"]), "ball", "football"),
        (BoxedObject("hot dog", MAN.boxes, KIND_WORDS["hot dog"]), "", "dog animal"),
        (BoxedObject("pizza", MAN.boxes, frozenset({"pizza"})), "pizza food", "dog"),
    ],
)
def test_what_a_box_supports(thing: BoxedObject, there: str, not_there: str):
    record = CaptionRecord("a", Path("a.jpg"), ("A bench .",), "dev", (thing,))
    supported = things_on(record)
    assert supported >= {"bench", *there.split()} and not supported & set(not_there.split())
    assert boxed_things(record) == supported - things_on(replace(record, objects=()))


@pytest.mark.parametrize(
    ("word", "noun"),
    [
        ("dogs", "dog"), ("Children", "child"), ("puppies", "puppy"), ("benches", "bench"),
        ("dresses", "dress"), ("grass", "grass"), ("bus", "bus"), ("buses", "bus"), ("shorts", "shorts"),
        ("horses", "horse"), ("houses", "house"), ("glasses", "glasses"), ("boxes", "box"),
    ],
)  # fmt: skip
def test_singulars(word, noun):
    assert singular(word) == noun


@needs_shared
def test_real_boxes_are_nearly_all_matched():
    from seesay.data.readers import read_dataset

    data = read_boxes(SHARED / "coco_part", read_dataset(SHARED / "coco_part"))
    assert sum(bool(record.objects) for record in data.records) == 420
    data = read_boxes(SHARED / "flickr30k_sample_entities", read_dataset(SHARED / "flickr30k_sample"))
    assert sum(len(thing.mentions) for record in data.records for thing in record.objects) >= 803
