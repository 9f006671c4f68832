"""An auxiliary loss: the mean region predicts which words occur in the photo's captions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seesay.data.tokens import RESERVED
from seesay.training.inputs.batches import CaptionBatch
from seesay.training.processes import global_mean


class BagOfWords(nn.Module):
    """Another objective plus a bag-of-words loss on the mean region.

        L = L_objective + w / N sum over photos and words H(share, p)
        p = sigmoid(V mean(regions) + b)

    H is the binary cross-entropy, share the fraction of the photo's captions that contain the word,
    V and b a linear layer, and N the number of words in the batch.

    In a captioning loss the gradient of a word reaches the encoder through the attention and the
    preceding words; here it reaches the encoder directly. The idea comes from attribute prediction
    for captioning (https://arxiv.org/abs/1506.01144). V and b are used in training only and are not
    part of the finished model.

    Args:
        objective: any module that maps a `CaptionBatch` to a loss.
        region_size: D.
        vocab_size: tokens of the vocabulary, including the reserved ones, which are not predicted.
        weight: w.
    """

    def __init__(self, objective: nn.Module, region_size: int, vocab_size: int, weight: float) -> None:
        super().__init__()
        self.objective = objective
        self.weight = weight
        self.head = nn.Linear(region_size, vocab_size - len(RESERVED))
        nn.init.zeros_(self.head.weight)
        nn.init.constant_(self.head.bias, -5.0)  # most words are in no caption of a photo

    def forward(self, batch: CaptionBatch, progress: float = 0.0) -> Tensor:
        """The loss of a batch, a scalar."""
        logits = self.head(batch.regions.mean(dim=1)).float()  # (B, words)
        shares = word_shares(batch.targets, batch.lengths, logits.shape[1])
        bag_loss = nn.functional.binary_cross_entropy_with_logits(logits, shares, reduction="sum")
        words = batch.lengths.sum()
        return self.objective(batch, progress) + self.weight * global_mean(bag_loss / words, batch.counts * words)


def word_shares(targets: Tensor, lengths: Tensor, words: int) -> Tensor:
    """The share of each photo's captions that contain each word, (B, words) in 0..1.

    Args:
        targets: (B, K, L) ids; the reserved ids, which include padding, are the lowest.
        lengths: (B, K); captions of length 0 do not count.
        words: number of ids that are not reserved.
    """
    # (B, K, V)
    contains = torch.zeros(*targets.shape[:2], words + len(RESERVED), device=targets.device)
    contains.scatter_(2, targets, 1.0)
    captions = (lengths > 0).sum(dim=1, keepdim=True).clamp(min=1)  # (B, 1)
    return contains[..., len(RESERVED) :].sum(dim=1) / captions
