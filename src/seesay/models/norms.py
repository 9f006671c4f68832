"""Finding batch norms, and initialising those of an encoder with random weights."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from seesay.assets import demo_photos
from seesay.data.augment import Augmentation
from seesay.data.images import ImageTransform, open_photo
from seesay.models.encoder import Encoder

# timm's batch norms are subclasses of these
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


def batch_norms(module: nn.Module) -> list[BatchNorm]:
    """All batch norms inside a module, timm's included."""
    return [inner for inner in module.modules() if isinstance(inner, BatchNorm)]


@torch.no_grad()
def initialise_batch_norms(encoder: Encoder) -> None:
    """Set the running statistics of an encoder with random weights to those of the packaged photos.

    With the default statistics, mean 0 and variance 1, activations explode or vanish in deep
    networks: after the 94 layers of Inception-v3 a decoder can learn nothing from them.
    """
    norms = batch_norms(encoder)
    momenta, training = [norm.momentum for norm in norms], encoder.training
    encoder.eval()  # without dropout
    for norm in norms:
        norm.momentum = 1.0  # replace the statistics by those of the next batch
        norm.train()
    if norms:
        encoder(_photos(encoder.transform).to(next(encoder.parameters()).device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    encoder.train(training)


@lru_cache(maxsize=2)
def _photos(transform: ImageTransform) -> Tensor:
    """The packaged photos and three augmented variants of each, (20, 3, size, size).

    Five photos alone are too few if the last feature map is a single region.
    """
    random, augment = np.random.default_rng(0), Augmentation()
    photos = [open_photo(photo) for photo in demo_photos()]
    variants = [augment(photo, random) for photo in photos for _ in range(3)]
    return torch.from_numpy(np.stack([transform(photo) for photo in [*photos, *variants]]))
