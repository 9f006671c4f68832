"""What training minimises."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seesay.data.tokens import PAD, UNK
from seesay.models.decoder import Decoder
from seesay.training.batches import CaptionBatch


class CrossEntropy(nn.Module):
    """Mean negative log-likelihood of the real tokens, teacher-forced.

    Padding counts for nothing; unknown words are read and never asked for, since they are never written.

        L = -1/N sum_t log p(y_t | y_<t, photo)  +  lambda mean_i (1 - sum_t alpha_ti)^2

    The second term is the doubly stochastic penalty of Show, Attend and Tell (equation 14), over real steps only.

    Args:
        decoder: what is trained.
        label_smoothing: share of the probability spread over all words (https://arxiv.org/abs/1512.00567).
        doubly_stochastic: lambda.
    """

    def __init__(self, decoder: Decoder, label_smoothing: float = 0.0, doubly_stochastic: float = 0.0) -> None:
        super().__init__()
        self.decoder = decoder
        self.label_smoothing = label_smoothing
        self.doubly_stochastic = doubly_stochastic

    def forward(self, batch: CaptionBatch) -> Tensor:
        """The loss of a batch, a scalar."""
        decoded = self.decoder(batch.inputs, batch.lengths, self.decoder.prepare(batch.regions))
        asked = (batch.targets != PAD) & (batch.targets != UNK)
        logits = self.decoder.logits(decoded.hidden[asked])
        loss = nn.functional.cross_entropy(logits.float(), batch.targets[asked], label_smoothing=self.label_smoothing)
        if self.doubly_stochastic:
            loss = loss + self.doubly_stochastic * attention_penalty(decoded.attention, batch.lengths)
        return loss


def attention_penalty(attention: Tensor, lengths: Tensor) -> Tensor:
    """mean over captions and regions of (1 - sum over real steps of alpha)^2.

    Args:
        attention: (B, K, L, P).
        lengths: (B, K) real steps; captions of length 0 do not count.
    """
    steps = torch.arange(attention.shape[2], device=lengths.device)
    real = steps < lengths.unsqueeze(-1)  # (B, K, L)
    looked = (attention * real.unsqueeze(-1)).sum(dim=2)  # (B, K, P)
    return ((1 - looked) ** 2)[lengths > 0].mean()
