"""Files are there whole, or as they were before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seesay.writing import write_json, written_whole


def test_a_file_takes_its_place_when_the_block_ends_well(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("before")
    with written_whole(path) as scratch:
        scratch.write_text("after")
        assert path.read_text() == "before"
        assert scratch.suffix == ".png", "Pillow writes the kind that the name says"
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_was_there_stays_when_it_does_not(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.json"
    path.write_text("before")
    with pytest.raises(error), written_whole(path) as scratch:
        scratch.write_text("half of wh")
        raise error
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_readable_and_holds_names_that_are_no_text(tmp_path: Path) -> None:
    value = {"caption": "ein Hündchen", "image": "a\udcff.jpg"}
    write_json(tmp_path / "a.json", value)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert "Hündchen" in text
    assert text.endswith("}\n")
    assert json.loads(text) == value
