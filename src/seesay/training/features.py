"""Features of a data set by a frozen encoder, from the cache where they are there already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from seesay.data.features import Advance, FeatureCache, PhotoFeatures
from seesay.models.encoder import Encoder


def feature_cache(encoder: Encoder) -> FeatureCache:
    """The cache of this encoder with these weights and this preprocessing, read at this layer."""
    identity = {"encoder": encoder.name, "weights": encoder.digest(), "transform": encoder.transform.to_dict()}
    if encoder.layer is not None:  # at the end it is left out, so that older caches stay valid
        identity["layer"] = encoder.layer
    return FeatureCache(identity, encoder.grid, encoder.depth)


def cached_features(
    encoder: Encoder,
    photos: Sequence[Path],
    device: torch.device | str = "cpu",
    batch_size: int = 32,
    advance: Advance | None = None,
    digests: Sequence[bytes] | None = None,
) -> PhotoFeatures:
    """Features of the photos, encoding those that no run has encoded before; see `FeatureCache.get`."""
    device = torch.device(device)
    encoder = encoder.eval().to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def encode(images: np.ndarray) -> np.ndarray:
        batch = torch.from_numpy(images).to(device, memory_format=torch.channels_last)
        with torch.inference_mode():
            return encoder(batch).regions.float().cpu().numpy()

    return feature_cache(encoder).get(photos, encoder.transform, encode, batch_size, advance, digests)
