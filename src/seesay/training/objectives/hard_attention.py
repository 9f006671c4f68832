"""Hard attention: a region is sampled for each word, and the choice is learnt by REINFORCE."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seesay.models.recurrent import RecurrentDecoder
from seesay.training.inputs.batches import CaptionBatch
from seesay.training.objectives.cross_entropy import attention_penalty
from seesay.training.objectives.grounding import Grounding
from seesay.training.objectives.reading import read
from seesay.training.processes import global_mean, process_average


class HardAttention(nn.Module):
    """The variational lower bound of Show, Attend and Tell (section 4.1).

    For each caption one sequence of regions s is sampled:

        L_s = sum_s p(s | a) log p(y | s, a)  <=  log p(y | a)                                   [equation 10]
        dL_s ~ d log p(y | s, a) + reinforce (R - b) d log p(s | a) + entropy dH[s],  R = log p(y | s, a)   [12]
        b <- 0.9 b + 0.1 mean R                                                                  [4.1; from the first R]

    The terms are divided by the number of target words, as in cross-entropy, and the entropy by the
    number of input words. With reinforce = 1, entropy = 0 and expectation_share = 0 the gradient is
    an unbiased estimate of the gradient of the bound.

    Args:
        decoder: recurrent, with hard attention.
        label_smoothing, doubly_stochastic: as for `CrossEntropy`; R has no smoothing.
        reinforce: lambda_r.
        entropy: lambda_e.
        expectation_share: share of the photos whose context is the expectation over the regions
            instead of a sampled region; they need no REINFORCE.
        grounding: an additional, differentiable term on p(s | a), or None.
    """

    baseline: Tensor

    def __init__(
        self,
        decoder: RecurrentDecoder,
        label_smoothing: float = 0.0,
        doubly_stochastic: float = 0.0,
        reinforce: float = 0.1,
        entropy: float = 0.002,
        expectation_share: float = 0.5,
        grounding: Grounding | None = None,
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.label_smoothing, self.doubly_stochastic = label_smoothing, doubly_stochastic
        self.reinforce, self.entropy, self.expectation_share = reinforce, entropy, expectation_share
        self.grounding = grounding
        self.register_buffer("baseline", torch.tensor(float("nan")))

    def forward(self, batch: CaptionBatch, progress: float = 0.0) -> Tensor:
        """The loss of a batch, a scalar; REINFORCE changes its gradient but not its value."""
        sample = torch.rand(len(batch.regions), device=batch.regions.device) >= self.expectation_share
        memory = self.decoder.prepare(batch.regions)
        reading = read(self.decoder, batch.targets, batch.inputs, batch.lengths, memory, sample)
        decoded = reading.decoded
        assert decoded.chosen is not None
        mask = batch.loss_mask  # (B, K, L)
        # (B, K, L)
        real = torch.arange(mask.shape[2], device=mask.device) < batch.lengths.unsqueeze(-1)
        logprobs = self.decoder.logits(decoded.hidden[mask]).float().log_softmax(dim=-1)  # (N, V)
        words = logprobs.gather(-1, batch.targets[mask].unsqueeze(-1)).squeeze(-1)  # (N,)
        loss = -(1 - self.label_smoothing) * words.mean() - self.label_smoothing * logprobs.mean()

        rewards = torch.zeros_like(mask, dtype=words.dtype)
        rewards = rewards.masked_scatter(mask, words.detach()).sum(dim=2)  # (B, K)
        advantage = rewards - self._update_baseline(rewards[batch.lengths > 0], batch.counts)
        sampled = real & (decoded.chosen >= 0)  # (B, K, L)
        attention = decoded.attention.float().clamp_min(1e-8)
        region = decoded.chosen.clamp_min(0).unsqueeze(-1)  # (B, K, L, 1)
        choices = attention.gather(-1, region).squeeze(-1).log()  # (B, K, L), log p(s_t | a)
        reinforce = -self.reinforce * (advantage.unsqueeze(-1) * choices)[sampled].sum() / mask.sum()
        loss = global_mean(loss + reinforce - reinforce.detach(), batch.counts * mask.sum())
        of_steps = self.entropy * (attention * attention.log()).sum(dim=-1)[real].mean()
        if self.doubly_stochastic:
            of_steps = of_steps + self.doubly_stochastic * attention_penalty(decoded.attention, batch.lengths)
        loss = loss + global_mean(of_steps, batch.counts * real.sum())
        if self.grounding:
            loss = loss + self.grounding(reading, batch, progress)
        return loss

    @torch.no_grad()
    def _update_baseline(self, rewards: Tensor, counts: Tensor | int = 1) -> Tensor:
        """Update b with the mean reward of all processes and return its value from before; the first rewards set it."""
        mean = process_average(global_mean(rewards.mean(), counts * len(rewards)))
        before = torch.where(self.baseline.isnan(), mean, self.baseline)
        self.baseline.copy_(0.9 * before + 0.1 * mean)
        return before
