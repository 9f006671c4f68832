"""Cross-entropy with optional regularisers, scheduled sampling and a grounding term."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seesay.data.tokens import BOS, EOS, NEVER_WRITTEN, PAD, UNK
from seesay.models.decoder import Decoded, Decoder
from seesay.models.kernels.linear_cross_entropy import linear_cross_entropy
from seesay.training.inputs.batches import CaptionBatch
from seesay.training.objectives.grounding import Grounding
from seesay.training.objectives.reading import Reading, read
from seesay.training.processes import global_mean


class CrossEntropy(nn.Module):
    """Mean negative log-likelihood of the real tokens, teacher-forced.

    Padding does not count. Unknown words are inputs but not targets, because the model never writes
    them.

        L = 1/N sum over captions ( -sum_t log p(y_t | y_<t, photo)  +  lambda sum_i (1 - sum_t alpha_ti)^2 )

    The second term is the doubly stochastic penalty of Show, Attend and Tell (equation 14), over
    real steps only; N counts the words of the batch. With scheduled sampling some input words are
    sampled from the decoder (`mix_in_own_words`); the targets do not change.

    Args:
        decoder: the decoder to train.
        label_smoothing: share of the probability spread over all words
            (https://arxiv.org/abs/1512.00567).
        doubly_stochastic: lambda.
        scheduled_sampling: probability at the end of the run that an input word is the decoder's
            own.
        word_dropout: probability that an input word is replaced by the unknown word
            (https://arxiv.org/abs/1511.06349, section 3.1), so that the decoder relies more on the
            photo. The start token is never replaced.
        grounding: an additional term that teaches attention where named things are, or None.
    """

    def __init__(
        self,
        decoder: Decoder,
        label_smoothing: float = 0.0,
        doubly_stochastic: float = 0.0,
        scheduled_sampling: float = 0.0,
        word_dropout: float = 0.0,
        grounding: Grounding | None = None,
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.word_dropout = word_dropout
        self.label_smoothing = label_smoothing
        self.doubly_stochastic = doubly_stochastic
        self.scheduled_sampling = scheduled_sampling
        self.grounding = grounding

    def forward(self, batch: CaptionBatch, progress: float = 0.0) -> Tensor:
        """The loss of a batch, a scalar; `progress` is the finished share of the run, 0 to 1."""
        reading = self.read_captions(batch, progress)
        loss = self.caption_loss(reading.decoded, batch)
        if self.grounding:
            loss = loss + self.grounding(reading, batch, progress)
        return loss

    def read_captions(self, batch: CaptionBatch, progress: float) -> Reading:
        """A teacher-forced pass over the batch's captions, with some input words replaced."""
        memory = self.decoder.prepare(batch.regions)
        inputs = batch.inputs
        if probability := self.scheduled_sampling * progress:
            inputs = mix_in_own_words(self.decoder, inputs, batch.lengths, memory, probability)
        if self.word_dropout and self.training:
            dropped = torch.rand_like(inputs, dtype=torch.float32) < self.word_dropout
            inputs = inputs.masked_fill(dropped & (inputs != BOS) & (inputs != PAD), UNK)
        return read(self.decoder, batch.targets, inputs, batch.lengths, memory)

    def caption_loss(self, decoded: Decoded, batch: CaptionBatch) -> Tensor:
        """The loss without the grounding term."""
        loss = self.word_loss(decoded, batch)
        if self.doubly_stochastic:
            penalty = attention_penalty(decoded.attention, batch.lengths)
            loss = loss + self.doubly_stochastic * global_mean(penalty, batch.counts * batch.lengths.sum())
        return loss

    def word_loss(self, decoded: Decoded, batch: CaptionBatch) -> Tensor:
        """The first term: the mean over the target words."""
        embedding, mask = self.decoder.embedding, batch.loss_mask
        hidden, matrix = embedding.output_projection(decoded.hidden[mask])
        weights = None
        if batch.weights.numel():
            weights = batch.weights.unsqueeze(-1).expand_as(batch.targets)[mask]
        targets = batch.targets[mask]
        mean = linear_cross_entropy(hidden, matrix, embedding.bias, targets, self.label_smoothing, weights)
        return global_mean(mean, batch.counts * len(targets))


@torch.no_grad()
def mix_in_own_words(decoder: Decoder, inputs: Tensor, lengths: Tensor, memory: Any, probability: float) -> Tensor:
    """Scheduled sampling: replace some input words by words sampled from the decoder.

    This is the parallel form (https://arxiv.org/abs/1906.07651) of
    https://arxiv.org/abs/1506.03099. A first pass over the real words predicts a distribution at
    each position. Each input word except the start token is then replaced, with the given
    probability, by a sample from the distribution for its position. End tokens are never inputs, so
    they are never sampled.

    Args:
        decoder: in training or eval mode; the mode is not changed.
        inputs: (B, K, L) ids, start token first.
        lengths: (B, K).
        memory: the memory of the B photos.
        probability: 0 to 1.

    Returns:
        (B, K, L) ids, some of them replaced.
    """
    positions = torch.arange(inputs.shape[-1] - 1, device=inputs.device)
    replaced = (positions < lengths.unsqueeze(-1) - 1) & (
        torch.rand_like(inputs[..., 1:], dtype=torch.float32) < probability
    )
    logits = decoder.logits(decoder(inputs, lengths, memory).hidden[..., :-1, :][replaced]).float()
    logits[:, [*NEVER_WRITTEN, EOS]] = -torch.inf
    mixed = inputs.clone()
    mixed[..., 1:][replaced] = logits.softmax(dim=-1).multinomial(1).squeeze(-1)
    # else older torch reuses these gradient-free casts in the pass that needs gradients
    torch.clear_autocast_cache()
    return mixed


def attention_penalty(attention: Tensor, lengths: Tensor) -> Tensor:
    """The doubly stochastic penalty of a batch, a scalar.

    It is the sum over captions and regions of (1 - sum over real steps of alpha)^2, divided by the
    number of real steps.

    Args:
        attention: (B, K, L, P).
        lengths: (B, K) real steps; captions of length 0 do not count.
    """
    steps = torch.arange(attention.shape[2], device=lengths.device)
    real = steps < lengths.unsqueeze(-1)  # (B, K, L)
    total = (attention * real.unsqueeze(-1)).sum(dim=2)  # (B, K, P)
    return ((1 - total) ** 2)[lengths > 0].sum() / real.sum()
