"""How much each of a photo's captions says what the others say (`train.consensus`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seesay.metrics import CiderD

Captions = Sequence[Sequence[Sequence[int]]]  # of each photo its captions' token ids


def caption_weights(captions: Captions, share: float) -> list[np.ndarray]:
    """What each caption counts in the loss, so that what people agree on is learnt more than what one alone says.

        w_k = 1 - s + s c_k / mean(c)

    c_k is the CIDEr-D of caption k with the photo's other captions as references and the document frequencies of all
    captions; the idea is that of the weighted cross-entropy in https://arxiv.org/abs/1712.09532.

    Args:
        captions: of each photo; one that has a single caption, or whose captions share nothing, gives weights of 1.
        share: s, 0 to 1; 0 gives all of them weights of 1.

    Returns:
        For each photo (K,) float32, at least 0, of mean 1.
    """
    several = [i for i, photo in enumerate(captions) if len(photo) > 1]
    agreement = [np.zeros(len(photo)) for photo in captions]
    if several:
        places = [(i, k) for i in several for k in range(len(captions[i]))]
        others = [[*captions[i][:k], *captions[i][k + 1 :]] for i, k in places]
        prepared = CiderD(others, corpus=[photo for photo in captions if photo])
        for (i, k), score in zip(places, prepared.score([captions[i][k] for i, k in places]), strict=True):
            agreement[i][k] = score
    return [_weights(found, share) for found in agreement]


def _weights(agreement: np.ndarray, share: float) -> np.ndarray:
    if not agreement.any():
        return np.ones(len(agreement), np.float32)
    return (1 - share + share * agreement / agreement.mean()).astype(np.float32)
