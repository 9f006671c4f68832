"""Training from WebDataset's tars without unpacking them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from seesay.config import Recipe
from seesay.data.cache_folder import cache_folder
from seesay.data.feature_cache import photo_digest
from seesay.data.packed import PhotoInTar
from seesay.data.readers import read_dataset, read_photos_in_place
from seesay.data.writers import convert
from seesay.training.train import train

QUIET = Console(quiet=True)


@pytest.fixture
def tars(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEESAY_CACHE", str(tmp_path / "cache"))
    convert(read_dataset(tiny_data), tmp_path / "tars", "webdataset", shard_mb=1)
    return tmp_path / "tars"


def curve(base: Recipe, data: Path, out: Path, unpack: bool, **images: Any) -> list[list[str]]:
    values = base.to_dict() | {"out": str(out), "data": {"path": [str(data)], "unpack": unpack}}
    values["images"] |= images
    values["train"] |= {"epochs": 2}
    train(Recipe.from_dict(values), console=QUIET)
    with (out / "metrics.csv").open() as file:
        return [row[:-1] for row in csv.reader(file)]  # without the seconds


@pytest.mark.parametrize("augment", [False, True])
def test_what_is_learnt_is_the_same(
    augment: bool, tars: Path, tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seesay.training.train.write_bundle", lambda folder, *rest: folder)
    streamed = curve(tiny_recipe, tars, tmp_path / "streamed", False, augment=augment)
    assert not (cache_folder() / "unpacked").exists()
    assert streamed == curve(tiny_recipe, tars, tmp_path / "unpacked", True, augment=augment)
    assert (cache_folder() / "unpacked").exists()


def test_photos_in_tars_are_photos(tars: Path) -> None:
    data = read_photos_in_place(read_dataset(tars, unpacked=False))
    photos = [record.image for record in data.records]
    assert len(photos) == 17 and all(isinstance(photo, PhotoInTar) for photo in photos)
    unpacked = {record.id: record.image for record in read_dataset(tars).records}
    for record in data.records:
        assert photo_digest(record.image) == photo_digest(unpacked[record.id])
    assert len({photo_digest(photo) for photo in photos}) == 17
