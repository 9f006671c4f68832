"""search.json: written and read, of every version, and refused where a value is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seesay.bundle.search_file import read_search, write_search
from seesay.errors import BundleError
from seesay.search import BeamOptions, Forbidden, NoRepeatedNgrams, NoRepeatedWords

VOCABULARY = 20


def read(tmp_path: Path, values: Any) -> BeamOptions:
    text = values if isinstance(values, str) else json.dumps(values)
    (tmp_path / "search.json").write_text(text, encoding="utf-8")
    return read_search(tmp_path / "search.json", VOCABULARY)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    options = BeamOptions(7, 0.5, max_words=9, constraints=(NoRepeatedNgrams(3), NoRepeatedWords((2, 19))))
    write_search(tmp_path / "search.json", options)
    assert read_search(tmp_path / "search.json", VOCABULARY) == options
    assert json.loads((tmp_path / "search.json").read_text("utf-8"))["version"] == 1


@pytest.mark.parametrize("rules", [{"constraints": (Forbidden((4,)),)}, {"prefix": (4,)}])
def test_what_the_file_cannot_hold_is_not_lost_in_silence(tmp_path: Path, rules: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^search\.json cannot hold "):
        write_search(tmp_path / "search.json", BeamOptions(**rules))


def test_files_without_a_version_are_of_the_first(tmp_path: Path) -> None:
    assert read(tmp_path, {"beam": 4}) == BeamOptions(beam=4)
    assert read(tmp_path, {"length_penalty": 1}) == BeamOptions(length_penalty=1)
    assert read(tmp_path, {}) == BeamOptions()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"version": 2}, r"version 2, this seesay \(.*\) reads up to 1; install a newer one"),
        ({"version": True}, "version=true: expected a whole number from 1 to 1,000,000"),
        ({"version": 0}, "version=0: expected"),
        ({"version": None}, "version=null: expected"),
        ({"beam": 10**9}, "beam=1000000000: expected a whole number from 1 to 100"),
        ({"beam": 10**30}, "beam=1000000000000000000000000000000: expected"),
        ({"beam": "5"}, "beam='5': expected a whole number"),
        ({"beam": 2.0}, "beam=2.0: expected a whole number"),
        ({"beam": True}, "beam=true: expected a whole number"),
        ({"beam": [3]}, r"beam=\[3\]: expected a whole number"),
        ({"max_words": 0}, "max_words=0: expected a whole number from 1 to 1,000"),
        ({"length_penalty": -1}, "length_penalty=-1: expected a number from 0 to 10"),
        ({"length_penalty": {}}, "length_penalty={}: expected a number"),
        ({"block_ngrams": 1e9}, "block_ngrams=1000000000.0: expected a whole number from 0 to 1,000"),
        ({"may_repeat": [VOCABULARY]}, r"may_repeat=\[20\]: expected 0 to 20 whole numbers from 0 to 19"),
        ({"may_repeat": [-1]}, r"may_repeat=\[-1\]: expected"),
        ({"may_repeat": "2"}, "may_repeat='2': expected"),
        ({"may_repeat": list(range(20)) * 2}, r"may_repeat=\[0, 1, .*\.\.\.\]: expected 0 to 20 whole numbers"),
        ({"temperature": 1}, "unknown field 'temperature'"),
        ({"\x1b[31m": 1}, r"unknown field '\\x1b\[31m'"),
        ([], "search.json is damaged: expected keys and values, got \\[\\]"),
        ("[" * 100_000, "search.json is damaged: brackets are nested too deeply"),
        ('{"beam": 3, "beam": 100}', "search.json is damaged: 'beam' is given twice"),
        ('{"length_penalty": NaN}', "search.json is damaged: NaN is no number"),
        ('{"length_penalty": 1e999}', "search.json is damaged: '1e999' is too large a number"),
        ('{"beam": ' + "9" * 5000 + "}", "search.json is damaged: a number of 5,000 digits"),
        ("", "search.json is damaged: Expecting value"),
    ],
)
def test_wrong_values_are_named(tmp_path: Path, values: Any, said: str) -> None:
    with pytest.raises(BundleError, match=f"^bundle .*: .*{said}[^\n\x1b]*$"):
        read(tmp_path, values)


def test_texts_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "search.json").write_bytes('{"beam": 3}'.encode("utf-16"))
    with pytest.raises(BundleError, match=r"search\.json is damaged: not UTF-8 at byte 0$"):
        read_search(tmp_path / "search.json", VOCABULARY)
    (tmp_path / "search.json").write_bytes(b" " * (2**24 + 1))
    with pytest.raises(BundleError, match=r"search\.json: has 16,777,217 bytes, expected at most 16,777,216$"):
        read_search(tmp_path / "search.json", VOCABULARY)
