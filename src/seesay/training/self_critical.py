"""Self-critical sequence training (Rennie et al. 2017, https://arxiv.org/abs/1612.00563): CIDEr-D as the aim."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from seesay.data.tokens import BOS, EOS, NEVER_WRITTEN, RESERVED, CaptionTokenizer, split_words
from seesay.metrics import CiderD
from seesay.models.decoder import Decoder
from seesay.search import Samples, SearchOptions
from seesay.training.batches import CaptionBatch
from seesay.training.generate import beams, draw, generate
from seesay.training.objective import CrossEntropy

END = RESERVED[EOS]


class CaptionReward:
    """CIDEr-D of sentences against the training captions, whose document frequencies it uses.

    The words are those that the dev captions are scored by, and the end is a word like the others: without it a
    sentence that breaks off ("a dog on the") would lose nothing.

    Args:
        tokenizer: ids -> text.
        captions: for each training photo its captions.
    """

    def __init__(self, tokenizer: CaptionTokenizer, captions: Sequence[Sequence[str]]) -> None:
        self.tokenizer = tokenizer
        self.cider = CiderD([[[*split_words(caption), END] for caption in photo] for photo in captions])

    def __call__(self, photos: Sequence[int], sentences: Sequence[Sequence[Sequence[int]]]) -> np.ndarray:
        """The reward of each sentence.

        Args:
            photos: B numbers of training photos.
            sentences: for each of them K sentences' ids, without start and end.

        Returns:
            (B, K), each 0 (worst) to 10.
        """
        words = [[*self.tokenizer.split(ids), END] for photo in sentences for ids in photo]
        return self.cider.score(words, np.repeat(photos, len(words) // len(photos))).reshape(len(photos), -1)


class SelfCritical(CrossEntropy):
    """Raises the reward of the sentences that the decoder writes (REINFORCE with a baseline).

        L = -1/(B K) sum_k (r(s_k) - b_k) log p(s_k | photo)  +  w L_cross_entropy
        b_k = r(greedy sentence)                        `baseline="greedy"`, Rennie et al. 2017
        b_k = 1/(K - 1) sum_{j != k} r(s_j)             `baseline="samples"`, Luo 2020, https://arxiv.org/abs/2003.09971

    The K sentences are the beams of a search (Cornia et al. 2020, https://arxiv.org/abs/1912.08226, section 3.3): what
    whoever uses the model might get, so that the better of good sentences wins. Or they are drawn from p: then, with
    dropout 0, the gradient is that of the expected reward, without bias; but much of it is about sentences that no
    search would ever write.

    Sentences are found, and the greedy one is written, in eval mode and without gradient, word by word; the
    log-probabilities then come from one teacher-forced pass in the objective's own mode. Words that are never written
    have no share in p, and an end at the last place was no choice and has no gradient.

    Args:
        decoder: what is trained; it should write sentences already.
        reward: of sentences.
        sentences: where they come from.
        samples: K.
        baseline: what a sentence has to beat; "samples" needs two of them.
        search: how beams are looked for, but for their number; sentences that are drawn obey its `max_words` too.
        cross_entropy_weight: w.
        label_smoothing, doubly_stochastic: of the cross-entropy.
    """

    def __init__(
        self,
        decoder: Decoder,
        reward: CaptionReward,
        sentences: Literal["beams", "drawn"] = "beams",
        samples: int = 5,
        baseline: Literal["greedy", "samples"] = "samples",
        search: SearchOptions | None = None,
        cross_entropy_weight: float = 0.0,
        label_smoothing: float = 0.0,
        doubly_stochastic: float = 0.0,
    ) -> None:
        super().__init__(decoder, label_smoothing, doubly_stochastic)
        self.reward = reward
        self.sentences = sentences
        self.baseline = baseline
        self.search = replace(search or SearchOptions(), beam=samples)
        self.cross_entropy_weight = cross_entropy_weight

    def forward(self, batch: CaptionBatch, progress: float = 0.0) -> Tensor:
        """A scalar whose value is minus the mean reward (plus w times the cross-entropy), and whose gradient is L's."""
        found, rewards, baselines = self._explore(batch)
        loss = self.surrogate(self.decoder.prepare(batch.regions), found, rewards - baselines)
        loss = loss - loss.detach() - rewards.mean()
        if self.cross_entropy_weight:
            loss = loss + self.cross_entropy_weight * super().forward(batch, progress)
        return loss

    def surrogate(self, memory: Any, found: Samples, advantages: Tensor) -> Tensor:
        """-1/(B K) sum_k advantage_k log p(s_k | photo), a scalar.

        Args:
            memory: of B photos.
            found: K sentences of each, the longest first.
            advantages: (B, K) r - b, constants.
        """
        inputs = torch.cat([torch.full_like(found.tokens[..., :1], BOS), found.tokens[..., :-1]], dim=-1)
        decoded = self.decoder(inputs, found.lengths, memory)
        places = torch.arange(inputs.shape[-1], device=inputs.device)
        chosen = places < found.lengths.clamp(max=self.search.max_words).unsqueeze(-1)
        logits = self.decoder.logits(decoded.hidden[chosen]).float()
        never = torch.isin(torch.arange(logits.shape[-1], device=inputs.device), inputs.new_tensor(NEVER_WRITTEN))
        logits = logits.masked_fill(never, -torch.inf)
        cost = nn.functional.cross_entropy(logits, found.tokens[chosen], reduction="none")
        return (advantages.unsqueeze(-1).expand(chosen.shape)[chosen] * cost).sum() / advantages.numel()

    @torch.no_grad()
    def _explore(self, batch: CaptionBatch) -> tuple[Samples, Tensor, Tensor]:
        """Sentences, their rewards (B, K), and what these are measured against, (B, K) or (B, 1)."""
        photos = batch.photos.tolist()
        with _in_eval_mode(self.decoder):
            memory = self.decoder.prepare(batch.regions)
            if self.sentences == "beams":
                found = beams(self.decoder, memory, self.search)
            else:
                found = draw(self.decoder, memory, self.search.beam, self.search.max_words)
            sentences = [
                [ids[: n - 1] for ids, n in zip(*photo, strict=True)]
                for photo in zip(found.tokens.tolist(), found.lengths.tolist(), strict=True)
            ]
            rewards = self.reward(photos, sentences)
            if self.baseline == "greedy":
                greedy = generate(self.decoder, memory, replace(self.search, beam=1))
                baselines = self.reward(photos, [[best.tokens] for best, *_ in greedy])
            else:
                baselines = mean_of_others(rewards)
        torch.clear_autocast_cache()  # see `mix_in_own_words`
        device = batch.regions.device  # whose regions may be of half precision, too coarse for a difference of rewards
        rewards, baselines = (torch.as_tensor(each, dtype=torch.float32) for each in (rewards, baselines))
        return found, rewards.to(device), baselines.to(device)


def mean_of_others(rewards: np.ndarray) -> np.ndarray:
    """(B, K) -> (B, K), for each sample the mean reward of the photo's other K - 1."""
    return (rewards.sum(axis=1, keepdims=True) - rewards) / (rewards.shape[1] - 1)


@contextmanager
def _in_eval_mode(module: nn.Module) -> Iterator[None]:
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
