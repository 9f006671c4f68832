"""Self-critical sequence training (Rennie et al. 2017, https://arxiv.org/abs/1612.00563): the score as the aim."""

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

END = RESERVED[EOS]


class CaptionReward:
    """CIDEr-D of sentences against the training captions, whose document frequencies it uses, and their BLEU.

        r(s) = CIDEr-D(s)  +  bleu_weight BLEU+1(s)

    The words are those that the dev captions are scored by, and the end is a word like the others: without it a
    sentence that breaks off ("a dog on the") would lose nothing.

    Args:
        tokenizer: ids -> text.
        captions: for each training photo its captions.
        bleu_weight: of `sentence_bleu`, which is 0 to 1.
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
            sentences: for each of them K sentences' ids, without start and end.

        Returns:
            (B, K), each 0 (worst) to 10 + bleu_weight.
        """
        words = [[[*self.tokenizer.split(ids), END] for ids in photo] for photo in sentences]
        flat = [sentence for photo in words for sentence in photo]
        found = self.cider.score(flat, np.repeat(photos, len(flat) // len(photos))).reshape(len(photos), -1)
        if self.bleu_weight:
            pairs = zip(photos, words, strict=True)
            found += self.bleu_weight * np.array([sentence_bleu(own, self.captions[photo]) for photo, own in pairs])
        return found


class SelfCritical(CrossEntropy):
    """Raises the reward of the sentences that the decoder writes.

        L = -1/(B K) sum_k a_k log p(s_k | photo)  +  w L_cross_entropy
        a_k = r(s_k) - r(greedy sentence)               `baseline="greedy"`, Rennie et al. 2017
        a_k = r(s_k) - 1/(K - 1) sum_{j != k} r(s_j)    `baseline="samples"`, Luo 2020, https://arxiv.org/abs/2003.09971
        a_k = K q_k (r(s_k) - sum_j q_j r(s_j))         `baseline="expected"`, with q = softmax_k log p(s_k | photo)

    The first two are REINFORCE. The third is minimum risk training (Shen et al. 2016, https://arxiv.org/abs/1512.02433;
    Edunov et al. 2018, https://arxiv.org/abs/1711.04956): the gradient of -1/B sum_k q_k r(s_k), what one may expect of
    the K sentences if one of them has to be taken. A sentence that the decoder holds for unlikely hardly counts. q is
    a constant, from the search: of the decoder in eval mode, over all words.

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
        baseline: what a sentence has to beat; all but "greedy" need two sentences.
        search: constraints and `max_words` of the beams; of what is drawn its `max_words` alone.
        cross_entropy_weight: w.
        label_smoothing, doubly_stochastic: of the cross-entropy.
        grounding: a further term, of the sentences, and of the photo's captions too; None: none.
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
        self.drawing = SampleOptions(samples, temperature=1, top_p=1, max_words=self.search.max_words)
        self.cross_entropy_weight = cross_entropy_weight

    def forward(self, batch: CaptionBatch, progress: float = 0.0) -> Tensor:
        """A scalar whose gradient is L's, and whose value is minus the reward (plus w times the cross-entropy).

        The reward is the mean over the sentences, or with `baseline="expected"` what one may expect of them.
        """
        found, reward, advantages = self._explore(batch)
        decoded = self.read(self.decoder.prepare(batch.regions), found)
        loss = self.surrogate(decoded, found, advantages)
        loss = loss - loss.detach() - reward
        if self.grounding:
            loss = loss + self.grounding(decoded.attention, found.tokens, batch.photos, batch.crops)
        if self.cross_entropy_weight or self.grounding:
            real = self.read_captions(batch, progress)
            if self.cross_entropy_weight:
                loss = loss + self.cross_entropy_weight * self.caption_loss(real, batch)
            if self.grounding:
                loss = loss + self.grounding(real.attention, batch.targets, batch.photos, batch.crops)
        return loss

    def read(self, memory: Any, found: Sentences) -> Decoded:
        """A teacher-forced pass over the sentences."""
        inputs = torch.cat([torch.full_like(found.tokens[..., :1], BOS), found.tokens[..., :-1]], dim=-1)
        return self.decoder(inputs, found.lengths, memory)

    def surrogate(self, decoded: Decoded, found: Sentences, advantages: Tensor) -> Tensor:
        """-1/(B K) sum_k a_k log p(s_k | photo), a scalar.

        Args:
            decoded: a teacher-forced pass over the sentences of B photos.
            found: K sentences of each, the longest first.
            advantages: (B, K) a, constants.
        """
        places = torch.arange(found.tokens.shape[-1], device=found.tokens.device)
        chosen = places < found.lengths.clamp(max=self.search.max_words).unsqueeze(-1)
        logits = self.decoder.logits(decoded.hidden[chosen]).float()
        never = found.tokens.new_tensor(NEVER_WRITTEN)
        never = torch.isin(torch.arange(logits.shape[-1], device=never.device), never)
        logits = logits.masked_fill(never, -torch.inf)
        cost = nn.functional.cross_entropy(logits, found.tokens[chosen], reduction="none")
        return (advantages.unsqueeze(-1).expand(chosen.shape)[chosen] * cost).sum() / advantages.numel()

    @torch.no_grad()
    def _explore(self, batch: CaptionBatch) -> tuple[Sentences, Tensor, Tensor]:
        """Sentences, their reward (a scalar), and how much likelier each should become, (B, K)."""
        photos = batch.photos.tolist()
        with _in_eval_mode(self.decoder):
            memory = self.decoder.prepare(batch.regions)
            if self.sentences == "beams":
                found = beam_sentences(self.decoder, memory, self.search)
            else:
                found = sample_sentences(self.decoder, memory, self.drawing)
            sentences = [
                [ids[: n - 1] for ids, n in zip(*photo, strict=True)]
                for photo in zip(found.tokens.tolist(), found.lengths.tolist(), strict=True)
            ]
            rewards = self.reward(photos, sentences)
            reward = rewards.mean()
            if self.baseline == "greedy":
                greedy = generate(self.decoder, memory, replace(self.search, beam=1))
                advantages = rewards - self.reward(photos, [[best.tokens] for best, *_ in greedy])
            elif self.baseline == "samples":
                advantages = rewards - mean_of_others(rewards)
            else:
                q = found.logprobs.sum(-1).cpu().double().softmax(-1).numpy()  # an Apple GPU has no doubles
                reward = (q * rewards).sum(axis=1).mean()
                advantages = above_expected(rewards, q)
        torch.clear_autocast_cache()  # see `mix_in_own_words`
        device = batch.regions.device  # whose regions may be of half precision, too coarse for a difference of rewards
        reward, advantages = (torch.as_tensor(each, dtype=torch.float32) for each in (reward, advantages))
        return found, reward.to(device), advantages.to(device)


def above_expected(rewards: np.ndarray, q: np.ndarray) -> np.ndarray:
    """(B, K) rewards and probabilities, whose sum over K is 1 -> (B, K), K q_k (r_k - sum_j q_j r_j)."""
    return q.shape[1] * q * (rewards - (q * rewards).sum(axis=1, keepdims=True))


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
