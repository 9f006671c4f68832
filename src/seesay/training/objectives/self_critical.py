"""Self-critical sequence training (https://arxiv.org/abs/1612.00563): maximise a score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from seesay.data.tokens import BOS, EOS, NEVER_WRITTEN, RESERVED, CaptionTokenizer, split_words
from seesay.metrics import CiderD, sentence_bleu
from seesay.models.decoder import Decoded, Decoder
from seesay.search import BeamOptions, SampleOptions
from seesay.training.generate import Sentences, beam_sentences, generate, sample_sentences
from seesay.training.inputs.batches import CaptionBatch
from seesay.training.objectives.cross_entropy import CrossEntropy
from seesay.training.objectives.grounding import Grounding
from seesay.training.objectives.reading import Reading, read
from seesay.training.processes import global_mean

END = RESERVED[EOS]


class CaptionReward:
    """The reward of a sentence: CIDEr-D and smoothed BLEU-4 against the photo's captions.

        r(s) = CIDEr-D(s)  +  bleu_weight BLEU+1(s)

    Document frequencies come from the training captions, and words are split as for the dev scores.
    The end token counts as a word; otherwise a sentence that breaks off ("a dog on the") would lose
    nothing.

    Args:
        tokenizer: ids -> text.
        captions: for each training photo its captions.
        bleu_weight: weight of `sentence_bleu`, which is 0 to 1.
    """

    def __init__(
        self, tokenizer: CaptionTokenizer, captions: Sequence[Sequence[str]], bleu_weight: float = 0.0
    ) -> None:
        self.tokenizer = tokenizer
        self.captions = [[[*split_words(caption), END] for caption in photo] for photo in captions]
        self.cider = CiderD(self.captions)
        self.bleu_weight = bleu_weight

    def __call__(self, photos: Sequence[int], sentences: Sequence[Sequence[Sequence[int]]]) -> np.ndarray:
        """The reward of each sentence.

        Args:
            photos: B numbers of training photos.
            sentences: for each of them the ids of K sentences, without start and end.

        Returns:
            (B, K) rewards, 0 (worst) to 10 + bleu_weight.
        """
        words = [[[*self.tokenizer.split(ids), END] for ids in photo] for photo in sentences]
        flat = [sentence for photo in words for sentence in photo]
        rewards = self.cider.score(flat, np.repeat(photos, len(flat) // len(photos))).reshape(len(photos), -1)
        if self.bleu_weight:
            pairs = zip(photos, words, strict=True)
            # (B, K)
            bleu = np.array([sentence_bleu(group, self.captions[photo]) for photo, group in pairs])
            rewards += self.bleu_weight * bleu
        return rewards


class SelfCritical(CrossEntropy):
    """Raises the reward of the sentences that the decoder writes.

        L = -1/(B K) sum_k a_k log p(s_k | photo)  +  w L_cross_entropy
        a_k = r(s_k) - r(greedy sentence)               `baseline="greedy"`, Rennie et al. 2017
        a_k = r(s_k) - 1/(K - 1) sum_{j != k} r(s_j)    `baseline="samples"`, Luo 2020, https://arxiv.org/abs/2003.09971
        a_k = K q_k (r(s_k) - sum_j q_j r(s_j))         `baseline="expected"`, with q = softmax_k log p(s_k | photo)

    The first two are REINFORCE. The third is minimum risk training (Shen et al. 2016,
    https://arxiv.org/abs/1512.02433; Edunov et al. 2018, https://arxiv.org/abs/1711.04956): the
    gradient of L is then that of minus the expected reward when one of the K sentences is picked
    with probability q_k, so that an unlikely sentence hardly counts. q is a constant, the
    probabilities that the decoder gave in eval mode while generating, over all tokens.

    The K sentences come either from beam search (Cornia et al. 2020,
    https://arxiv.org/abs/1912.08226, section 3.3), so that training chooses among sentences that a
    user may get, or from sampling. With samples and dropout 0 the gradient is an unbiased estimate
    of the gradient of the expected reward, but much of it concerns sentences that no search would
    write.

    Sentences are generated with `step`, in eval mode and without gradient. One teacher-forced pass
    in the objective's own mode then gives their log-probabilities. Tokens that are never written
    have no share in p, and an end token that the length limit forced has no gradient.

    Args:
        decoder: the decoder to train; it should already write sentences.
        reward: scores sentences.
        sentences: "beams" or "drawn" (sampled).
        samples: K.
        baseline: which reward a sentence's reward is compared with; all but "greedy" need K >= 2.
        search: constraints and `max_words` for beam search; samples use its `max_words` only.
        cross_entropy_weight: w.
        label_smoothing, doubly_stochastic: for the cross-entropy.
        grounding: an additional term for the generated sentences and the photo's captions, or None.
    """

    def __init__(
        self,
        decoder: Decoder,
        reward: CaptionReward,
        sentences: Literal["beams", "drawn"] = "beams",
        samples: int = 5,
        baseline: Literal["greedy", "samples", "expected"] = "expected",
        search: BeamOptions | None = None,
        cross_entropy_weight: float = 0.0,
        label_smoothing: float = 0.0,
        doubly_stochastic: float = 0.0,
        grounding: Grounding | None = None,
    ) -> None:
        super().__init__(decoder, label_smoothing, doubly_stochastic, grounding=grounding)
        self.reward = reward
        self.sentences = sentences
        self.baseline = baseline
        self.search = replace(search or BeamOptions(), beam=samples)
        self.sampling = SampleOptions(samples, temperature=1, top_p=1, max_words=self.search.max_words)
        self.cross_entropy_weight = cross_entropy_weight

    def forward(self, batch: CaptionBatch, progress: float = 0.0) -> Tensor:
        """A scalar whose gradient is that of L.

        Its value is minus the reward plus w times the cross-entropy. The reward is the mean over
        the sentences, with `baseline="expected"` weighted by q.
        """
        sentences, reward, advantages = self._explore(batch)
        written = self.read(self.decoder.prepare(batch.regions), sentences)
        loss = self.surrogate(written.decoded, sentences, advantages)
        loss = global_mean(loss - loss.detach() - reward, batch.counts * len(batch.photos))
        if self.grounding:
            loss = loss + self.grounding(written, batch, progress)
        if self.cross_entropy_weight or self.grounding:
            real = self.read_captions(batch, progress)
            if self.cross_entropy_weight:
                loss = loss + self.cross_entropy_weight * self.caption_loss(real.decoded, batch)
            if self.grounding:
                loss = loss + self.grounding(real, batch, progress)
        return loss

    def read(self, memory: Any, sentences: Sentences) -> Reading:
        """A teacher-forced pass over the sentences."""
        tokens = sentences.tokens  # (B, K, L)
        inputs = torch.cat([torch.full_like(tokens[..., :1], BOS), tokens[..., :-1]], dim=-1)
        return read(self.decoder, tokens, inputs, sentences.lengths, memory)

    def surrogate(self, decoded: Decoded, sentences: Sentences, advantages: Tensor) -> Tensor:
        """-1/(B K) sum_k a_k log p(s_k | photo), a scalar.

        Args:
            decoded: a teacher-forced pass over the sentences of B photos.
            sentences: K for each photo, the longest first.
            advantages: (B, K) a, constants.
        """
        tokens = sentences.tokens
        positions = torch.arange(tokens.shape[-1], device=tokens.device)
        # (B, K, L)
        chosen = positions < sentences.lengths.clamp(max=self.search.max_words).unsqueeze(-1)
        logits = self.decoder.logits(decoded.hidden[chosen]).float()  # (N, V)
        ids = torch.arange(logits.shape[-1], device=tokens.device)
        logits = logits.masked_fill(torch.isin(ids, tokens.new_tensor(NEVER_WRITTEN)), -torch.inf)
        cost = nn.functional.cross_entropy(logits, tokens[chosen], reduction="none")  # (N,)
        return (advantages.unsqueeze(-1).expand(chosen.shape)[chosen] * cost).sum() / advantages.numel()

    @torch.no_grad()
    def _explore(self, batch: CaptionBatch) -> tuple[Sentences, Tensor, Tensor]:
        """Generate sentences; also returns their reward, a scalar, and advantages a, (B, K)."""
        photos = batch.photos.tolist()
        with _in_eval_mode(self.decoder):
            memory = self.decoder.prepare(batch.regions)
            if self.sentences == "beams":
                sentences = beam_sentences(self.decoder, memory, self.search)
            else:
                sentences = sample_sentences(self.decoder, memory, self.sampling)
            without_end = [
                [ids[: n - 1] for ids, n in zip(*photo, strict=True)]
                for photo in zip(sentences.tokens.tolist(), sentences.lengths.tolist(), strict=True)
            ]
            rewards = self.reward(photos, without_end)  # (B, K)
            reward = rewards.mean()
            if self.baseline == "greedy":
                greedy = generate(self.decoder, memory, replace(self.search, beam=1))
                advantages = rewards - self.reward(photos, [[best.tokens] for best, *_ in greedy])
            elif self.baseline == "samples":
                advantages = rewards - mean_of_others(rewards)
            else:
                logprobs = sentences.logprobs.sum(-1).cpu().double()  # an Apple GPU has no doubles
                q = logprobs.softmax(-1).numpy()  # (B, K)
                reward = (q * rewards).sum(axis=1).mean()
                advantages = above_expected(rewards, q)
        torch.clear_autocast_cache()  # see `mix_in_own_words`
        # float32 even if the regions are in half precision, which is too coarse for reward
        # differences
        device = batch.regions.device
        reward = torch.as_tensor(reward, dtype=torch.float32).to(device)
        advantages = torch.as_tensor(advantages, dtype=torch.float32).to(device)
        return sentences, reward, advantages


def above_expected(rewards: np.ndarray, q: np.ndarray) -> np.ndarray:
    """The advantages K q_k (r_k - sum_j q_j r_j), (B, K).

    Args:
        rewards: (B, K).
        q: (B, K), rows summing to 1.
    """
    return q.shape[1] * q * (rewards - (q * rewards).sum(axis=1, keepdims=True))


def mean_of_others(rewards: np.ndarray) -> np.ndarray:
    """For each sentence the mean reward of the photo's other K - 1 sentences: (B, K) -> (B, K)."""
    return (rewards.sum(axis=1, keepdims=True) - rewards) / (rewards.shape[1] - 1)


@contextmanager
def _in_eval_mode(module: nn.Module) -> Iterator[None]:
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
