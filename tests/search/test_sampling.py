"""Sampling against enumeration, against greedy search, and on both backends."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from seesay.search import (
    BeamOptions,
    Forbidden,
    Hypothesis,
    NoRepeatedWords,
    SampleOptions,
    StepModel,
    beam_search,
    sample,
    score,
)
from seesay.search.sampling import within_top_p
from seesay.search.step import FORBIDDEN, namespace

START, END = 0, 1
NEVER = (0, 2)


class Chain:
    """A language in which each word depends on the photo and the word before; log-probabilities (B, V, V)."""

    def __init__(self, seed: int = 0, batch: int = 2, vocab: int = 5) -> None:
        logits = np.random.default_rng(seed).normal(0, 1.5, (batch, vocab, vocab))
        logits[:, :, NEVER] += 3  # the model would love to write them
        self.table = (logits - np.log(np.exp(logits).sum(-1, keepdims=True))).astype(np.float32)
        self.steps = 0

    def step(self, tokens, state, memory):
        self.steps += 1
        ids, photos = np.asarray(tokens), np.asarray(memory[0])[:, None]
        rows = self.table[photos, ids]
        attention = np.stack([np.full(ids.shape, 1.0), ids, ids + photos], axis=-1).astype(np.float32)
        if isinstance(tokens, torch.Tensor):
            return torch.from_numpy(rows), state, torch.from_numpy(attention)
        return rows, state, attention

    def model(self, backend: str = "numpy") -> StepModel:
        to = torch.from_numpy if backend == "torch" else np.asarray
        photos = np.arange(len(self.table))
        return StepModel(self.step, (), (to(photos),), to(np.full((len(photos), 1), START)), END, NEVER)

    def sample(self, random, backend: str = "numpy", **options: Any) -> list[list[Hypothesis]]:
        options = {"temperature": 1, "top_p": 1} | options
        return sample(self.model(backend), SampleOptions(**options), random)

    def logprob(self, photo: int, words: tuple[int, ...], max_words: int, temperature: float = 1.0) -> float:
        """Of a sentence (no end) among those that may be written: what it is drawn with."""
        total, before = 0.0, START
        for word in (*words, END)[:max_words]:  # the end at the last place is no choice
            logits = self.table[photo, before] / temperature
            allowed = [logits[w] for w in range(len(logits)) if w not in NEVER]
            total, before = total + logits[word] - np.log(np.exp(allowed).sum()), word
        return float(total)


def noise(seed: int, backend: str = "numpy") -> Callable[[np.ndarray, tuple[int, int]], object]:
    random = np.random.default_rng(seed)
    to = torch.from_numpy if backend == "torch" else np.asarray
    return lambda photos, shape: to(random.random((len(photos), *shape)))


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_sentences_come_as_often_as_they_are_likely(backend, temperature):
    chain, number, calls = Chain(), 1000, 8
    random = noise(7, backend)
    drawn = [chain.sample(random, backend, n=number, max_words=2, temperature=temperature) for _ in range(calls)]
    every = [words for n in range(3) for words in itertools.product((3, 4), repeat=n)]
    for photo in range(2):
        found = [h.tokens for call in drawn for h in call[photo]]
        expected = np.exp([chain.logprob(photo, words, 2, temperature) for words in every])
        assert expected.sum() == pytest.approx(1, abs=1e-5)
        shares = np.array([found.count(words) / len(found) for words in every])
        assert shares.sum() == pytest.approx(1), "something else was written"
        error = np.sqrt(expected * (1 - expected) / len(found))
        assert (np.abs(shares - expected) < 4.5 * error + 1e-9).all()


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_figures_are_the_models_own_whatever_is_drawn_from(backend):
    """Temperature, nucleus and forbidden words choose; log-probabilities and maps are those of the sentence."""
    chain = Chain(seed=3, vocab=9)
    drawn = chain.sample(
        noise(1, backend), backend, n=50, max_words=4, temperature=1.7, top_p=0.8, constraints=(Forbidden((5,)),)
    )
    assert {len(h.tokens) for photo in drawn for h in photo} == {0, 1, 2, 3, 4}, "the seed shows every length"
    for photo, sentences in enumerate(drawn):
        assert len(sentences) == 50
        for found in sentences:
            assert not {*found.tokens} & {END, 5, *NEVER}
            if found.tokens:
                again = score(chain.model(), found.tokens)[photo]
                assert found.logprobs == again.logprobs
                np.testing.assert_array_equal(found.attention, again.attention)


def test_both_backends_agree_given_the_same_noise():
    choices: list[dict[str, Any]] = [{}, {"top_p": 0.7, "temperature": 1.3}]
    for options in choices:
        ours = Chain(seed=5).sample(noise(2), n=11, max_words=6, **options)
        theirs = Chain(seed=5).sample(noise(2, "torch"), "torch", n=11, max_words=6, **options)
        for one, other in zip(ours, theirs, strict=True):
            assert [(h.tokens, h.logprobs) for h in one] == [(h.tokens, h.logprobs) for h in other]


@pytest.mark.parametrize("how", ["no noise", "cold", "frozen", "small nucleus"])
def test_without_chance_it_is_greedy_search(how):
    chain, options = Chain(seed=11, batch=7), {"n": 1, "max_words": 5, "constraints": (NoRepeatedWords((3, END)),)}
    if how == "no noise":
        drawn = chain.sample(lambda photos, shape: np.full((len(photos), *shape), 0.5), **options)
    elif how == "small nucleus":
        drawn = chain.sample(noise(0), top_p=1e-6, **options)
    else:
        drawn = chain.sample(noise(0), temperature=1e-3 if how == "cold" else 1e-30, **options)
    greedy = beam_search(chain.model(), BeamOptions(1, max_words=5, constraints=options["constraints"]))
    assert [[h.tokens for h in found] for found in drawn] == [[h.tokens for h in found] for found in greedy]


@pytest.mark.parametrize("to", [np.asarray, torch.as_tensor])
def test_the_nucleus_by_hand(to):
    """0.5 and 0.3 do not make 0.9, with 0.15 they do; of equals all stay."""
    scores = to(np.log(np.array([[0.15, 0.5, 0.05, 0.3], [0.25, 0.25, 0.25, 0.25]], np.float32)))

    def kept(top_p: float) -> list[list[int]]:
        found = np.asarray(within_top_p(namespace(scores), scores, top_p))
        assert ((found == np.asarray(scores)) | (found == np.float32(FORBIDDEN))).all()
        return [np.flatnonzero(row > FORBIDDEN).tolist() for row in found]

    assert kept(0.9) == [[0, 1, 3], [0, 1, 2, 3]]
    assert kept(0.7) == [[1, 3], [0, 1, 2, 3]]
    assert kept(0.4) == [[1], [0, 1, 2, 3]]
    assert kept(1.0) == [[0, 1, 2, 3], [0, 1, 2, 3]]


def test_only_the_nucleus_is_drawn():
    """Each word is among the likeliest that make 0.6 together, of those that may be written."""
    chain = Chain(seed=2, vocab=8)
    seen = set()
    for photo, sentences in enumerate(chain.sample(noise(3), n=200, max_words=3, top_p=0.6)):
        for found in sentences:
            before = START
            for word in (*found.tokens, END)[:3]:
                odds = np.exp(chain.table[photo, before].astype(float))
                odds[[*NEVER]] = 0
                order = np.argsort(-odds)
                enough = np.searchsorted(np.cumsum(odds[order]) / odds.sum(), 0.6) + 1
                assert word in order[:enough]
                seen.add((photo, before, word))
                before = word
    assert len(seen) > 10, "and there is choice in it"


def test_a_prefix_begins_what_is_drawn():
    for sentences in Chain(vocab=7).sample(noise(0), n=20, max_words=5, prefix=(4, 4)):
        assert {found.tokens[:2] for found in sentences} == {(4, 4)}
        assert len({found.tokens for found in sentences}) > 2


def test_it_stops_when_every_sentence_has_ended():
    chain = Chain()
    chain.table[..., END] = 40.0
    drawn = chain.sample(noise(0), n=4, max_words=30)
    assert chain.steps == 1
    assert [[h.tokens for h in found] for found in drawn] == [[()] * 4] * 2


def test_noise_is_asked_for_the_photos_that_are_left():
    """So that what a photo gets does not depend on the others; sentences stay those of their photos."""
    chain, asked = Chain(seed=4, batch=9), []

    def random(photos, shape):
        asked.append(photos.tolist())
        return np.stack([np.random.default_rng([photo, len(asked)]).random(shape) for photo in photos])

    together = chain.sample(random, n=3, max_words=9)
    assert asked[0] == list(range(9))
    assert len(asked[-1]) < 9
    for photo in range(9):
        asked.clear()
        alone = Chain(seed=4, batch=9)
        alone.table = alone.table[photo : photo + 1]
        [found] = alone.sample(lambda _, shape, photo=photo: random(np.array([photo]), shape), n=3, max_words=9)
        assert [h.tokens for h in found] == [h.tokens for h in together[photo]]


def test_a_noise_of_zero_is_a_number_like_others():
    drawn = Chain().sample(lambda photos, shape: np.zeros((len(photos), *shape)), n=3, max_words=4)
    assert all(np.isfinite(found.score) for sentences in drawn for found in sentences)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"temperature": 0.0}, "temperature=0.0: expected more than 0"),
        ({"temperature": float("nan")}, "temperature=nan: expected more than 0"),
        ({"max_words": 0}, "max_words=0: expected at least 1"),
        ({"top_p": 0.0}, "top_p=0.0: expected more than 0 and at most 1"),
        ({"top_p": 1.5}, "top_p=1.5: expected more than 0 and at most 1"),
        ({"n": 0}, "n=0: expected at least 1"),
        ({"seed": -1}, "seed=-1: expected at least 0"),
        ({"seed": 0.5}, "seed=0.5: expected a whole number"),
    ],
)
def test_options_out_of_range(wrong, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        SampleOptions(**wrong)
