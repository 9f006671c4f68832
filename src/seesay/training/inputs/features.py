"""Features of a data set by what of the encoder is not trained, from the cache where they are there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from seesay.data.feature_cache import Advance, Encode, FeatureCache, PhotoFeatures, T, digest_photos
from seesay.export.onnx_module import run_on_onnx
from seesay.models.frozen import FrozenPart

WORTH_EXPORTING = 300  # photos; making a graph takes as long as torch takes for so many of them


def feature_cache(frozen: FrozenPart) -> FeatureCache:
    """The cache of this encoder with these weights and this preprocessing, up to where its training begins."""
    return FeatureCache(frozen.identity(), frozen.grid, frozen.depth)


def cached_features(
    frozen: FrozenPart,
    photos: Sequence[T],
    device: torch.device | str = "cpu",
    batch_size: int = 32,
    advance: Advance | None = None,
    digests: Sequence[bytes] | None = None,
    load: Callable[[T], np.ndarray] | None = None,
) -> PhotoFeatures:
    """Features of the photos, encoding those that no run has encoded before; see `FeatureCache.get`.

    Args:
        frozen: what encodes.
        photos: files, or what `load` takes.
        device: where torch encodes; on a CPU, ONNX Runtime does where it is worth it.
        batch_size, advance, digests, load: as of `FeatureCache.get`; `load` is the encoder's own transform where unset.
    """
    cache, load = feature_cache(frozen), load or (lambda photo: frozen.encoder.transform(str(photo)))
    digests = digests or digest_photos(photos)
    many = len(cache.missing(digests)) >= WORTH_EXPORTING
    return cache.get(photos, load, encode_on(frozen, torch.device(device), many), batch_size, advance, digests)


def encode_on(frozen: FrozenPart, device: torch.device, many: bool = True) -> Encode:
    """(B, 3, size, size) -> (B, P, D): by ONNX Runtime where there is no accelerator and many photos are to come.

    On a CPU it is two to eight times as fast as torch; what they give differs by less than half precision does.
    """
    frozen = frozen.eval()
    if device.type == "cpu" and many:
        return run_on_onnx(frozen.cpu().float(), frozen.encoder.noise(2).cpu().float())
    frozen.to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def encode(images: np.ndarray) -> np.ndarray:
        batch = torch.from_numpy(images).to(device, memory_format=torch.channels_last)
        with torch.inference_mode():
            return frozen(batch).float().cpu().numpy()

    return encode
