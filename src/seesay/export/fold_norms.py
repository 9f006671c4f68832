"""Batch norms folded into the convolutions before them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seesay.models.captioner import Captioner

ConvNorm = tuple[nn.Conv2d, nn.BatchNorm2d]


@torch.no_grad()
def fold_batch_norms(model: Captioner) -> None:
    """Move the scale of each batch norm into the convolution before it.

    The norm stays in the model and then only adds a bias, so that modules and names of weights do
    not change.
    """
    _fold(model, _conv_norm_pairs(model), _regions(model))


@torch.no_grad()
def norms_as_biases(model: Captioner) -> Captioner:
    """A copy for export, in which folded batch norms have become biases of their convolutions."""
    model = copy.deepcopy(model)
    parents = {id(child): (parent, name) for parent in model.modules() for name, child in parent.named_children()}
    for conv, norm in _conv_norm_pairs(model):
        if _is_bias(norm):
            conv.bias = nn.Parameter(norm.bias.detach().clone())
            parent, name = parents[id(norm)]
            # timm's BatchNormAct2d includes the activation that follows it
            setattr(parent, name, getattr(norm, "act", nn.Identity()))
    return model.eval()


def _fold(model: Captioner, pairs: Sequence[ConvNorm], expected: Tensor) -> None:
    """Fold the pairs, except those that would change the regions.

    Folding changes the regions if another module also reads the convolution's output. Such pairs
    are found by bisection.

    Args:
        pairs: convolutions, each with its batch norm.
        expected: the regions before folding.
    """
    before = copy.deepcopy(model.encoder.state_dict())
    for conv, norm in pairs:
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)  # (channels,)
        offset = conv.bias if conv.bias is not None else torch.zeros_like(norm.bias)
        conv.weight.mul_(scale.reshape(-1, 1, 1, 1))
        norm.bias.add_((offset - norm.running_mean) * scale)
        norm.weight.fill_(1.0)
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0 - norm.eps)  # so that the norm divides by 1
        if conv.bias is not None:
            conv.bias.zero_()
    if float((_regions(model) - expected).norm() / expected.norm()) < 1e-3:
        return
    model.encoder.load_state_dict(before)
    if len(pairs) > 1:
        middle = len(pairs) // 2
        _fold(model, pairs[:middle], expected)
        _fold(model, pairs[middle:], expected)


def _is_bias(norm: nn.BatchNorm2d) -> bool:
    """Whether folding has reduced a batch norm to its bias."""
    constants = ((norm.weight, 1.0), (norm.running_mean, 0.0), (norm.running_var, 1.0 - norm.eps))
    return all(tensor is not None and bool((tensor == torch.tensor(value)).all()) for tensor, value in constants)


def _conv_norm_pairs(model: Captioner) -> list[ConvNorm]:
    """Find, by hooks, each batch norm whose input is the output of a convolution."""
    made_by: dict[int, nn.Conv2d] = {}  # id of a tensor -> the convolution
    pairs: list[ConvNorm] = []
    alive: list[Tensor] = []  # keeps the ids unique meanwhile

    def record(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, nn.Conv2d):
            made_by[id(output)] = module
            alive.append(output)
        elif isinstance(module, nn.BatchNorm2d) and module.affine and id(inputs[0]) in made_by:
            pairs.append((made_by[id(inputs[0])], module))

    hooks = [module.register_forward_hook(record) for module in model.encoder.modules()]
    _regions(model)
    for hook in hooks:
        hook.remove()
    return pairs


@torch.no_grad()
def _regions(model: Captioner) -> Tensor:
    return model.encoder(model.encoder.example_images()).regions
