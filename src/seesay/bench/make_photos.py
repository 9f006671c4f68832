"""Photos for measurements: different JPEGs of Flickr's size, made from the packaged photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from seesay.assets import demo_photos

SIZE = (500, 375)
# standard deviation of the noise, of 255; with QUALITY it gives files of 115 kB, as in Flickr8k
GRAIN = 6.0
QUALITY = 95


def make_photos(folder: Path, number: int, seed: int = 0) -> list[Path]:
    """Write `number` JPEGs of 500 x 375 pixels into `folder`.

    They are crops of the packaged photos, half of them mirrored, with noise.
    """
    sources = [Image.open(path).convert("RGB") for path in demo_photos()]
    paths = [folder / f"photo{n:05}.jpg" for n in range(number)]
    for n, path in enumerate(paths):
        random = np.random.default_rng([seed, n])
        _varied(sources[n % len(sources)], random).save(path, quality=QUALITY)
    return paths


def _varied(photo: Image.Image, random: np.random.Generator) -> Image.Image:
    part = random.uniform(0.6, 1.0)
    width, height = part * photo.width, part * photo.height
    left, top = random.uniform(0, photo.width - width), random.uniform(0, photo.height - height)
    cut = photo.resize(SIZE, Image.Resampling.BICUBIC, (left, top, left + width, top + height))
    if random.random() < 0.5:
        cut = cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    grain = random.standard_normal((SIZE[1], SIZE[0], 1), np.float32) * GRAIN
    return Image.fromarray(np.clip(np.asarray(cut) + grain, 0, 255).astype(np.uint8))
