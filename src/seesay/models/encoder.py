"""The encoder: any timm model whose feature map is the grid of regions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn

from seesay.data.images import ImageTransform
from seesay.errors import RecipeError, did_you_mean, first_line
from seesay.models.regions import FINER
from seesay.models.stages import find_stage, finer_stage, intermediates, stages


class Features(NamedTuple):
    """The encoder's output for a batch of photos.

    Attributes:
        regions: (B, P, D), row by row, P = rows * cols. With finer regions, the last 4 D' of the D
            numbers are those of the 2 x 2 finer regions inside each region; see
            `seesay.models.regions.FinerRegions`.
        grid: (rows, cols).
    """

    regions: Tensor
    grid: tuple[int, int]


class Encoder(nn.Module):
    """A timm model without its classifier and the layers after the feature map that is read.

    Args:
        name: a timm model that yields a grid: a convolutional network, or a vision transformer,
            whose patch tokens are the regions (class and register tokens are left out).
        transform: the preprocessing that the weights were trained with; `load_encoder` finds it.
        layer: the stage whose feature map is read: its number in timm (negative: from the end) or
            its module's name; None for the last one, before pooling.
        finer: whether the last stage with twice the rows and columns is read as well
            (`encoder.finer`).

    Attributes:
        grid: (rows, cols).
        depth: D, features of a region, with those of its finer regions.
        finer_depth: D', channels of the finer feature map; 0 if none is read.
        layer: the name of the stage's module; None for the last stage.

    Raises:
        RecipeError: timm has no such model, or the model has no such layer, no finer stage, or
            yields no grid at this size.
    """

    def __init__(
        self, name: str, transform: ImageTransform, layer: int | str | None = None, finer: bool = False
    ) -> None:
        super().__init__()
        if not timm.is_model(name):
            raise RecipeError(f"encoder.name={name}: timm has no such model.{did_you_mean(name, timm.list_models())}")
        self.name, self.transform = name, transform
        self.layer: str | None = None
        self._stage: int | None = None  # None: the output of `forward_features`
        self._finer: int | None = None
        self.finer_depth = 0
        blank = torch.zeros(1, 3, transform.size, transform.size)
        try:
            self.backbone = build_backbone(name, transform.size)
            self.eval()
            with torch.no_grad():
                self._select_layer(layer, finer, blank)
                maps = self._feature_map(blank)
        except RecipeError:
            raise
        except Exception as error:  # timm's models raise many kinds of errors for unsuitable sizes
            raise RecipeError(
                f"encoder.name={name}: gives no grid at images.size={transform.size} ({first_line(error)})"
            ) from error
        self.train()
        self.depth: int = maps.shape[1]
        self.grid: tuple[int, int] = (maps.shape[2], maps.shape[3])

    @property
    def last_stage(self) -> int:
        """timm's number of the stage whose feature map is read."""
        return len(self.backbone.feature_info) - 1 if self._stage is None else self._stage

    def forward(self, images: Tensor) -> Features:
        """(B, 3, size, size) normalised by `transform` -> Features(regions (B, P, D), grid)."""
        maps = self._feature_map(images)
        return Features(regions_of(maps), (maps.shape[2], maps.shape[3]))

    def _select_layer(self, layer: int | str | None, finer: bool, blank: Tensor) -> None:
        """Find the layers that are read, and drop the layers after them."""
        known = stages(self.backbone, blank) if finer or layer is not None else []
        if layer is not None:
            stage = find_stage(known, layer, self.name)
            self._stage, self.layer = stage.number, stage.module
        elif self.backbone.forward_features(blank).ndim != 4:  # tokens
            self._stage = self.last_stage
        if finer:
            maps = self._feature_map(blank)
            earlier = finer_stage(known, (maps.shape[2], maps.shape[3]), self.name)
            self._finer, self.finer_depth = earlier.number, earlier.depth
        if layer is not None:
            self.backbone.prune_intermediate_layers([self._stage], prune_norm=True, prune_head=True)

    def _feature_map(self, images: Tensor) -> Tensor:
        """The feature map: (B, 3, size, size) -> (B, D, rows, cols)."""
        if self._finer is not None:
            return self._two_scales(images, self._finer)
        if self._stage is not None:
            return intermediates(self.backbone, images, [self._stage], norm=self.layer is None)[0]
        return self._channels_first(self.backbone.forward_features(images))

    def _two_scales(self, images: Tensor, finer: int) -> Tensor:
        """The feature map, and in further channels the 2 x 2 numbers of each finer channel."""
        if self._stage is None:
            maps, [finer_maps] = intermediates(self.backbone, images, [finer], last=True)
            maps = self._channels_first(maps)
        else:
            finer_maps, maps = intermediates(self.backbone, images, [finer, self._stage], norm=self.layer is None)
        return torch.cat([maps, nn.functional.pixel_unshuffle(finer_maps, FINER)], dim=1)

    def _channels_first(self, maps: Tensor) -> Tensor:
        """Swin and similar models declare that their `forward_features` gives (B, rows, cols, D)."""
        return maps.permute(0, 3, 1, 2) if getattr(self.backbone, "output_fmt", "NCHW") == "NHWC" else maps

    def example_images(self, batch: int = 1) -> Tensor:
        """Noise as example input for tracing and testing, (B, 3, size, size); always the same."""
        size, first = self.transform.size, next(self.parameters())
        images = torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(0))
        return images.to(first.device, first.dtype)

    def digest(self) -> str:
        """A hexadecimal digest of the weights."""
        return digest(self.backbone.state_dict())


def regions_of(maps: Tensor) -> Tensor:
    """The regions of a feature map: (B, D, rows, cols) -> (B, rows * cols, D), row by row."""
    return maps.flatten(2).transpose(1, 2)


def digest(weights: Mapping[str, Tensor]) -> str:
    """A hexadecimal digest of weights by name."""
    sha = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        sha.update(name.encode())
        sha.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()[:16]


def build_backbone(name: str, size: int, pretrained: bool = False) -> Any:
    """timm's model without classifier and pooling.

    A model with a fixed image size is built for `size`.
    """
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    options: dict[str, Any] = {"img_size": size} if config is not None and config.fixed_input_size else {}
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0, global_pool="", **options)
    except AssertionError:  # a few cannot be built without pooling, which is not called afterwards
        return timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
