"""The synthetic grounded set: the same everywhere, true in every word, and the measure of pointing that it serves."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from seesay.caption import Caption, Word
from seesay.config import load_recipe
from seesay.data.cache_folder import cache_folder
from seesay.data.check import check_dataset
from seesay.data.readers import read_dataset
from seesay.data.records import Dataset
from seesay.data.shapes import ShapeObject, draw_picture, grounding_of, load_grounding, write_shapes
from seesay.data.shapes.picture import COLOURS, GAP, SHAPES, SIDE
from seesay.errors import DataError
from seesay.evaluation import evaluate
from seesay.geometry import box_coverage
from seesay.metrics.localisation import COVERED
from seesay.metrics.pointing import pointing_accuracy
from seesay.runtime import CaptionModel

FIRST = [
    ("orange", "square", "small", [18, 25, 56, 63]),
    ("white", "square", "large", [69, 7, 119, 57]),
    ("red", "triangle", "small", [54, 85, 92, 122]),
]
FIRST_SUM = 6_959_912
THING = rf"an? ({'|'.join(COLOURS)}) paper ({'|'.join(SHAPES)})"
RELATION = "to the left of|to the right of|above|below"
SENTENCE = re.compile(rf"(?:there is |a picture of )?{THING}(?: ({RELATION}) {THING})?(?: and ({RELATION}) {THING})?")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("shapes") / "set", train=30, dev=10, test=40, seed=3)


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return read_dataset(folder)


@pytest.fixture(scope="module")
def grounding(folder: Path) -> dict[str, tuple[ShapeObject, ...]]:
    return load_grounding(folder)


def pixel_box(shown: ShapeObject) -> list[int]:
    edges = [value * SIDE for value in shown.box]
    assert edges == [int(edge) for edge in edges], "boxes are whole pixels"
    return [int(edge) for edge in edges]


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_set_from_the_same_seed_whatever_its_size(folder: Path, tmp_path: Path) -> None:
    again = files(write_shapes(tmp_path / "again", train=30, dev=10, test=40, seed=3))
    assert again == files(folder)
    fewer = write_shapes(tmp_path / "fewer", train=5, dev=2, test=2, seed=3)
    assert all(
        (fewer / "images" / f"{n}-000001.png").read_bytes() == again[f"images/{n}-000001.png"]
        for n in ("train", "dev", "test")
    )
    other = write_shapes(tmp_path / "other", train=5, dev=2, test=2, seed=4)
    assert not set(files(other / "images").values()) & set(files(fewer / "images").values())


def test_pictures_are_these_very_ones() -> None:
    # If they change, VERSION must be raised: figures of before and after cannot be compared.
    pixels, objects = draw_picture(0, 0, (0.0, 0.0, 1.0))
    assert [(shown.colour, shown.shape, shown.size, pixel_box(shown)) for shown in objects] == FIRST
    assert (pixels.shape, pixels.dtype, int(pixels.astype(int).sum())) == ((SIDE, SIDE, 3), np.uint8, FIRST_SUM)


def test_boxes_hold_exactly_the_pixels_of_their_object(
    folder: Path, grounding: dict[str, tuple[ShapeObject, ...]]
) -> None:
    for name, objects in grounding.items():
        pixels = np.asarray(Image.open(folder / "images" / f"{name}.png")).astype(int)
        for shown in objects:
            # An object is one flat colour, at most 10 a channel from its name's; no background comes as near.
            flat = np.abs(pixels - COLOURS[shown.colour]).max(axis=-1) <= 10
            left, top, right, bottom = pixel_box(shown)
            own = flat[top:bottom, left:right]
            rows, columns = own.any(axis=1), own.any(axis=0)
            assert rows[0] and rows[-1] and columns[0] and columns[-1], (name, shown)
            around = flat[max(0, top - GAP + 1) : bottom + GAP - 1, max(0, left - GAP + 1) : right + GAP - 1]
            assert around.sum() == own.sum() > 0.25 * own.size, (name, shown)


def test_objects_are_told_apart_by_colour_and_shape_and_never_touch(
    grounding: dict[str, tuple[ShapeObject, ...]],
) -> None:
    for objects in grounding.values():
        assert 1 <= len(objects) <= 4
        assert len({(shown.colour, shown.shape) for shown in objects}) == len(objects)
        for a, b in combinations(map(pixel_box, objects), 2):
            assert max(b[0] - a[2], a[0] - b[2], b[1] - a[3], a[1] - b[3]) >= GAP
        for left, top, right, bottom in map(pixel_box, objects):
            assert 0 <= left < right <= SIDE and 0 <= top < bottom <= SIDE


def is_true(relation: str, a: list[int], b: list[int]) -> bool:
    """By whole boxes: every pixel of `a` is left of, right of, above or below every pixel of `b`, with a margin."""
    room = {
        "to the left of": b[0] - a[2],
        "to the right of": a[0] - b[2],
        "above": b[1] - a[3],
        "below": a[1] - b[3],
    }
    return room[relation] >= GAP


def test_captions_are_true(dataset: Dataset, grounding: dict[str, tuple[ShapeObject, ...]]) -> None:
    relations: set[str] = set()
    for record in dataset.records:
        boxes: dict[Any, list[int]] = {(shown.colour, shown.shape): pixel_box(shown) for shown in grounding[record.id]}
        assert len(record.captions) == 5
        for caption in record.captions:
            match = SENTENCE.fullmatch(caption)
            assert match, caption
            assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", caption)
            first, second, third = match.group(1, 2), match.group(4, 5), match.group(7, 8)
            assert first in boxes
            assert len({first, second, third} & set(boxes)) >= min(2, len(boxes)), "where there are two, two are named"
            for relation, other in ((match[3], second), (match[6], third)):
                if relation:
                    assert is_true(relation, boxes[first], boxes[other]), (record.id, caption)
                    relations.add(relation)
    assert len(relations) == 4


def test_chance_is_small_on_every_usual_grid(grounding: dict[str, tuple[ShapeObject, ...]]) -> None:
    boxes = [shown.box for objects in grounding.values() for shown in objects if len(objects) >= 3]
    assert max((right - left) * (bottom - top) for left, top, right, bottom in boxes) <= 0.16
    for grid in ((8, 8), (7, 7), (4, 4)):
        assert np.mean([(box_coverage([box], grid) >= COVERED).mean() for box in boxes]) < 0.13
    counts = [(box_coverage([box], (8, 8)) >= COVERED).sum() for box in boxes]
    assert min(counts) >= 1, "every object can be pointed at"


def test_splits(dataset: Dataset, folder: Path, grounding: dict[str, tuple[ShapeObject, ...]]) -> None:
    assert dataset.layout == "shapes"
    assert dataset.counts() == {"train": 30, "dev": 10, "test": 40}
    contents = [path.read_bytes() for path in (folder / "images").iterdir()]
    assert len(set(contents)) == 80, "no picture twice"
    assert set(grounding) == {record.id for record in dataset.records}
    assert grounding_of(dataset) == grounding
    many = [len(grounding[record.id]) >= 3 for record in dataset.split("test")]
    assert np.mean(many) > 0.7


def test_check_finds_nothing_wrong(folder: Path) -> None:
    report = check_dataset(folder)
    assert report.ok and report.usable and report.layout == "shapes"
    assert all("repeated" in problem.what for problem in report.problems)


def test_the_layout_makes_its_own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def small(folder: Path) -> Path:
        return write_shapes(folder, train=4, dev=2, test=2)

    monkeypatch.setenv("SEESAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("seesay.data.shapes.dataset.write_shapes", small)
    made = read_dataset([], layout="shapes")
    assert made.counts() == {"train": 4, "dev": 2, "test": 2}
    assert all(record.image.is_relative_to(cache_folder()) for record in made.records)
    there = read_dataset(tmp_path / "new", layout="shapes")
    assert [record.captions for record in there.records] == [record.captions for record in made.records]
    assert read_dataset(tmp_path / "new", layout="shapes") == there == read_dataset(tmp_path / "new")
    with pytest.raises(DataError, match="empty list"):
        read_dataset([])


def test_a_folder_of_something_else_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(DataError, match="new or empty"):
        write_shapes(tmp_path, train=1, dev=0, test=0)
    with pytest.raises(DataError, match=r"no captions found.*shapes\.json"):
        read_dataset(tmp_path, layout="shapes")
    with pytest.raises(DataError, match="new or empty"):
        write_shapes(folder, train=31, dev=10, test=40, seed=3)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(DataError, match="expected 0 to"):
        write_shapes(tmp_path / "none", train=-1)


def test_an_interrupted_set_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*args: object) -> list[str]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("seesay.data.shapes.dataset.write_captions", dies)
        with pytest.raises(KeyboardInterrupt):
            write_shapes(tmp_path / "set", train=3, dev=1, test=1)
    assert not list(tmp_path.iterdir())
    assert read_dataset(write_shapes(tmp_path / "set", train=3, dev=1, test=1)).counts()["train"] == 3


def test_another_process_may_be_quicker(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seesay.data.shapes import dataset as module

    fill = module._fill

    def fill_and_lose(built: Path, marker: dict[str, object]) -> None:
        fill(built, marker)
        fill(tmp_path / "set", marker)

    monkeypatch.setattr(module, "_fill", fill_and_lose)
    assert files(write_shapes(tmp_path / "set", train=30, dev=10, test=40, seed=3)) == files(folder)


def test_damaged_grounding(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        load_grounding(tmp_path)
    lines = (folder / "pictures.jsonl").read_text().splitlines()
    item = json.loads(lines[0])
    for bad in (lines[0][:40], json.dumps(item | {"objects": [{"colour": "red"}]}), "[]"):
        (tmp_path / "pictures.jsonl").write_text(f"{lines[1]}\n{bad}\n")
        with pytest.raises(DataError, match="damaged"):
            load_grounding(tmp_path)


RED_CIRCLE = ShapeObject("red", "circle", "large", (0.0, 0.0, 0.5, 0.5))
BLUE_CIRCLE = ShapeObject("blue", "circle", "large", (0.5, 0.0, 1.0, 0.5))
GREEN_STAR = ShapeObject("green", "star", "large", (0.5, 0.5, 1.0, 1.0))
RED_STAR = ShapeObject("red", "star", "small", (0.0, 0.75, 0.25, 1.0))


def looks(*words: tuple[str, int, int]) -> Caption:
    """A caption whose every word looks at one region (row, column) of a 4x4 grid alone."""
    built = []
    for text, row, column in words:
        attention = np.zeros((4, 4), dtype=np.float32)
        attention[row, column] = 1
        built.append(Word(text, -1.0, attention))
    return Caption(" ".join(text for text, _, _ in words), -1.0, tuple(built))


def test_pointing_counts_hits_misses_and_wrong_nouns() -> None:
    shown = {"a": (RED_CIRCLE, BLUE_CIRCLE, RED_STAR), "b": (RED_CIRCLE, BLUE_CIRCLE), "c": (GREEN_STAR,)}
    hit = looks(("a", 3, 3), ("red", 3, 3), ("paper", 3, 3), ("circle", 1, 1), ("above", 3, 3), ("Star", 3, 0))
    result = pointing_accuracy({"a": hit}, shown)
    assert (result.accuracy, result.nouns, result.wrong, result.ambiguous, result.pictures) == (1.0, 2, 0, 0, 1)
    assert result.chance == pytest.approx((4 / 16 + 1 / 16) / 2)
    miss = looks(("red", 0, 0), ("circle", 0, 2), ("blue", 0, 0), ("circle", 0, 2))
    assert pointing_accuracy({"a": miss}, shown).accuracy == 0.5
    wrong = looks(("green", 0, 0), ("circle", 0, 0), ("blue", 0, 0), ("star", 3, 0), ("circle", 0, 0))
    result = pointing_accuracy({"a": wrong}, shown)
    assert (result.accuracy, result.chance, result.nouns, result.wrong, result.ambiguous) == (0, 0, 0, 2, 1)
    assert pointing_accuracy({"b": hit}, shown).to_dict() == dict.fromkeys(
        ("accuracy", "chance", "nouns", "wrong", "ambiguous", "pictures"), 0
    )
    assert pointing_accuracy({"b": miss}, shown, at_least=2).nouns == 2
    assert pointing_accuracy({"elsewhere": hit}, shown).pictures == 0


def test_a_colour_belongs_to_one_noun_only() -> None:
    shown = {"a": (RED_CIRCLE, BLUE_CIRCLE, RED_STAR)}
    result = pointing_accuracy({"a": looks(("blue", 0, 0), ("circle", 0, 3), ("star", 3, 0))}, shown)
    assert (result.accuracy, result.nouns, result.wrong) == (1.0, 2, 0)


@pytest.mark.slow
def test_attention_learns_where_things_are(tmp_path):
    """Half of the packaged recipe: where it says "circle" it looks at the circle, far more often than by chance."""
    from seesay.training.train import train

    data, out = tmp_path / "shapes", tmp_path / "run"
    recipe = load_recipe("shapes", [f"data.path={data}", f"out={out}", "train.epochs=4"])
    bundle = train(recipe, console=Console(quiet=True))
    dataset = read_dataset([data])
    model, records = CaptionModel.load(bundle), dataset.split("test")
    found = evaluate(model, records, official=False, grounding=grounding_of(dataset)).pointing
    assert found is not None
    assert found.nouns > 200
    assert found.chance < 0.2
    assert found.accuracy > 0.5, found
