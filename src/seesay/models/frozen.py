"""The frozen part of an encoder: its features of a photo can be computed once and cached."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from seesay.models.encoder import Encoder, digest, rows_of


class FrozenPart(nn.Module):
    """An encoder up to its first trained weight; the whole encoder where nothing of it is trained.

    Args:
        encoder: after `seesay.models.finetune.finetune`; its modules are shared, not copied.
        length: how many modules of `module_chain(encoder)` are frozen; None: the whole encoder.

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
                maps = self.frozen(encoder.noise())
            self.grid, self.depth = (maps.shape[2], maps.shape[3]), maps.shape[1]

    def forward(self, images: Tensor) -> Tensor:
        """Features to cache: (B, 3, size, size) -> (B, P, D), row by row."""
        return self.encoder(images).regions if self.length is None else rows_of(self.frozen(images))

    def finish(self, features: Tensor) -> Tensor:
        """Run the trained part: cached features (B, P, D) -> the regions that the decoder reads, (B, P', D')."""
        if self.length is None:
            return features
        return rows_of(self.trained(features.transpose(1, 2).unflatten(2, self.grid)))

    def identity(self) -> dict[str, Any]:
        """Everything that the features depend on besides the photo."""
        encoder = self.encoder
        identity: dict[str, Any] = {"encoder": encoder.name, "transform": encoder.transform.to_dict()}
        if self.length is not None:
            # existing caches are found by "links", and by having no "layer" where the whole encoder is read
            return {**identity, "weights": digest(self.frozen.state_dict()), "links": self.length}
        if encoder.layer is not None:
            identity["layer"] = encoder.layer
        return {**identity, "weights": encoder.digest()}


def frozen_part(encoder: Encoder) -> FrozenPart | None:
    """The encoder's frozen part, in eval mode.

    None where the first weights are trained, or the encoder cannot be split since it is no chain of modules.
    """
    encoder.eval()
    if not _is_trained(encoder):
        return FrozenPart(encoder)
    length = next((i for i, module in enumerate(module_chain(encoder)) if _is_trained(module)), 0)
    return FrozenPart(encoder, length).eval() if length else None


@torch.no_grad()
def module_chain(encoder: Encoder) -> list[nn.Module]:
    """The modules that compute the feature map when each reads the output of the one before; [] if there are none.

    Most convolutional networks are such chains: VGG, ResNet, EfficientNet, MobileNet, ConvNeXt. The chain is found by
    trying: the modules run in the order in which timm registered them, until the feature map is the encoder's.

    Args:
        encoder: in eval mode.
    """
    outputs = encoder.noise()
    expected = encoder(outputs).regions
    chain: list[nn.Module] = []
    length = 0
    for module in _in_order(encoder.backbone):
        try:
            outputs = module(outputs)
        except Exception:  # a module that takes other inputs: the chain ends here, whatever the error
            break
        chain.append(module)
        # Of several matches the last counts: residual blocks initialised to the identity match too early.
        if outputs.ndim == 4 and _agree(rows_of(outputs), expected):
            length = len(chain)
    return chain[:length]


def _agree(regions: Tensor, expected: Tensor) -> bool:
    return regions.shape == expected.shape and torch.allclose(regions, expected, rtol=1e-4, atol=1e-5)


def _in_order(module: nn.Module) -> Iterable[nn.Module]:
    """The children of a module, those of plain `nn.Sequential`s in their place."""
    for child in module.children():
        if type(child) is nn.Sequential:
            yield from _in_order(child)
        else:
            yield child


def _is_trained(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())
