"""Fine-tuning: which stages of an encoder are trained."""

from __future__ import annotations

import copy
from itertools import chain
from typing import Literal

import torch

from seesay.errors import RecipeError
from seesay.models.encoder import Encoder
from seesay.models.stages import intermediates


def stage_parameters(encoder: Encoder) -> list[list[str]]:
    """Names of the parameters of each stage, first to last; stages without parameters are left out.

    A stage owns the parameters that its feature map depends on and no earlier feature map does. As
    parameter names follow no common scheme, autograd finds them, on a copy of the model on the meta
    device. Layers between the last stage and the grid that is read (a head convolution, a final
    norm) belong to the last stage.
    """
    model = copy.deepcopy(encoder).to("meta").eval().requires_grad_(True)
    images = torch.zeros(1, 3, encoder.transform.size, encoder.transform.size, device="meta")
    outputs = [*intermediates(model.backbone, images, range(model.last_stage)), model(images).regions]
    names, parameters = zip(*model.named_parameters(), strict=True)
    owned: list[list[str]] = []
    for output in outputs:
        gradients = torch.autograd.grad(output.sum(), parameters, allow_unused=True, retain_graph=True)
        used = (name for name, gradient in zip(names, gradients, strict=True) if gradient is not None)
        owned.append([name for name in used if name not in set(chain(*owned))])
    return [names for names in owned if names]


def finetune(encoder: Encoder, which: Literal["none", "last", "all"] | int) -> None:
    """Freeze the encoder except for its last stages.

    Args:
        encoder: `requires_grad` of its parameters is set.
        which: "none", "last" (two stages), a number of stages, or "all"; parameters that do not
            affect the grid are always frozen.

    Raises:
        RecipeError: the encoder has fewer stages.
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
