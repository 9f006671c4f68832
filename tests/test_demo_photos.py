"""The packaged photos: few, small, free, and what they claim to be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seesay.assets import PHOTOS, demo_photos

SOURCES = {entry["file"]: entry for entry in json.loads((PHOTOS / "sources.json").read_text("utf-8"))}


def test_every_photo_has_a_source_and_every_source_a_photo() -> None:
    assert [path.name for path in demo_photos()] == sorted(SOURCES)
    assert len(SOURCES) >= 3


@pytest.mark.parametrize("entry", SOURCES.values(), ids=list(SOURCES))
def test_sources_are_complete_and_free(entry: dict[str, str]) -> None:
    assert all(entry[key] for key in ("title", "author", "source", "licence", "stated", "original"))
    assert entry["licence"].startswith(("CC0", "public domain"))
    assert entry["source"].startswith("https://")


def test_photos_are_small() -> None:
    assert sum(path.stat().st_size for path in demo_photos()) < 600_000
    for path in demo_photos():
        with Image.open(path) as photo:
            assert photo.format == "JPEG" and 256 <= max(photo.size) <= 512


@pytest.mark.parametrize("entry", SOURCES.values(), ids=list(SOURCES))
def test_photos_match_scikit_images_originals(entry: dict[str, str]) -> None:
    skimage = pytest.importorskip("skimage")
    folder = Path(skimage.__file__).parent / "data"
    with Image.open(PHOTOS / entry["file"]) as photo, Image.open(folder / entry["original"]) as original:
        assert photo.width / photo.height == pytest.approx(original.width / original.height, rel=0.01)
        resized = original.convert("RGB").resize(photo.size, Image.Resampling.LANCZOS)
        difference = np.asarray(resized, float) - np.asarray(photo.convert("RGB"), float)
    assert np.abs(difference).mean() < 5  # of 255: what JPEG and resizing change


@pytest.mark.parametrize("entry", SOURCES.values(), ids=list(SOURCES))
def test_scikit_image_states_the_licence(entry: dict[str, str]) -> None:
    data = pytest.importorskip("skimage.data")
    loader = getattr(data, Path(entry["original"]).stem)
    assert entry["stated"] in (loader.__doc__ or "")
