"""Self-critical training: the gradient is that of the expected reward, the reward is the metric, and rewards rise."""

from __future__ import annotations

import csv
import itertools
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

from seesay.config import Recipe
from seesay.data.records import CaptionRecord
from seesay.data.tokens import BOS, EOS, NEVER_WRITTEN, PAD, CaptionTokenizer
from seesay.errors import RecipeError
from seesay.metrics import CiderD, sentence_bleu
from seesay.models.build import build_decoder
from seesay.models.decoder import Decoder
from seesay.search import BeamOptions, NoRepeatedNgrams, NoRepeatedWords, SampleOptions
from seesay.training.generate import Sentences, beam_sentences, generate, sample_sentences
from seesay.training.inputs.batches import CaptionBatch
from seesay.training.objectives.cross_entropy import CrossEntropy
from seesay.training.objectives.from_recipe import build_objective, search_options
from seesay.training.objectives.self_critical import CaptionReward, SelfCritical, above_expected, mean_of_others
from seesay.training.train import train

QUIET = Console(quiet=True)
CAPTIONS = [["a dog runs", "the dog runs fast"], ["a red ball", "the ball is red"], ["two cats play", "cats play"]]
A, B = 4, 5  # the words of the smallest language


def tiny_decoder(vocab: int, dropout: float = 0.0) -> Decoder:
    torch.manual_seed(2)
    recipe = Recipe.from_dict(
        {"embedding": {"size": 11}, "attention": {"size": 5}, "decoder": {"size": 17, "dropout": dropout}}
    )
    decoder = build_decoder(recipe, cast(Any, SimpleNamespace(depth=3, grid=(1, 2), finer_depth=0)), vocab)
    with torch.no_grad():
        decoder.embedding.bias.copy_(torch.randn(vocab))  # no two words alike
    return decoder


@pytest.fixture(scope="module")
def tokenizer() -> CaptionTokenizer:
    return CaptionTokenizer.build((c for photo in CAPTIONS for c in photo), min_count=1)


def batch_of(tokenizer: CaptionTokenizer, photos: list[int]) -> CaptionBatch:
    """Photos that differ, with their captions."""
    ids = [sorted(([*tokenizer.encode(c), EOS] for c in CAPTIONS[p]), key=len, reverse=True) for p in photos]
    steps = max(len(c) for photo in ids for c in photo)
    targets = torch.tensor([[c + [PAD] * (steps - len(c)) for c in photo] for photo in ids])
    inputs = torch.cat([torch.full_like(targets[..., :1], BOS), targets[..., :-1]], dim=-1)
    regions = torch.randn(len(CAPTIONS), 2, 3, generator=torch.Generator().manual_seed(1))[photos]
    return CaptionBatch(regions, inputs, targets, (targets != PAD).sum(-1), torch.tensor(photos))


def objective_of(tokenizer: CaptionTokenizer, dropout: float = 0.0, **keys) -> SelfCritical:
    return SelfCritical(
        tiny_decoder(len(tokenizer), dropout),
        CaptionReward(tokenizer, CAPTIONS),
        search=BeamOptions(max_words=6),
        **keys,
    )


def surrogate(objective: SelfCritical, memory: Any, found: Sentences, advantages: Tensor) -> Tensor:
    return objective.surrogate(objective.read(memory, found).decoded, found, advantages)


def stepwise_logprob(decoder: Decoder, memory, words: tuple[int, ...], max_words: int) -> Tensor:
    """log p of a sentence by `step`, over the words that may be written, the end included where it is a choice."""
    state, total, token = decoder.start(memory, 1), torch.zeros(()), BOS
    allowed = [i for i in range(decoder.embedding.bias.shape[0]) if i not in NEVER_WRITTEN]
    for word in (*words, EOS)[:max_words]:
        parts = decoder.step(torch.tensor([[token]]), state, memory)
        logprobs = parts.logprobs[0, 0, allowed].log_softmax(-1)
        total, state, token = total + logprobs[allowed.index(word)], parts.state, word
    return total


def drawn_of(sentences: list[tuple[int, ...]]) -> Sentences:
    """Sentences of one photo as if they had been drawn, the longest first."""
    tokens = torch.tensor([[[*words, *[EOS] * (3 - len(words))] for words in sentences]])
    return Sentences(tokens, torch.zeros(tokens.shape), torch.tensor([[len(words) + 1 for words in sentences]]))


def drawing(number: int, max_words: int) -> SampleOptions:
    """From the decoder's own probabilities."""
    return SampleOptions(number, temperature=1, top_p=1, max_words=max_words)


def written(found: Sentences) -> list[list[list[int]]]:
    """Of each photo its sentences' ids, without the end."""
    return [[k[: n - 1].tolist() for k, n in zip(*photo, strict=True)] for photo in zip(*found[::2], strict=True)]


def gradient_of(loss: Tensor, decoder: Decoder) -> Tensor:
    parts = torch.autograd.grad(loss, [p for p in decoder.parameters() if p.requires_grad], allow_unused=True)
    return torch.cat([torch.zeros(0) if g is None else g.flatten() for g in parts])


@pytest.mark.parametrize("baseline", ["none", "constant", "samples"])
def test_the_mean_estimate_is_the_gradient_of_the_expected_reward(baseline):
    """All pairs of all seven sentences, each weighted by its probability, against sum p(s) r(s) differentiated."""
    decoder = tiny_decoder(6)
    objective = SelfCritical(decoder, cast(Any, None), samples=2, search=BeamOptions(max_words=2))
    regions = torch.randn(1, 2, 3, generator=torch.Generator().manual_seed(4))
    sentences = [words for n in (2, 1, 0) for words in itertools.product((A, B), repeat=n)]
    rewards = torch.tensor([3.0, 0.5, 1.0, 7.0, 2.0, 0.0, 4.0])

    logprobs = torch.stack([stepwise_logprob(decoder, decoder.prepare(regions), words, 2) for words in sentences])
    probabilities = logprobs.exp()
    assert float(probabilities.detach().sum()) == pytest.approx(1, abs=1e-5)
    exact = gradient_of(-(probabilities * rewards).sum(), decoder)

    mean = torch.zeros_like(exact)
    for i, j in itertools.product(range(7), repeat=2):
        i, j = min(i, j), max(i, j)  # the longest first; which of the two came first makes no difference
        pair = rewards[[i, j]].unsqueeze(0)
        against = {"none": 0.0, "constant": 2.5, "samples": torch.from_numpy(mean_of_others(pair.numpy()))}[baseline]
        loss = surrogate(objective, decoder.prepare(regions), drawn_of([sentences[i], sentences[j]]), pair - against)
        mean += (probabilities[i] * probabilities[j]).detach() * gradient_of(loss, decoder)
    torch.testing.assert_close(mean, exact, atol=1e-5, rtol=1e-4)
    assert float(exact.norm()) > 0.1


def test_minimum_risk_is_the_gradient_of_what_a_choice_among_the_sentences_has_to_expect():
    """-1/B sum_k q_k r(s_k) differentiated, with q from the sentences' words one after the other by `step`."""
    decoder = tiny_decoder(6).eval()
    regions = torch.randn(1, 2, 3, generator=torch.Generator().manual_seed(4))
    sentences = [(A, B), (B, B), (A,), ()]
    rewards = torch.tensor([[3.0, 0.5, 1.0, 7.0]])
    logprobs = torch.stack([stepwise_logprob(decoder, decoder.prepare(regions), words, 2) for words in sentences])
    exact = gradient_of(-(logprobs.softmax(0) * rewards).sum(), decoder)

    advantages = above_expected(rewards.numpy(), logprobs.detach().softmax(0).unsqueeze(0).numpy())
    objective = SelfCritical(decoder, cast(Any, None), samples=4, search=BeamOptions(max_words=2))
    loss = surrogate(objective, decoder.prepare(regions), drawn_of(sentences), torch.from_numpy(advantages))
    torch.testing.assert_close(gradient_of(loss, decoder), exact, atol=1e-5, rtol=1e-4)
    assert float(exact.norm()) > 0.1


def test_beams_are_trained_by_the_gradient_of_what_they_let_expect(tokenizer):
    """`objective(batch)` against sum_k q_k r(s_k) differentiated, of beams that all end before they must."""
    objective = objective_of(tokenizer, samples=3).eval()
    with torch.no_grad():
        objective.decoder.embedding.bias[EOS] += 4
        objective.decoder.embedding.bias[list(NEVER_WRITTEN)] -= 50  # q is over all words, what is trained is not
    batch = batch_of(tokenizer, [2, 0])
    memory = objective.decoder.prepare(batch.regions)
    found = written(beam_sentences(objective.decoder, memory, BeamOptions(beam=3, max_words=6)))
    assert max(len(words) for photo in found for words in photo) < 6
    rewards = torch.from_numpy(objective.reward([2, 0], found)).float()
    expected = torch.zeros(())
    for photo, sentences in enumerate(found):
        one = objective.decoder.prepare(batch.regions[[photo]])
        logprobs = torch.stack([stepwise_logprob(objective.decoder, one, tuple(words), 6) for words in sentences])
        expected = expected + (logprobs.softmax(0) * rewards[photo]).sum() / 2
    loss = objective(batch)
    torch.testing.assert_close(loss, -expected)
    exact = gradient_of(-expected, objective.decoder)
    torch.testing.assert_close(gradient_of(loss, objective.decoder), exact, atol=1e-5, rtol=1e-3)
    assert float(exact.norm()) > 0.01


def test_above_expected_by_hand():
    """Of rewards 1 and 5 with probabilities 1/4 and 3/4, 4 is expected."""
    found = above_expected(np.array([[1.0, 5.0]]), np.array([[1 / 4, 3 / 4]]))
    np.testing.assert_allclose(found, [[2 * 1 / 4 * -3, 2 * 3 / 4 * 1]])
    equal = above_expected(np.array([[1.0, 2.0, 6.0]]), np.full((1, 3), 1 / 3))
    np.testing.assert_allclose(equal, [[-2.0, -1.0, 3.0]])


def test_samples_have_the_probabilities_that_are_trained():
    """What `step` says of their words is what the teacher-forced pass says; advantages of 1 show its sum."""
    decoder = tiny_decoder(11).eval()
    memory = decoder.prepare(torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(5)))
    drawn = sample_sentences(decoder, memory, drawing(7, 4))
    assert (drawn.lengths.diff(dim=1) <= 0).all(), "the longest first"
    assert len(set(drawn.lengths.flatten().tolist())) > 2, "the seed shows several lengths"
    assert not torch.isin(drawn.tokens, torch.tensor(NEVER_WRITTEN)).any()
    objective = SelfCritical(decoder, cast(Any, None), search=BeamOptions(max_words=4))
    loss = surrogate(objective, memory, drawn, torch.ones(3, 7))
    stepwise = [
        stepwise_logprob(decoder, type(memory)(*(part[[photo]] for part in memory)), tuple(words), 4)
        for photo, sentences in enumerate(written(drawn))
        for words in sentences
    ]
    torch.testing.assert_close(loss, -torch.stack(stepwise).mean())


def test_beams_can_be_read_as_samples_are():
    """The same sentences as the search gives, the longest first, with the probabilities that `step` has for them."""
    decoder = tiny_decoder(11).eval()
    decoder.embedding.bias.data[EOS] += 1.6
    regions = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(5))
    memory = decoder.prepare(regions)
    options = BeamOptions(beam=5, max_words=4, length_penalty=0)
    found = beam_sentences(decoder, memory, options)
    assert found.tokens.shape == found.logprobs.shape == (3, 5, found.lengths.max())
    assert (found.lengths.diff(dim=1) <= 0).all(), "the longest first"
    assert len(set(found.lengths.flatten().tolist())) > 2, "the photos show several lengths"
    for photo in range(3):
        own = [tuple(ids[: n - 1].tolist()) for ids, n in zip(found.tokens[photo], found.lengths[photo], strict=True)]
        one = decoder.prepare(regions[[photo]])
        best, *_ = generate(decoder, one, options)[0]
        assert own[int(found.logprobs[photo].sum(-1).argmax())] == best.tokens
        for words, logprobs in zip(own, found.logprobs[photo].sum(-1).tolist(), strict=True):
            state, total, token = decoder.start(one, 1), 0.0, BOS
            for word in (*words, EOS):
                parts = decoder.step(torch.tensor([[token]]), state, one)
                total, state, token = total + parts.logprobs[0, 0, word].item(), parts.state, word
            assert logprobs == pytest.approx(total, abs=1e-5)
    assert (found.tokens[..., 1:][found.tokens[..., :-1] == EOS] == EOS).all(), "filled up with ends"


def test_fewer_beams_than_asked_for_are_filled_up():
    """A language of two words and one word at most: there are three sentences."""
    decoder = tiny_decoder(6).eval()
    memory = decoder.prepare(torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(5)))
    found = beam_sentences(decoder, memory, BeamOptions(beam=5, max_words=1))
    assert found.lengths.tolist() == [[2, 2, 1, 1, 1]] * 2
    assert sorted(found.tokens[0, :2, 0].tolist()) == [A, B]


def test_mean_of_others_by_hand():
    found = mean_of_others(np.array([[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]]))
    np.testing.assert_allclose(found, [[4.0, 3.5, 1.5], [1.5, 1.5, 0.0]])


def test_the_reward_is_cider_with_the_end_as_a_word(tokenizer):
    reward = CaptionReward(tokenizer, CAPTIONS)
    whole, broken = "the dog runs fast", "the dog runs"
    sentences = [[tokenizer.encode(whole), tokenizer.encode(broken)], [tokenizer.encode("a red ball"), []]]
    found = reward([0, 1], sentences)
    cider = CiderD([[[*c.split(), "</s>"] for c in photo] for photo in CAPTIONS])
    words = [[*c.split(), "</s>"] for c in (whole, broken, "a red ball", "")]
    np.testing.assert_allclose(found, cider.score(words, [0, 0, 1, 1]).reshape(2, 2))
    # "the" ends no reference: the sentence that breaks off there gains nothing by its last three words
    plain = CiderD([[c.split() for c in photo] for photo in CAPTIONS])
    cut = ["a", "dog", "runs", "the"]
    [kept] = plain.score([cut], [0])
    assert reward([0], [[tokenizer.encode("a dog runs the")]])[0, 0] < kept


def test_bleu_is_added_to_the_reward_with_its_weight(tokenizer):
    sentences = [[tokenizer.encode("a dog runs"), tokenizer.encode("the dog")], [tokenizer.encode("the ball"), []]]
    found = CaptionReward(tokenizer, CAPTIONS, bleu_weight=0.6)([0, 1], sentences)
    ended = [[[*caption.split(), "</s>"] for caption in photo] for photo in CAPTIONS]
    bleu = [
        sentence_bleu([["a", "dog", "runs", "</s>"], ["the", "dog", "</s>"]], ended[0]),
        sentence_bleu([["the", "ball", "</s>"], ["</s>"]], ended[1]),
    ]
    np.testing.assert_allclose(found, CaptionReward(tokenizer, CAPTIONS)([0, 1], sentences) + 0.6 * np.array(bleu))
    assert bleu[0] == pytest.approx([1, math.exp(1 - 4 / 3) * (1 * 2 / 3 * 1 / 2 * 1) ** (1 / 4)])


@pytest.mark.parametrize(("sentences", "baseline"), [("beams", "expected"), ("beams", "samples"), ("drawn", "samples")])
def test_the_value_is_minus_the_reward(tokenizer, sentences, baseline):
    objective = objective_of(tokenizer, sentences=sentences, samples=3, baseline=baseline).eval()
    batch = batch_of(tokenizer, [2, 0])
    torch.manual_seed(9)
    loss = objective(batch)
    torch.manual_seed(9)
    memory = objective.decoder.prepare(batch.regions)
    if sentences == "beams":
        found = beam_sentences(objective.decoder, memory, BeamOptions(beam=3, max_words=6))
    else:
        found = sample_sentences(objective.decoder, memory, drawing(3, 6))
    rewards = objective.reward([2, 0], written(found))
    q = found.logprobs.sum(-1).softmax(-1).numpy() if baseline == "expected" else 1 / 3
    assert loss.item() == pytest.approx(-(q * rewards).sum(axis=1).mean(), abs=1e-5)
    assert loss.requires_grad


def test_cross_entropy_is_mixed_in_with_its_weight(tokenizer):
    batch = batch_of(tokenizer, [0, 1, 2])
    losses, gradients = [], []
    for weight in (0.0, 0.7):
        objective = objective_of(tokenizer, cross_entropy_weight=weight, label_smoothing=0.1)
        torch.manual_seed(1)
        losses.append(objective(batch))
        gradients.append(gradient_of(losses[-1], objective.decoder))
    plain = CrossEntropy(objective.decoder, label_smoothing=0.1)(batch)
    torch.testing.assert_close(losses[1] - losses[0], 0.7 * plain)
    torch.testing.assert_close(gradients[1] - gradients[0], 0.7 * gradient_of(plain, objective.decoder))


@pytest.mark.parametrize("sentences", ["beams", "drawn"])
@pytest.mark.parametrize("baseline", ["greedy", "samples", "expected"])
def test_sentences_come_from_eval_mode_and_the_mode_is_given_back(tokenizer, monkeypatch, baseline, sentences):
    objective, modes = objective_of(tokenizer, dropout=0.5, baseline=baseline, sentences=sentences), []
    step = objective.decoder.step

    def watched(*args):
        modes.append((objective.decoder.training, torch.is_grad_enabled()))
        return step(*args)

    monkeypatch.setattr(objective.decoder, "step", watched)
    objective.train()(batch_of(tokenizer, [1]))
    assert set(modes) == {(False, False)}
    assert objective.decoder.training


@pytest.mark.parametrize(("sentences", "baseline"), [("beams", "expected"), ("drawn", "greedy"), ("drawn", "samples")])
def test_mixed_precision_gives_every_weight_its_gradient(tokenizer, sentences, baseline):
    """Weights that the search has cast to bfloat16 without gradient must not be taken for those of the second pass."""
    objective = objective_of(tokenizer, sentences=sentences, baseline=baseline)
    batch = batch_of(tokenizer, [0, 1, 2])
    learning = []
    for mixed in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = objective(batch)
        assert loss.dtype == torch.float32
        objective.zero_grad()
        loss.backward()
        learning.append({name for name, p in objective.named_parameters() if p.grad is not None and p.grad.norm() > 0})
    assert learning[0] == learning[1] != set()


def test_a_sentence_has_to_beat_the_others(tokenizer):
    objective, batch = objective_of(tokenizer, baseline="samples", samples=3), batch_of(tokenizer, [1, 2])
    found, _, advantages = objective._explore(batch)
    rewards = objective.reward([1, 2], written(found))
    assert rewards.std(axis=1).min() > 0
    np.testing.assert_allclose(advantages.numpy(), rewards - mean_of_others(rewards), atol=1e-6)


def test_the_greedy_baseline_is_the_greedy_sentence(tokenizer):
    """Advantages are rewards less the reward of the sentence that greedy search writes."""
    objective, batch = objective_of(tokenizer, baseline="greedy"), batch_of(tokenizer, [1, 2])
    found, _, advantages = objective._explore(batch)
    memory = objective.decoder.eval().prepare(batch.regions)
    greedy = [[beams[0].tokens] for beams in generate(objective.decoder, memory, BeamOptions(1, max_words=6))]
    rewards = objective.reward([1, 2], written(found))
    assert rewards.shape == (2, 5)
    np.testing.assert_allclose(advantages.numpy(), rewards - objective.reward([1, 2], greedy), atol=1e-6)


@pytest.mark.parametrize(("sentences", "times"), [("beams", 1.25), ("drawn", 1.5)])  # beams are good from the start
def test_a_few_dozen_steps_raise_the_mean_reward(tokenizer, sentences, times):
    objective = objective_of(tokenizer, sentences=sentences, samples=8)
    batch = batch_of(tokenizer, [0, 1, 2])
    torch.manual_seed(0)
    descend(CrossEntropy(objective.decoder), batch, steps=15)
    rewards = [-loss for loss in descend(objective, batch, steps=50)]
    assert np.mean(rewards[-5:]) > times * np.mean(rewards[:5]) > 0


def descend(objective: CrossEntropy, batch: CaptionBatch, steps: int) -> list[float]:
    """The loss of each step."""
    optimiser, losses = torch.optim.Adam(objective.parameters(), lr=0.02), []
    for _ in range(steps):
        loss = objective(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_a_run_from_a_bundle_raises_the_reward(tiny_recipe, tiny_data, tiny_bundle, tmp_path, monkeypatch):
    """By recipe alone, in the run and above what the bundle had; the reward is minus the loss of metrics.csv."""
    monkeypatch.setattr("seesay.training.train.write_bundle", lambda folder, *rest: folder)
    values = tiny_recipe.to_dict() | {"data": {"path": [str(tiny_data)]}}
    values["train"] |= {"objective": "self_critical", "init": str(tiny_bundle), "samples": 24, "warmup": 0.5}
    values["decoder"] |= {"dropout": 0.0}
    values["search"] |= {"beam": 1}

    def rewards_of(name: str, **keys) -> list[float]:
        run = values | {"out": str(tmp_path / name), "train": values["train"] | keys}
        train(Recipe.from_dict(run), console=QUIET)
        with (tmp_path / name / "metrics.csv").open() as file:
            return [-float(row["loss"]) for row in csv.DictReader(file)]

    (before,) = rewards_of("as it is", epochs=1, lr=0.0)
    rewards = rewards_of("run", epochs=12, lr=0.004)
    assert np.mean(rewards[-3:]) > 1.2 * np.mean(rewards[:3]) > 0
    assert rewards[-1] > 1.1 * before


@pytest.mark.parametrize(
    ("sentences", "baseline"), [("beams", "samples"), ("beams", "expected"), ("beams", "greedy"), ("drawn", "samples")]
)
def test_one_sentence_has_no_others_to_be_compared_with(tiny_recipe, sentences, baseline):
    """A beam of one is the greedy sentence itself."""
    keys = {"init": ("x",), "objective": "self_critical", "samples": 1, "sentences": sentences, "baseline": baseline}
    values = replace(tiny_recipe, train=replace(tiny_recipe.train, **keys))
    with pytest.raises(RecipeError, match=rf"train\.samples=1: train\.baseline={baseline} with .*={sentences} comp"):
        Recipe.from_dict(values.to_dict())


def test_what_is_drawn_is_not_weighted_twice(tiny_recipe):
    keys = {"init": ("x",), "objective": "self_critical", "sentences": "drawn"}
    values = replace(tiny_recipe, train=replace(tiny_recipe.train, **keys))
    with pytest.raises(RecipeError, match=r"train\.baseline=expected: weights sentences by their probabilities"):
        Recipe.from_dict(values.to_dict())


def test_the_recipe_weighs_bleu(tiny_recipe, tokenizer):
    keys = {"init": ("x",), "objective": "self_critical", "bleu_weight": 0.7}
    recipe = replace(tiny_recipe, train=replace(tiny_recipe.train, **keys))
    records = [CaptionRecord(str(n), Path("x"), tuple(captions), "train") for n, captions in enumerate(CAPTIONS)]
    objective = build_objective(recipe, tiny_decoder(len(tokenizer)), tokenizer, records)
    assert isinstance(objective, SelfCritical)
    assert objective.reward.bleu_weight == 0.7
    assert (objective.baseline, objective.sentences, objective.search.beam) == ("expected", "beams", 5)


def test_function_words_may_come_twice(tiny_recipe, tokenizer):
    """`search.block_words`: of the vocabulary these and the end."""
    assert search_options(tiny_recipe, tokenizer).constraints == (NoRepeatedNgrams(3),)
    recipe = replace(tiny_recipe, search=replace(tiny_recipe.search, block_words=True))
    _, words = search_options(recipe, tokenizer).constraints
    assert isinstance(words, NoRepeatedWords)
    assert {tokenizer.token(i) for i in words.may_repeat} == {"</s>", "a", "the", "is"}


def test_bleu_has_no_part_in_cross_entropy(tiny_recipe):
    values = replace(tiny_recipe, train=replace(tiny_recipe.train, bleu_weight=1.0))
    with pytest.raises(RecipeError, match=r"train\.bleu_weight=1: only affects train\.objective=self_critical"):
        Recipe.from_dict(values.to_dict())
