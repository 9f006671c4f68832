"""Features of photos from the frozen part of the encoder, cached on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from seesay.data.feature_cache import Begin, Encode, FeatureCache, PhotoFeatures, T
from seesay.export.onnx_module import run_on_onnx
from seesay.models.frozen import FrozenPart

WORTH_EXPORTING = 300  # photos; exporting to ONNX takes as long as torch needs for this many


def feature_cache(frozen: FrozenPart) -> FeatureCache:
    """The feature cache for these frozen weights and this preprocessing."""
    return FeatureCache(frozen.identity(), frozen.grid, frozen.depth)


def cached_features(
    frozen: FrozenPart,
    photos: Sequence[T],
    device: torch.device | str = "cpu",
    batch_size: int = 32,
    begin: Begin | None = None,
    digests: Sequence[bytes] | None = None,
    load: Callable[[T], np.ndarray] | None = None,
) -> PhotoFeatures:
    """Features of the photos; those that are not in the cache yet are encoded.

    Args:
        frozen: encodes.
        photos: files, or whatever `load` takes.
        device: where to encode; on a CPU, many photos are encoded by ONNX Runtime.
        batch_size, begin, digests, load: as for `FeatureCache.get`; `load` defaults to the
            encoder's transform.
    """
    chosen: list[Encode] = []  # once the number of photos to encode is known

    def choose(missing: int) -> Callable[[int], None]:
        chosen.append(encode_on(frozen, torch.device(device), missing >= WORTH_EXPORTING))
        return begin(missing) if begin else lambda done: None

    return feature_cache(frozen).get(
        photos,
        load or (lambda photo: frozen.encoder.transform(_source(photo))),
        lambda images: chosen[0](images),
        batch_size,
        choose,
        digests,
    )


def _source(photo: object) -> Path | str:
    return photo if isinstance(photo, Path) else str(photo)


def encode_on(frozen: FrozenPart, device: torch.device, many: bool = True) -> Encode:
    """The encoding function, (B, 3, size, size) -> (B, P, D).

    For many photos on a CPU it runs on ONNX Runtime, else on torch.

    On a CPU, ONNX Runtime is two to eight times as fast; results differ by less than rounding to
    half precision does.
    """
    frozen = frozen.eval()
    if device.type == "cpu" and many:
        return run_on_onnx(frozen.cpu().float(), frozen.encoder.example_images(2).cpu().float())
    frozen.to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def encode(images: np.ndarray) -> np.ndarray:
        batch = torch.from_numpy(images).to(device, memory_format=torch.channels_last)
        with torch.inference_mode():
            return frozen(batch).float().cpu().numpy()

    return encode
