"""Hard attention: a region is drawn for each word, and REINFORCE tells the attention which draws helped."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seesay.models.recurrent import RecurrentDecoder
from seesay.training.inputs.batches import CaptionBatch
from seesay.training.objectives.cross_entropy import attention_penalty
from seesay.training.objectives.grounding import Grounding


class HardAttention(nn.Module):
    """The variational lower bound of Show, Attend and Tell (section 4.1), one sample of the regions s a caption.

        L_s = sum_s p(s | a) log p(y | s, a)  <=  log p(y | a)                                   [equation 10]
        dL_s ~ d log p(y | s, a) + reinforce (R - b) d log p(s | a) + entropy dH[s],  R = log p(y | s, a)   [12]
        b <- 0.9 b + 0.1 mean R                                                                  [4.1; from the first R]

    Everything is divided by the number of words, as cross-entropy is, the entropy by that of the words read. With
    reinforce = 1, entropy = 0 and half_soft = 0 the mean of the estimate is the exact gradient of the bound.

    Args:
        decoder: recurrent, with hard attention.
        label_smoothing, doubly_stochastic: as of `CrossEntropy`; R is without smoothing.
        reinforce: lambda_r.
        entropy: lambda_e.
        half_soft: share of the photos that see the expectation instead of a sample, which needs no REINFORCE.
        grounding: a further term on p(s | a), which is differentiable; None: none.
    """

    baseline: Tensor

    def __init__(
        self,
        decoder: RecurrentDecoder,
        label_smoothing: float = 0.0,
        doubly_stochastic: float = 0.0,
        reinforce: float = 0.1,
        entropy: float = 0.002,
        half_soft: float = 0.5,
        grounding: Grounding | None = None,
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.label_smoothing, self.doubly_stochastic = label_smoothing, doubly_stochastic
        self.reinforce, self.entropy, self.half_soft = reinforce, entropy, half_soft
        self.grounding = grounding
        self.register_buffer("baseline", torch.tensor(float("nan")))

    def forward(self, batch: CaptionBatch, progress: float = 0.0) -> Tensor:
        """The loss of a batch, a scalar; its value is without the REINFORCE term, which has a gradient alone."""
        sample = torch.rand(len(batch.regions), device=batch.regions.device) >= self.half_soft
        decoded = self.decoder(batch.inputs, batch.lengths, self.decoder.prepare(batch.regions), sample)
        asked = batch.asked
        real = torch.arange(asked.shape[2], device=asked.device) < batch.lengths.unsqueeze(-1)
        logprobs = self.decoder.logits(decoded.hidden[asked]).float().log_softmax(dim=-1)
        words = logprobs.gather(-1, batch.targets[asked].unsqueeze(-1)).squeeze(-1)
        loss = -(1 - self.label_smoothing) * words.mean() - self.label_smoothing * logprobs.mean()

        rewards = torch.zeros_like(asked, dtype=words.dtype).masked_scatter(asked, words.detach()).sum(dim=2)  # (B, K)
        advantage = rewards - self._update_baseline(rewards[batch.lengths > 0])
        drawn = real & (decoded.chosen >= 0)
        attention = decoded.attention.float().clamp_min(1e-8)
        choices = attention.gather(-1, decoded.chosen.clamp_min(0).unsqueeze(-1)).squeeze(-1).log()  # log p(s_t | a)
        reinforce = -self.reinforce * (advantage.unsqueeze(-1) * choices)[drawn].sum() / asked.sum()
        loss = loss + reinforce - reinforce.detach()
        loss = loss + self.entropy * (attention * attention.log()).sum(dim=-1)[real].mean()
        if self.doubly_stochastic:
            loss = loss + self.doubly_stochastic * attention_penalty(decoded.attention, batch.lengths)
        if self.grounding:
            loss = loss + self.grounding(decoded.attention, batch.targets, batch.photos, batch.crops)
        return loss

    @torch.no_grad()
    def _update_baseline(self, rewards: Tensor) -> Tensor:
        """b as it was before these rewards; they set it where there were none."""
        mean = rewards.mean()
        before = torch.where(self.baseline.isnan(), mean, self.baseline)
        self.baseline.copy_(0.9 * before + 0.1 * mean)
        return before
