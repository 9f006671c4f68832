"""The frozen part of an encoder, whose features of a photo can be computed once and cached."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from seesay.models.encoder import Encoder, digest, regions_of


class FrozenPart(nn.Module):
    """An encoder up to its first trained weight, or all of it if none is trained.

    Args:
        encoder: after `seesay.models.finetune.finetune`; its modules are shared, not copied.
        length: how many modules of `module_chain(encoder)` are frozen; None if all of the encoder
            is.

    Attributes:
        grid, depth: (rows, cols) and channels of the frozen part's feature map.
    """

    def __init__(self, encoder: Encoder, length: int | None = None) -> None:
        super().__init__()
        self.encoder, self.length = encoder, length
        self.grid, self.depth = encoder.grid, encoder.depth
        if length is not None:
            modules = module_chain(encoder)
            self.frozen, self.trained = nn.Sequential(*modules[:length]), nn.Sequential(*modules[length:])
            with torch.no_grad():
                maps = self.frozen(encoder.example_images())
            self.grid, self.depth = (maps.shape[2], maps.shape[3]), maps.shape[1]

    def forward(self, images: Tensor) -> Tensor:
        """Features to cache: (B, 3, size, size) -> (B, P, D), row by row."""
        return self.encoder(images).regions if self.length is None else regions_of(self.frozen(images))

    def run_trained_part(self, features: Tensor) -> Tensor:
        """Run the rest of the encoder: cached features (B, P, D) -> regions (B, P', D')."""
        if self.length is None:
            return features
        return regions_of(self.trained(features.transpose(1, 2).unflatten(2, self.grid)))

    def identity(self) -> dict[str, Any]:
        """Everything that the features depend on besides the photo."""
        encoder = self.encoder
        identity: dict[str, Any] = {"encoder": encoder.name, "transform": encoder.transform.to_dict()}
        if self.length is not None:
            # existing caches depend on the key "links", and on "layer" being absent by default
            return {**identity, "weights": digest(self.frozen.state_dict()), "links": self.length}
        if encoder.layer is not None:
            identity["layer"] = encoder.layer
        if encoder.finer_depth:
            identity["finer"] = True
        return {**identity, "weights": encoder.digest()}


def frozen_part(encoder: Encoder) -> FrozenPart | None:
    """The encoder's frozen part, in eval mode.

    None if its first weights are trained, or if it cannot be split because it is not a chain of
    modules.
    """
    encoder.eval()
    if not _is_trained(encoder):
        return FrozenPart(encoder)
    length = next((i for i, module in enumerate(module_chain(encoder)) if _is_trained(module)), 0)
    return FrozenPart(encoder, length).eval() if length else None


@torch.no_grad()
def module_chain(encoder: Encoder) -> list[nn.Module]:
    """The modules that, called one after the other, compute the feature map; [] if it is no chain.

    Most convolutional networks are chains: VGG, ResNet, EfficientNet, MobileNet, ConvNeXt. The
    chain is found by trying: modules are called in the order in which timm registered them, until
    the result is the encoder's feature map.

    Args:
        encoder: the encoder, in eval mode.
    """
    outputs = encoder.example_images()
    expected = encoder(outputs).regions
    chain: list[nn.Module] = []
    length = 0
    for module in _in_order(encoder.backbone):
        try:
            outputs = module(outputs)
        except Exception:  # a module with other inputs, which may raise any error: the chain ends here
            break
        chain.append(module)
        # The last match counts, because residual blocks that are initialised to the identity match
        # early.
        if outputs.ndim == 4 and _agree(regions_of(outputs), expected):
            length = len(chain)
    return chain[:length]


def _agree(regions: Tensor, expected: Tensor) -> bool:
    return regions.shape == expected.shape and torch.allclose(regions, expected, rtol=1e-4, atol=1e-5)


def _in_order(module: nn.Module) -> Iterable[nn.Module]:
    """The children of a module, with each plain `nn.Sequential` replaced by its children."""
    for child in module.children():
        if type(child) is nn.Sequential:
            yield from _in_order(child)
        else:
            yield child


def _is_trained(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())
