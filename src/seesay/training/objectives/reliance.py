"""Words that depend on the attention that is shown (`train.reliance`)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seesay.models.decoder import Decoded
from seesay.training.inputs.batches import CaptionBatch
from seesay.training.objectives.reading import BoxedWords, Reading
from seesay.training.processes import global_mean, process_average

UNIFORM, OTHER_PHOTO, OTHER_WORD = range(3)


class Reliance(nn.Module):
    """Words with boxes should become less likely if their attention is replaced by another map.

        L = w max(0, 1/N sum over N words with boxes ( m max(0, mass_t - mass'_t) - fall_t ))
        fall_t = log p(y_t | alpha_t) - log p(y_t | alpha'_t)

    alpha' are uniform weights, the weights of another photo, or those of another word of the same
    photo, for a third of the photos each. mass_t and mass'_t are the shares of alpha_t and alpha'_t
    inside the word's boxes, so nothing is asked where the other map looks at the thing as well. The
    gradient reaches the words through fall only, and only by log p(y_t | alpha'_t): the words
    themselves do not become likelier by it.

    Without this term a decoder may learn to point at things and write the words from elsewhere,
    such as the attention of a lower layer; a swap of the maps would then change nothing.

    Args:
        weight: w (`train.reliance`).
        margin: m, the fall in nats for a map that has nothing of its mass in the boxes, where the
            word's own has all.
    """

    def __init__(self, weight: float, margin: float = 1.0) -> None:
        super().__init__()
        self.weight, self.margin = weight, margin

    def forward(self, reading: Reading, words: BoxedWords | None, batch: CaptionBatch, progress: float = 0.0) -> Tensor:
        """The loss of a batch, a scalar; 0 where no word has boxes.

        Args:
            reading: the sentences whose words shall depend on their maps.
            words: those with boxes, or None.
            batch: the photos.
            progress: the finished share of the run, 0 to 1; which map replaces a photo's maps
                changes with it.
        """
        excess, number = reading.decoded.hidden.new_zeros(()), 0
        if words is not None:
            kinds = (batch.photos + round(progress * 1_000)) % 3
            excess, number = self._excess(reading, words, kinds), len(words.inside)
        excess = global_mean(excess, batch.counts * number)
        return self.weight * excess * (process_average(excess) > 0)

    def _excess(self, reading: Reading, words: BoxedWords, kinds: Tensor) -> Tensor:
        """By how much the falls are less than what is wanted, the mean over the words."""
        softmax = reading.decoder.region_weights
        replace = softmax.register_forward_hook(lambda *call: other_weights(call[-1], kinds, softmax.words))
        try:
            replaced = reading.again()
        finally:
            replace.remove()
        own, other = (_logprobs(reading, decoded, words) for decoded in (reading.decoded, replaced))
        displaced = words.mass(reading.decoded.attention) - words.mass(replaced.attention)
        wanted = self.margin * displaced.detach().clamp_min(0)
        return (wanted - own.detach() + other).mean()


def _logprobs(reading: Reading, decoded: Decoded, words: BoxedWords) -> Tensor:
    """The log-probabilities of the words, (N,)."""
    targets = reading.targets[words.steps].unsqueeze(-1)  # (N, 1)
    logits = reading.decoder.logits(decoded.hidden[words.steps]).float()  # (N, V)
    return logits.log_softmax(dim=-1).gather(-1, targets).squeeze(-1)


def other_weights(weights: Tensor, kinds: Tensor, words: int) -> Tensor:
    """The weights that replace those of a call of `Decoder.region_weights`.

    Args:
        weights: (B, ..., P), rows summing to 1.
        kinds: (B or more,) `UNIFORM`, `OTHER_PHOTO` or `OTHER_WORD` for each photo.
        words: the dimension of the words, 1 or 2. The other word is a third of the row away.
    """
    weights = weights.detach()
    kinds = kinds[: len(weights)].view(-1, *[1] * (weights.dim() - 1))
    of_word = weights.roll(max(1, weights.shape[words] // 3), dims=words)
    other = torch.where(kinds == OTHER_WORD, of_word, weights.roll(1, dims=0))
    return torch.where(kinds == UNIFORM, torch.full_like(weights, 1 / weights.shape[-1]), other)
