"""timm's stages of an encoder: which grid each gives, and which weights are whose."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

from seesay.errors import RecipeError

if TYPE_CHECKING:
    from seesay.models.encoder import Encoder


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


def stage_parameters(encoder: Encoder) -> list[list[str]]:
    """Names of the parameters of each stage, from the first to the grid that is read; stages without any are left out.

    A stage owns what its grid depends on and no earlier grid does, as autograd tells on a copy without data: timm's
    names differ between models, gradients do not. What comes between the last stage and the grid that is read (a head
    convolution, a final normalisation) belongs to the last stage.
    """
    model = copy.deepcopy(encoder).to("meta").eval().requires_grad_(True)
    images = torch.zeros(1, 3, encoder.transform.size, encoder.transform.size, device="meta")
    outputs = [*intermediates(model.backbone, images, range(model.last_stage)), model(images).regions]
    names, parameters = zip(*model.named_parameters(), strict=True)
    found: list[list[str]] = []
    for output in outputs:
        gradients = torch.autograd.grad(output.sum(), parameters, allow_unused=True, retain_graph=True)
        used = (name for name, gradient in zip(names, gradients, strict=True) if gradient is not None)
        found.append([name for name in used if name not in set(chain(*found))])
    return [stage for stage in found if stage]


def finetune(encoder: Encoder, which: Literal["none", "last", "all"] | int) -> None:
    """Freeze the encoder but for its last stages.

    Args:
        encoder: `requires_grad` of its parameters is set.
        which: "none", "last" (two stages), how many stages, or "all"; weights that the grid does not depend on stay
            frozen in any case.

    Raises:
        RecipeError: it has fewer stages.
    """
    encoder.requires_grad_(False)
    if which == "none":
        return
    owned = stage_parameters(encoder)
    count = len(owned) if which == "all" else min(2, len(owned)) if which == "last" else which
    if count > len(owned):
        raise RecipeError(
            f"encoder.finetune={which}: {encoder.name} has {len(owned)} stages with weights up to the grid that is "
            f"read; give a number from 1 to {len(owned)}, or all"
        )
    trained = set(chain(*owned[-count:]))
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(name in trained)
