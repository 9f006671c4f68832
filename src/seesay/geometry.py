"""Boxes on a photo, and grids of regions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Box = tuple[float, float, float, float]  # left, top, right, bottom; right and bottom exclusive
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


def region_box(row: int, col: int, grid: tuple[int, int], size: tuple[int, int]) -> Box:
    """The pixels that one region of the grid covers on the photo.

    Photos are squashed to the encoder's square whatever their aspect, so the inverse is a plain
    stretch of the grid over the upright photo.

    Args:
        row: region row, 0 at the top.
        col: region column, 0 at the left.
        grid: (rows, cols) of the attention map.
        size: (width, height) of the upright photo in pixels.

    Returns:
        (left, top, right, bottom) in pixels, right and bottom exclusive.
    """
    (rows, cols), (width, height) = grid, size
    return (
        col * width / cols,
        row * height / rows,
        (col + 1) * width / cols,
        (row + 1) * height / rows,
    )


def crop_box(box: Box, crop: Box) -> Box | None:
    """Where a box lies in a crop of its photo; None where the crop shows nothing of it.

    Args:
        box: in fractions of the photo's width and height.
        crop: likewise. A crop with left > right shows the photo mirrored.

    Returns:
        The visible part, in fractions of the crop.
    """
    left, top, right, bottom = crop
    x = sorted((edge - left) / (right - left) for edge in (box[0], box[2]))
    y = [(edge - top) / (bottom - top) for edge in (box[1], box[3])]
    x, y = np.clip(x, 0.0, 1.0).tolist(), np.clip(y, 0.0, 1.0).tolist()
    return (x[0], y[0], x[1], y[1]) if x[0] < x[1] and y[0] < y[1] else None


def box_coverage(boxes: Sequence[Box], grid: tuple[int, int]) -> np.ndarray:
    """The share of each region's area that lies in the union of the boxes; exact.

    Args:
        boxes: in fractions of the photo's width and height; what lies outside 0 to 1 is ignored.
        grid: (rows, cols).

    Returns:
        (rows, cols) float64, 0 to 1.
    """
    rows, cols = grid
    corners = np.clip(np.asarray(boxes, dtype=np.float64).reshape(-1, 4), 0.0, 1.0)
    # All edges cut the photo into cells that lie wholly inside or outside of each box and region.
    x = np.unique(np.concatenate([np.arange(cols + 1) / cols, corners[:, 0], corners[:, 2]]))
    y = np.unique(np.concatenate([np.arange(rows + 1) / rows, corners[:, 1], corners[:, 3]]))
    x_mid, y_mid = (x[1:] + x[:-1]) / 2, (y[1:] + y[:-1]) / 2
    in_x = (x_mid >= corners[:, :1]) & (x_mid < corners[:, 2:3])  # (boxes, cells)
    in_y = (y_mid >= corners[:, 1:2]) & (y_mid < corners[:, 3:])
    inside = (in_y[:, :, None] & in_x[:, None, :]).any(axis=0)
    areas = inside * np.diff(y)[:, None] * np.diff(x) * (rows * cols)
    covered = np.zeros(grid)
    np.add.at(covered, np.ix_((y_mid * rows).astype(int), (x_mid * cols).astype(int)), areas)
    return np.clip(covered, 0.0, 1.0)


def union_area(boxes: Sequence[Box]) -> float:
    """The share of the photo, 0 to 1, that the boxes (in fractions) cover together."""
    return float(box_coverage(boxes, (1, 1))[0, 0])


def resampled(weights: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """A map on another grid: each new cell has the weight of the photo's area that it covers.

    Args:
        weights: (rows, cols), weights of areas.
        grid: (rows, cols) of the result.

    Returns:
        An array of this grid, with the same sum.
    """
    rows, cols = (_overlaps(old, new) for old, new in zip(weights.shape, grid, strict=True))
    return rows @ weights @ cols.T


def _overlaps(old: int, new: int) -> np.ndarray:
    """(new, old) the share of each old cell's side that lies in each new cell."""
    # in units of 1 / (old * new), so that cells that are equal stay exactly equal
    ends, edges = np.arange(1, new + 1)[:, None] * old, np.arange(1, old + 1)[None] * new
    inside = np.minimum(ends, edges) - np.maximum(ends - old, edges - new)
    return np.maximum(inside, 0) / new
