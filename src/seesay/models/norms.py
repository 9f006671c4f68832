"""Batch norms of encoders that start from random weights."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from seesay.assets import demo_photos
from seesay.data.augment import Augmentation
from seesay.data.images import ImageTransform, open_photo
from seesay.models.encoder import Encoder

# timm's own are subclasses of these
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.SyncBatchNorm


def batch_norms(module: nn.Module) -> list[BatchNorm]:
    """Every batch norm of a module, timm's own kinds included."""
    return [inner for inner in module.modules() if isinstance(inner, BatchNorm)]


@torch.no_grad()
def settle(encoder: Encoder) -> None:
    """Give the batch norms of random weights the statistics of the packaged photos and of some variants of them.

    Those that they are born with, mean 0 and variance 1, normalise nothing: through the 94 layers of Inception-v3
    activations grow beyond what a decoder can learn from, in others they vanish.
    """
    norms = batch_norms(encoder)
    momenta, training = [norm.momentum for norm in norms], encoder.training
    encoder.eval()  # no dropout
    for norm in norms:
        norm.momentum = 1.0  # the statistics are those of one batch
        norm.train()
    if norms:
        encoder(_photos(encoder.transform).to(next(encoder.parameters()).device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    encoder.train(training)


@lru_cache(maxsize=2)
def _photos(transform: ImageTransform) -> Tensor:
    """(20, 3, size, size); the five photos alone are too few where the last grid is a single region."""
    random, vary = np.random.default_rng(0), Augmentation()
    photos = [open_photo(photo) for photo in demo_photos()]
    variants = [vary(photo, random) for photo in photos for _ in range(3)]
    return torch.from_numpy(np.stack([transform(photo) for photo in [*photos, *variants]]))
