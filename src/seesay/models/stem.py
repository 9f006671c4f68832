"""The part of an encoder that training does not change: what it sees of a photo can be computed once and kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from seesay.models.encoder import Encoder, digest, rows_of


class Stem(nn.Module):
    """An encoder up to its first trained weight; all of it where nothing is trained.

    Args:
        encoder: `seesay.models.finetune.finetune` said what of it is trained; its modules are shared, not copied.
        links: how many of `chain(encoder)` belong to the stem; None: the whole encoder is the stem.

    Attributes:
        grid, depth: (rows, cols) and numbers a place of what the stem sees.
    """

    def __init__(self, encoder: Encoder, links: int | None = None) -> None:
        super().__init__()
        self.encoder, self.links = encoder, links
        self.grid, self.depth = encoder.grid, encoder.depth
        if links is not None:
            modules = chain(encoder)
            self.frozen, self.trained = nn.Sequential(*modules[:links]), nn.Sequential(*modules[links:])
            with torch.no_grad():
                maps = self.frozen(encoder.noise())
            self.grid, self.depth = (maps.shape[2], maps.shape[3]), maps.shape[1]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, size, size) -> (B, P, D), row by row: what can be kept."""
        return self.encoder(images).regions if self.links is None else rows_of(self.frozen(images))

    def finish(self, seen: Tensor) -> Tensor:
        """What the stem saw, (B, P, D) -> the regions that the decoder reads, (B, P', D')."""
        if self.links is None:
            return seen
        return rows_of(self.trained(seen.transpose(1, 2).unflatten(2, self.grid)))

    def identity(self) -> dict[str, Any]:
        """Everything that what it sees depends on besides the photo."""
        encoder = self.encoder
        identity: dict[str, Any] = {"encoder": encoder.name, "transform": encoder.transform.to_dict()}
        if self.links is not None:
            return {**identity, "weights": digest(self.frozen.state_dict()), "links": self.links}
        if encoder.layer is not None:  # at the end it is left out, so that older caches stay valid
            identity["layer"] = encoder.layer
        return {**identity, "weights": encoder.digest()}


def stem_of(encoder: Encoder) -> Stem | None:
    """The encoder's stem, in eval mode; None where its first weights are trained, or it is no chain of modules."""
    encoder.eval()
    if not _is_trained(encoder):
        return Stem(encoder)
    links = next((i for i, link in enumerate(chain(encoder)) if _is_trained(link)), 0)
    return Stem(encoder, links).eval() if links else None


@torch.no_grad()
def chain(encoder: Encoder) -> list[nn.Module]:
    """The modules that make the grid when each reads what the one before gave; none where the model is no such chain.

    Most convolutional models are: VGG, ResNet, EfficientNet, MobileNet, ConvNeXt. It is found by trying, on an encoder
    in eval mode: their modules in the order in which timm made them, until the grid is there.
    """
    images = encoder.noise()
    wanted = encoder(images).regions
    links: list[nn.Module] = []
    found = 0
    for module in _in_turn(encoder.backbone):
        try:
            images = module(images)
        except Exception:  # a module that is used otherwise; what it says of that is its own
            break
        links.append(module)
        # The last that fits: residual blocks that start as the identity give the grid too early.
        if images.ndim == 4 and _agree(rows_of(images), wanted):
            found = len(links)
    return links[:found]


def _agree(seen: Tensor, wanted: Tensor) -> bool:
    return seen.shape == wanted.shape and torch.allclose(seen, wanted, rtol=1e-4, atol=1e-5)


def _in_turn(module: nn.Module) -> Iterable[nn.Module]:
    for child in module.children():
        if type(child) is nn.Sequential:
            yield from _in_turn(child)
        else:
            yield child


def _is_trained(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())
