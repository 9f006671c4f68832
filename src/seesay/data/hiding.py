"""Hiding regions of a photo, to measure what a model depends on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

Fill = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]

BLUR_SHARE = 0.1  # blur radius by the longer side, large enough that no thing can be recognised
ROUNDS = 200  # iterations of relaxation, in which colours spread over a quarter of FILL_SIDE pixels
FILL_SIDE = 32  # pixels; colours that are interpolated have no finer detail
NOISE = 0.02  # standard deviation of ROAD's noise, of the range of colours


def hide(photo: Image.Image, regions: np.ndarray, fill: str, seed: int = 0) -> Image.Image:
    """The photo with some regions of a grid hidden.

    Args:
        photo: RGB.
        regions: (rows, cols) bool, True where it is hidden.
        fill: one of `FILLS`.
        seed: the seed of the noise of "road".
    """
    pixels = np.asarray(photo, dtype=np.float32)
    mask = Image.fromarray(regions.astype(np.uint8) * 255).resize(photo.size, Image.Resampling.NEAREST)
    hidden = np.asarray(mask) > 0
    filled = FILLS[fill](pixels, hidden, np.random.default_rng(seed))
    shown = np.where(hidden[..., None], filled, pixels)
    return Image.fromarray(np.clip(np.rint(shown), 0, 255).astype(np.uint8))


def top_regions(weights: np.ndarray, share: float) -> np.ndarray:
    """The regions with the largest weights, as many as cover this share of the photo.

    At least one region is chosen.

    Args:
        weights: (rows, cols).
        share: above 0, at most 1.

    Returns:
        (rows, cols) bool. Among regions with equal weights the first ones are taken.
    """
    count = max(1, round(share * weights.size))
    chosen = np.zeros(weights.size, dtype=bool)
    chosen[np.argsort(-weights.ravel(), kind="stable")[:count]] = True
    return chosen.reshape(weights.shape)


def moved(regions: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The same shape at another place.

    It is shifted at random, wrapping around the edges, and mirrored half of the time.

    The number of regions stays the same, and so does their scatter unless an edge cuts the shape.
    """
    rows, cols = regions.shape
    shift = (int(random.integers(rows)), int(random.integers(cols)))
    flipped = regions[:, ::-1] if random.random() < 0.5 else regions
    return np.roll(flipped, shift, axis=(0, 1))


def _mean(pixels: np.ndarray, hidden: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return np.broadcast_to(pixels.mean(axis=(0, 1)), pixels.shape)


def _blur(pixels: np.ndarray, hidden: np.ndarray, random: np.random.Generator) -> np.ndarray:
    radius = BLUR_SHARE * max(pixels.shape[:2])
    blurred = Image.fromarray(pixels.astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(blurred, dtype=np.float32)


def _road(pixels: np.ndarray, hidden: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Noisy linear imputation (Rong et al. 2022, https://arxiv.org/abs/2202.00449).

    Each hidden pixel is the weighted mean of its eight neighbours (1/6 beside it, 1/12 across),
    plus noise, so that its colour does not give the hidden part away. Solved by relaxation on a
    small copy.
    """
    size = (FILL_SIDE, FILL_SIDE)
    small = Image.fromarray(pixels.astype(np.uint8)).resize(size, Image.Resampling.BOX)
    values = np.asarray(small, dtype=np.float32).copy()
    mask = np.asarray(Image.fromarray(hidden).resize(size, Image.Resampling.NEAREST))
    values[mask] = values[~mask].mean(axis=0) if (~mask).any() else 127.5
    for _ in range(ROUNDS):
        around = np.pad(values, ((1, 1), (1, 1), (0, 0)), mode="edge")
        up, middle, down = around[:-2], around[1:-1], around[2:]
        beside = up[:, 1:-1] + down[:, 1:-1] + middle[:, :-2] + middle[:, 2:]
        across = up[:, :-2] + up[:, 2:] + down[:, :-2] + down[:, 2:]
        values[mask] = (beside / 6 + across / 12)[mask]
    whole = Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))
    filled = np.asarray(whole.resize((pixels.shape[1], pixels.shape[0]), Image.Resampling.BILINEAR))
    return filled + random.normal(0, NOISE * 255, pixels.shape).astype(np.float32)


FILLS: dict[str, Fill] = {"mean": _mean, "blur": _blur, "road": _road}
