"""timm's stages of an encoder, and the grid that each gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from seesay.errors import RecipeError


class Stage(NamedTuple):
    """Where a grid can be read.

    Attributes:
        number: timm counts from 0.
        module: the last module of the stage, as timm's `feature_info` names it.
        rows, cols, depth: of the grid there.
    """

    number: int
    module: str
    rows: int
    cols: int
    depth: int

    def __str__(self) -> str:
        return f"{self.number} or {self.module} ({self.rows}x{self.cols}x{self.depth})"


def intermediates(backbone: Any, images: Tensor, indices: Sequence[int] | None = None, norm: bool = False) -> Any:
    """What timm's stages give: a list of (B, D, rows, cols).

    Args:
        backbone: a timm model.
        images: (B, 3, size, size).
        indices: of the stages, None for all.
        norm: whether a transformer's last normalisation is laid upon them.
    """
    return backbone.forward_intermediates(
        images,
        indices=None if indices is None else list(indices),
        norm=norm,
        output_fmt="NCHW",
        intermediates_only=True,
    )


def stages(backbone: Any, images: Tensor) -> list[Stage]:
    """Every stage of a timm model with its grid, from a trial on images (1, 3, size, size)."""
    maps = intermediates(backbone, images)
    places = zip(backbone.feature_info, maps, strict=True)
    return [Stage(i, info["module"], m.shape[2], m.shape[3], m.shape[1]) for i, (info, m) in enumerate(places)]


def find_stage(known: Sequence[Stage], wanted: int | str, encoder: str) -> Stage:
    """The stage that `encoder.layer` means: a number, negative from the end, or a module's name.

    Raises:
        RecipeError: there is none; the text lists those there are with their grids.
    """
    for stage in known:
        if wanted in (stage.number, stage.number - len(known), stage.module):
            return stage
    listed = ", ".join(map(str, known))
    raise RecipeError(f"encoder.layer={wanted}: {encoder} has no such layer; it has {listed}")
