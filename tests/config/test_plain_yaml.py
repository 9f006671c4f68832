"""YAML from strangers: plain values, or one line that says what is wrong."""

from __future__ import annotations

import pytest

from seesay.bundle.text_files import LARGEST_SIDE
from seesay.config.plain_yaml import read_yaml
from seesay.config.recipe import Recipe, known_values
from seesay.search.constraints import LIMITS


def test_plain_values() -> None:
    assert read_yaml("a: [1, 2.5, x]\nb: {c: null, d: true}\ne: 2001-01-01 \n")["a"] == [1, 2.5, "x"]
    assert read_yaml("") is None
    assert read_yaml(Recipe(name="ü").to_yaml()) == Recipe(name="ü").to_dict()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &x [1]\nb: *x", r"'\*x' is an alias: write out what it stands for \(line 2, column 4\)"),
        ("a: &x {k: 1}\nb: {<<: *x}", r"'\*x' is an alias"),
        ("a: &x [*x]", r"'\*x' is an alias"),
        ("a: 1\na: 2", r"'a' is given twice \(line 2, column 1\)"),
        ("[" * 5000, "nested too deeply|maximum nesting depth"),
        ("a: " + "{b: " * 5000, "brackets are nested too deeply"),
        ("a: 2001-99-99", "month must be in 1..12"),
        ("a: " + "9" * 5000, "Exceeds the limit"),
        ("a: " + "9" * 100, r"a number of 333 bits is too large \(line 1, column 4\)"),
        ("a: 1" + ":00" * 60, "a number of .* bits is too large"),
        ("!!python/object/apply:os.system [true]", "could not determine a constructor"),
        ("a: [", "expected .*node content"),
        ("a: \x1b[31m", "character"),
        ("[1, 2]: 3", "found unhashable key"),
        ("a: 1\n---\nb: 2", "but found another document"),
    ],
)
def test_what_is_none(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"^[^\n]*{said}[^\n]*$"):
        read_yaml(text)


def test_values_of_other_versions_pass_and_wrong_ones_are_named() -> None:
    problems: list[str] = []
    found = known_values({"name": "x", "data": None, "tokens": {"new": [1]}, "newer": {"a": 1}}, problems)
    assert not problems
    expected = Recipe(name="x").to_dict()
    assert found == expected | {"tokens": expected["tokens"] | {"new": [1]}, "newer": {"a": 1}}
    wrong = {
        "name": ["\x1b[31m"],
        "decoder": {"size": 10**9, "layers": "2"},
        "search": 5,
        "train": {"lr": float("nan")},
    }
    known_values(wrong, problems)
    assert problems == [
        r"name=['\x1b[31m']: expected a word or a path, in quotes where YAML would read something else",
        "decoder.size=1000000000: expected at most 65,536",
        "decoder.layers=2: expected a whole number",
        "search=5: expected keys and values",
        "train.lr=nan: expected 0 to 10",
    ]


@pytest.mark.parametrize(
    ("key", "most"),
    [
        ("search.beam", LIMITS["beam"][1]),
        ("tokens.max_words", LIMITS["max_words"][1]),
        ("search.block_ngrams", LIMITS["block_ngrams"][1]),
        ("images.size", LARGEST_SIDE),
    ],
)
def test_a_recipe_asks_for_nothing_that_a_bundle_cannot_hold(key: str, most: int) -> None:
    section, name = key.split(".")
    for value, fits in ((most, True), (most + 1, False)):
        problems: list[str] = []
        known_values({section: {name: value}}, problems)
        assert (not problems) == fits
