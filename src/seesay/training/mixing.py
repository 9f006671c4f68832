"""Photos mixed with photos like them (`train.mixing`), so that none is seen twice as it was learnt by heart."""

from __future__ import annotations

import numpy as np

from seesay.data.features import PhotoFeatures

ALIKE = 10  # photos that each may be mixed with
DIRECTIONS = 128  # in which photos are compared
ROWS = 256  # photos compared with all others at once


class Mixing:
    """Which photo is mixed into each, and how much of it.

        regions = (1 - m) regions of the photo + m regions of the other,     m ~ uniform(0, most)

    The idea is mixup (Zhang et al. 2018, https://arxiv.org/abs/1710.09412), of features as in manifold mixup (Verma et
    al. 2019, https://arxiv.org/abs/1806.05236); here the other is one of the `ALIKE` photos most alike, so that there
    is something to be said of both.

    Args:
        alike: (N, k) for each photo the numbers of those that it may be mixed with.
        most: the greatest share m, 0 to 1.
        seed: of the chance; what is drawn depends on it and the epoch alone.
    """

    def __init__(self, alike: np.ndarray, most: float, seed: int) -> None:
        self.alike, self.most, self.seed = alike, most, seed

    def draw(self, photos: np.ndarray, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """For B photos, (B,) the numbers of the others and (B,) float32 their shares."""
        random = np.random.default_rng([self.seed, epoch])
        which = random.integers(self.alike.shape[1], size=len(self.alike))[photos]
        shares = random.uniform(0, self.most, len(self.alike))[photos]
        return self.alike[photos, which], shares.astype(np.float32)


def most_alike(features: PhotoFeatures, number: int = ALIKE) -> np.ndarray:
    """For each photo the numbers of those most like it, (N, number), the most alike first.

    Where there are no `number` others it gives as many as there are, and a photo that is alone for itself.

    Alike is the cosine of the mean regions, taken from their mean and put in the main directions of all photos, each
    divided by the square root of the photos' spread in it (half of a whitening: the few directions in which photos
    differ most would decide alone).

    Args:
        features: all of them readable; of several variants those of the first epoch are compared.
        number: of photos.
    """
    count = len(features.place)
    groups = np.array_split(np.arange(count), -(-count // ROWS))
    means = np.concatenate([features.take(group).astype(np.float32).mean(axis=1) for group in groups])
    means -= means.mean(axis=0)
    spread, directions = np.linalg.eigh(means.T @ means / count)
    spread, directions = spread[-DIRECTIONS:], directions[:, -DIRECTIONS:]
    seen = spread > 1e-6 * spread[-1]  # of N photos there are N - 1 directions at most
    points = means @ directions[:, seen] / spread[seen] ** 0.25
    points /= np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    number = max(1, min(number, count - 1))
    found = []
    for group in groups:
        cosine = points[group] @ points.T
        cosine[np.arange(len(group)), group] = -np.inf
        found.append(np.argsort(-cosine, axis=1, kind="stable")[:, :number])
    return np.concatenate(found)
