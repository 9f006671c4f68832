"""Showing attention weights as light and shade on the photo.

The brightness of a region is the ratio of its weight to the uniform weight 1/P, on a log scale:

    heat = 1/2 + log(weight * P) / log(P), clipped to [0, 1]

P is the number of regions. 1/2, the uniform weight, leaves the photo unchanged; 1 (fully lit) is
sqrt(P) times the uniform weight or more, and 0 (dark) is 1/sqrt(P) of it or less. The scale does
not depend on the map's extremes, so a nearly uniform map looks uniform, and the maps of two words
can be compared.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw

from seesay.geometry import Box, region_box

SHADE, SHADE_OPACITY = (0, 0, 0), 0.74
GLOW, GLOW_OPACITY = (255, 170, 20), 0.42
# A fall of the log-probability by this much is shown fully lit. It makes a word a fifth less likely;
# hiding one patch of 64 seldom costs more.
FULL_FALL = 0.25


def heat(attention: np.ndarray) -> np.ndarray:
    """The brightness of each region.

    Args:
        attention: (rows, cols) weights, >= 0, summing to 1.

    Returns:
        (rows, cols) float32 in [0, 1]; 0.5 is the uniform weight (see the module's docstring).

    Raises:
        ValueError: not two-dimensional, empty, or with negative or non-finite weights.
    """
    weights = np.asarray(attention, dtype=np.float64)
    if weights.ndim != 2 or not weights.size:
        raise ValueError(f"attention must be (rows, cols), got shape {weights.shape}")
    if not np.isfinite(weights).all() or weights.min() < 0:
        raise ValueError("attention must be finite and >= 0")
    # On grids below 2x2 log(P) would be 0 or make a one-hot map clip too early.
    span = np.log(max(weights.size, 4))
    relative = np.maximum(weights * weights.size, 1e-9)
    return np.clip(0.5 + np.log(relative) / span, 0, 1).astype(np.float32)


def fall_heat(falls: np.ndarray) -> np.ndarray:
    """The brightness of each patch from the fall of a word's log-probability when it is hidden.

    Args:
        falls: (rows, cols), from `CaptionModel.occlusion`.

    Returns:
        (rows, cols) float32 in [0, 1]; 0.5 for no change, 1 for a fall of `FULL_FALL` or more,
        below 0.5 where the word became likelier.
    """
    return np.clip(0.5 + np.asarray(falls) / (2 * FULL_FALL), 0, 1).astype(np.float32)


def heat_map(attention: np.ndarray, size: tuple[int, int], smooth: bool = True) -> np.ndarray:
    """`heat` resized to a photo: region (r, c) covers its `seesay.geometry.region_box`.

    Args:
        attention: (rows, cols) weights, >= 0, summing to 1.
        size: (width, height) of the photo in pixels.
        smooth: interpolate bilinearly between the centres of regions; False gives blocks.

    Returns:
        (height, width) float32 in [0, 1].
    """
    method = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(heat(attention)).resize(size, method))


def draw_overlay(
    image: Image.Image,
    attention: np.ndarray,
    smooth: bool = True,
    chosen: Iterable[tuple[int, int]] = (),
) -> Image.Image:
    """The photo with regions below the uniform weight darkened and those above it lit.

    Args:
        image: the upright photo, any mode and size.
        attention: (rows, cols) weights, >= 0, summing to 1.
        smooth: as in `heat_map`.
        chosen: (row, column) of regions to frame: those that hard attention chose.

    Returns:
        a new RGB image of the same size.
    """
    lit = 2 * heat_map(attention, image.size, smooth) - 1
    drawn = image.convert("RGB")
    drawn.paste(SHADE, mask=_mask(-lit * SHADE_OPACITY))
    drawn.paste(GLOW, mask=_mask(lit * GLOW_OPACITY))
    frames = [region_box(row, column, attention.shape, (1, 1)) for row, column in chosen]
    return draw_boxes(drawn, frames) if frames else drawn


def draw_boxes(image: Image.Image, boxes: Iterable[Box]) -> Image.Image:
    """The photo with a white frame, edged in black, around each box.

    Args:
        image: any mode and size.
        boxes: boxes in fractions of the photo's width and height.

    Returns:
        a new RGB image of the same size.
    """
    drawn = image.convert("RGB").copy()
    pen = ImageDraw.Draw(drawn)
    width = max(1, round(max(drawn.size) / 160))
    for left, top, right, bottom in boxes:
        corners = (left * drawn.width, top * drawn.height, right * drawn.width - 1, bottom * drawn.height - 1)
        pen.rectangle(corners, outline=(0, 0, 0), width=2 * width)
        pen.rectangle(corners, outline=(255, 255, 255), width=width)
    return drawn


def _mask(opacity: np.ndarray) -> Image.Image:
    return Image.fromarray((opacity.clip(0, 1) * 255).round().astype(np.uint8))
