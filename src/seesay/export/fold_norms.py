"""Batch norms folded into the convolutions before them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seesay.models.captioner import Captioner


@torch.no_grad()
def fold_batch_norms(model: Captioner) -> None:
    """Move each batch norm's scale into the convolution before it; the norm stays, as a plain bias, so that the
    names and the structure that torch loads are the model's own."""
    _fold(model, _conv_norm_pairs(model), _regions(model))


@torch.no_grad()
def norms_as_biases(model: Captioner) -> Captioner:
    """A copy for export: folded batch norms become the bias of their convolution."""
    model = copy.deepcopy(model)
    parents = {id(child): (parent, name) for parent in model.modules() for name, child in parent.named_children()}
    for conv, norm in _conv_norm_pairs(model):
        if _is_bias(norm):
            conv.bias = nn.Parameter(norm.bias.detach().clone())
            parent, name = parents[id(norm)]
            # timm's BatchNormAct2d carries the activation that follows it
            setattr(parent, name, getattr(norm, "act", nn.Identity()))
    return model.eval()


def _fold(model: Captioner, pairs: Sequence[tuple[nn.Conv2d, nn.BatchNorm2d]], expected: Tensor) -> None:
    """Fold the pairs, but for those that would change the regions: their convolution feeds something else too."""
    before = copy.deepcopy(model.encoder.state_dict())
    for conv, norm in pairs:
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        offset = conv.bias if conv.bias is not None else torch.zeros_like(norm.bias)
        conv.weight.mul_(scale.reshape(-1, 1, 1, 1))
        norm.bias.add_((offset - norm.running_mean) * scale)
        norm.weight.fill_(1.0)
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0 - norm.eps)
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
    """Whether `_fold` left nothing of a norm but its bias."""
    left = ((norm.weight, 1.0), (norm.running_mean, 0.0), (norm.running_var, 1.0 - norm.eps))
    return all(tensor is not None and bool((tensor == torch.tensor(value)).all()) for tensor, value in left)


def _conv_norm_pairs(model: Captioner) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Each batch norm whose input is just the output of a convolution, by watching a photo pass through."""
    made_by: dict[int, nn.Conv2d] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    alive: list[Tensor] = []  # keeps ids unique while we watch

    def watch(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, nn.Conv2d):
            made_by[id(output)] = module
            alive.append(output)
        elif isinstance(module, nn.BatchNorm2d) and module.affine and id(inputs[0]) in made_by:
            pairs.append((made_by[id(inputs[0])], module))

    hooks = [module.register_forward_hook(watch) for module in model.encoder.modules()]
    _regions(model)
    for hook in hooks:
        hook.remove()
    return pairs


@torch.no_grad()
def _regions(model: Captioner) -> Tensor:
    return model.encoder(model.encoder.noise()).regions
