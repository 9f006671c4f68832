"""Sampling against enumeration, against greedy search, and on both backends."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from seesay.search import Samples, SearchOptions, beam_search, sample

START, END = 0, 1
FORBIDDEN = (0, 2)


class Chain:
    """A language in which each word depends on the photo and the word before; log-probabilities (B, V, V)."""

    def __init__(self, seed: int = 0, batch: int = 2, vocab: int = 5) -> None:
        logits = np.random.default_rng(seed).normal(0, 1.5, (batch, vocab, vocab))
        logits[:, :, FORBIDDEN] += 3  # the model would love to write them
        self.table = (logits - np.log(np.exp(logits).sum(-1, keepdims=True))).astype(np.float32)
        self.steps = 0

    def step(self, tokens, state, memory):
        self.steps += 1
        ids = np.asarray(tokens)
        photos = memory[0][:, None] if memory else np.arange(len(ids))[:, None]
        rows = self.table[photos, ids]
        attention = np.ones((*ids.shape, 3), np.float32) / 3
        if isinstance(tokens, torch.Tensor):
            return torch.from_numpy(rows), state, torch.from_numpy(attention)
        return rows, state, attention

    def sample(self, number: int, max_words: int, random, backend: str = "numpy", **options) -> Samples:
        start = np.full((len(self.table), number), START)
        start = torch.from_numpy(start) if backend == "torch" else start
        return sample(self.step, (), (), start, END, random, FORBIDDEN, max_words, **options)

    def logprob(self, photo: int, words: tuple[int, ...], max_words: int, temperature: float = 1.0) -> float:
        """Of a sentence (no end) among those that may be written."""
        total, before = 0.0, START
        for word in (*words, END)[:max_words]:  # the end at the last place is no choice
            logits = self.table[photo, before] / temperature
            allowed = [logits[w] for w in range(len(logits)) if w not in FORBIDDEN]
            total, before = total + logits[word] - np.log(np.exp(allowed).sum()), word
        return float(total)


def sentences_of(drawn: Samples, photo: int) -> list[tuple[int, ...]]:
    tokens, lengths = np.asarray(drawn.tokens[photo]), np.asarray(drawn.lengths[photo])
    return [tuple(row[: n - 1].tolist()) for row, n in zip(tokens, lengths, strict=True)]


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_sentences_come_as_often_as_they_are_likely(backend, temperature):
    chain, number = Chain(), 20_000
    random = np.random.default_rng(7).random
    if backend == "torch":
        generator = torch.Generator().manual_seed(7)
        random = lambda shape: torch.rand(shape, generator=generator)  # noqa: E731
    drawn = chain.sample(number, 2, random, backend, temperature=temperature)
    every = [words for n in range(3) for words in itertools.product((3, 4), repeat=n)]
    for photo in range(2):
        found = sentences_of(drawn, photo)
        expected = np.exp([chain.logprob(photo, words, 2, temperature) for words in every])
        assert expected.sum() == pytest.approx(1, abs=1e-5)
        shares = np.array([found.count(words) / number for words in every])
        assert shares.sum() == 1, "something else was written"
        error = np.sqrt(expected * (1 - expected) / number)
        assert (np.abs(shares - expected) < 4.5 * error + 1e-9).all()


def test_logprobs_are_those_of_the_distribution_drawn_from():
    chain = Chain(seed=3)
    drawn = chain.sample(50, 3, np.random.default_rng(1).random, temperature=1.7)
    assert {int(n) for n in drawn.lengths.ravel()} == {1, 2, 3, 4}, "the seed shows every length"
    for photo in range(2):
        for k, words in enumerate(sentences_of(drawn, photo)):
            assert not set(words) & {END, *FORBIDDEN}
            assert (drawn.tokens[photo, k, len(words) :] == END).all()
            assert (drawn.logprobs[photo, k, len(words) + 1 :] == 0).all()
            assert drawn.logprobs[photo, k].sum() == pytest.approx(chain.logprob(photo, words, 3, 1.7), abs=1e-5)
    assert (drawn.logprobs[:, :, 3] == 0).all(), "an end that must be written costs nothing"


def test_both_backends_agree_given_the_same_noise():
    ours = Chain(seed=5).sample(11, 6, np.random.default_rng(2).random)
    noise = np.random.default_rng(2)
    theirs = Chain(seed=5).sample(11, 6, lambda shape: torch.from_numpy(noise.random(shape)), "torch")
    np.testing.assert_array_equal(ours.tokens, theirs.tokens.numpy())
    np.testing.assert_array_equal(ours.lengths, theirs.lengths.numpy())
    np.testing.assert_allclose(ours.logprobs, theirs.logprobs.numpy(), atol=1e-6)


@pytest.mark.parametrize("how", ["no noise", "cold"])
def test_without_chance_it_is_greedy_search(how):
    chain = Chain(seed=11, batch=7)
    if how == "no noise":
        drawn = chain.sample(1, 5, lambda shape: np.full(shape, 0.5))
    else:
        drawn = chain.sample(1, 5, np.random.default_rng(0).random, temperature=1e-3)
    greedy = beam_search(chain.step, (), (np.arange(7),), np.full((7, 1), START), END, FORBIDDEN, SearchOptions(1, 5))
    assert [sentences_of(drawn, photo)[0] for photo in range(7)] == [found[0].tokens for found in greedy]


def test_it_stops_when_every_sentence_has_ended():
    chain = Chain()
    chain.table[..., END] = 40.0
    drawn = chain.sample(4, 30, np.random.default_rng(0).random)
    assert chain.steps == 1
    assert drawn.tokens.shape == (2, 4, 1)
    assert (drawn.lengths == 1).all()


def test_a_noise_of_zero_is_a_number_like_others():
    drawn = Chain().sample(3, 4, np.zeros)
    assert np.isfinite(drawn.logprobs).all()


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"temperature": float("nan")}, {"max_words": 0}])
def test_options_out_of_range(wrong):
    options = {"max_words": 3, **wrong}
    with pytest.raises(ValueError, match=r"expected more than 0 and at least 1"):
        Chain().sample(2, random=np.random.default_rng(0).random, **options)
