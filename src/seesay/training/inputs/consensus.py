"""Weights of captions by their agreement with the photo's other captions (`train.consensus`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seesay.metrics import CiderD

Captions = Sequence[Sequence[Sequence[int]]]  # for each photo the token ids of its captions


def caption_weights(captions: Captions, share: float) -> list[np.ndarray]:
    """The weight of each caption in the loss: higher, the more it agrees with the others.

        w_k = 1 - s + s c_k / mean(c)

    c_k is the CIDEr-D of caption k with the photo's other captions as references and document
    frequencies from all captions. The idea is the weighted cross-entropy of
    https://arxiv.org/abs/1712.09532.

    Args:
        captions: a photo with a single caption, or whose captions share nothing, gets weights of 1.
        share: s, 0 to 1; with 0 all weights are 1.

    Returns:
        For each photo (K,) float32 weights, at least 0, with mean 1.
    """
    several = [i for i, photo in enumerate(captions) if len(photo) > 1]
    agreement = [np.zeros(len(photo)) for photo in captions]
    if several:
        pairs = [(i, k) for i in several for k in range(len(captions[i]))]  # caption k of photo i
        others = [[*captions[i][:k], *captions[i][k + 1 :]] for i, k in pairs]
        cider = CiderD(others, corpus=[photo for photo in captions if photo])
        for (i, k), score in zip(pairs, cider.score([captions[i][k] for i, k in pairs]), strict=True):
            agreement[i][k] = score
    return [_weights(scores, share) for scores in agreement]


def _weights(agreement: np.ndarray, share: float) -> np.ndarray:
    if not agreement.any():
        return np.ones(len(agreement), np.float32)
    return (1 - share + share * agreement / agreement.mean()).astype(np.float32)
