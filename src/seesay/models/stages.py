"""The stages of a timm model and their feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from seesay.errors import RecipeError
from seesay.models.regions import FINER


class Stage(NamedTuple):
    """A stage of a timm model, whose feature map can be read as the grid.

    Attributes:
        number: the stage's number, from 0.
        module: the last module of the stage, as timm's `feature_info` names it.
        rows, cols, depth: the size of the stage's feature map.
    """

    number: int
    module: str
    rows: int
    cols: int
    depth: int

    def __str__(self) -> str:
        return f"{self.number} or {self.module} ({self.rows}x{self.cols}x{self.depth})"


def intermediates(
    backbone: Any, images: Tensor, indices: Sequence[int] | None = None, norm: bool = False, last: bool = False
) -> Any:
    """The feature maps of a model's stages: a list of (B, D, rows, cols).

    Args:
        backbone: a timm model.
        images: (B, 3, size, size).
        indices: the numbers of the stages; None for all.
        norm: whether a transformer's final norm is applied to them.
        last: return (the output of `forward_features`, the list).
    """
    return backbone.forward_intermediates(
        images,
        indices=None if indices is None else list(indices),
        norm=norm,
        output_fmt="NCHW",
        intermediates_only=not last,
    )


def stages(backbone: Any, images: Tensor) -> list[Stage]:
    """All stages of a timm model, with the sizes of their feature maps for these images."""
    maps = intermediates(backbone, images)
    described = zip(backbone.feature_info, maps, strict=True)
    return [Stage(i, info["module"], m.shape[2], m.shape[3], m.shape[1]) for i, (info, m) in enumerate(described)]


def finer_stage(stages: Sequence[Stage], grid: tuple[int, int], encoder: str) -> Stage:
    """The last stage with twice the rows and columns of the grid that is read (`encoder.finer`).

    Raises:
        RecipeError: no such stage; the message lists the stages with their sizes.
    """
    for stage in reversed(stages):
        if (stage.rows, stage.cols) == (FINER * grid[0], FINER * grid[1]):
            return stage
    listed = ", ".join(map(str, stages))
    raise RecipeError(
        f"encoder.finer=true: {encoder} has no stage with twice the {grid[0]}x{grid[1]} regions; it has {listed}; "
        "leave encoder.finer out, or read another encoder.layer"
    )


def find_stage(stages: Sequence[Stage], layer: int | str, encoder: str) -> Stage:
    """Look up `encoder.layer`: a stage's number, negative from the end, or its module's name.

    Raises:
        RecipeError: no such stage; the message lists the stages with their sizes.
    """
    for stage in stages:
        if layer in (stage.number, stage.number - len(stages), stage.module):
            return stage
    listed = ", ".join(map(str, stages))
    raise RecipeError(f"encoder.layer={layer}: {encoder} has no such layer; it has {listed}")
