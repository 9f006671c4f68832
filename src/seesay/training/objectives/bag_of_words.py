"""Which words a photo's captions have, asked of its regions beside the captions themselves."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seesay.data.tokens import RESERVED
from seesay.training.inputs.batches import CaptionBatch


class WordsSeen(nn.Module):
    """An objective, and with it the words of the photo without their order.

        L = L_objective + w / N sum over photos and words H(share, p)
        p = sigmoid(V mean(regions) + b)

    H is the binary cross-entropy, share that of the photo's captions which have the word, N the number of the batch's
    words.

    A caption asks the encoder through attention and the words before; here every word asks every photo directly. The
    idea is that of attributes in captioning (https://arxiv.org/abs/1506.01144); V serves training alone and is thrown
    away, so nothing of the model that is written grows.

    Args:
        objective: takes a `CaptionBatch`.
        region_size: D.
        vocab_size: of the tokens asked for; those that are reserved are not.
        weight: w.
    """

    def __init__(self, objective: nn.Module, region_size: int, vocab_size: int, weight: float) -> None:
        super().__init__()
        self.objective = objective
        self.weight = weight
        self.head = nn.Linear(region_size, vocab_size - len(RESERVED))
        nn.init.zeros_(self.head.weight)
        nn.init.constant_(self.head.bias, -5.0)  # few of the words are in any one caption

    def forward(self, batch: CaptionBatch, progress: float = 0.0) -> Tensor:
        """The loss of a batch, a scalar."""
        logits = self.head(batch.regions.mean(dim=1)).float()
        asked = nn.functional.binary_cross_entropy_with_logits(
            logits, word_shares(batch.targets, batch.lengths, logits.shape[1]), reduction="sum"
        )
        return self.objective(batch, progress) + self.weight * asked / batch.lengths.sum()


def word_shares(targets: Tensor, lengths: Tensor, words: int) -> Tensor:
    """For each photo and word the share of the photo's captions that have it, (B, words) in 0..1.

    Args:
        targets: (B, K, L) ids, reserved ones first among all; padding is one of them.
        lengths: (B, K); captions of length 0 do not count.
        words: number of ids that are not reserved.
    """
    has = torch.zeros(*targets.shape[:2], words + len(RESERVED), device=targets.device)
    has.scatter_(2, targets, 1.0)
    captions = (lengths > 0).sum(dim=1, keepdim=True).clamp(min=1)
    return has[..., len(RESERVED) :].sum(dim=1) / captions
