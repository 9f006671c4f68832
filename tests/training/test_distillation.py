"""Learning from teachers: their words against sums done by hand, and in the order of any batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from seesay.config import Recipe
from seesay.data.feature_cache import PhotoFeatures
from seesay.data.tokens import EOS, NEVER_WRITTEN, PAD, UNK, CaptionTokenizer
from seesay.errors import RecipeError
from seesay.models.embedding import WordEmbedding
from seesay.models.show_attend_tell import ShowAttendTell
from seesay.models.transformer import TransformerDecoder
from seesay.training.inputs.batches import CaptionBatches
from seesay.training.objectives import distillation
from seesay.training.objectives.cross_entropy import CrossEntropy
from seesay.training.objectives.distillation import Distillation, SoftTargets, Teacher, soft_targets, teacher_sentences
from seesay.training.train import train

QUIET = Console(quiet=True)
VOCAB = 11
CAPTIONS = [
    [[4, 5, 6], [7, 8]],
    [[9, 10, 4, 5, 6, 7], [4], [5, UNK, 6]],
    [[10, 9]],
    [[4, 4, 4, 4], [6, 5, 4]],
    [[8, 8, 7], [9, 9, 9, 9, 9]],
]


@pytest.fixture
def batches() -> CaptionBatches:
    return CaptionBatches(features(0, 3), CAPTIONS, batch_size=2, max_words=20, seed=0)


def features(seed: int, depth: int) -> PhotoFeatures:
    rows = np.random.default_rng(seed).standard_normal((len(CAPTIONS), 6, depth)).astype(np.float16)
    return PhotoFeatures(rows, np.arange(len(CAPTIONS)), (2, 3), ())


@pytest.fixture
def teachers() -> list[Teacher]:
    """Of two kinds, whose encoders see different things."""
    torch.manual_seed(0)
    lstm = ShowAttendTell(WordEmbedding(VOCAB, 4), 3, (2, 3), size=5, attention_size=2).eval()
    transformer = TransformerDecoder(WordEmbedding(VOCAB, 6), 7, (2, 3), size=8, layers=1, heads=2).eval()
    for decoder in (lstm, transformer):
        torch.nn.init.normal_(decoder.embedding.weight)
    return [Teacher(lstm, features(1, 3)), Teacher(transformer, features(2, 7))]


@torch.no_grad()
def asked(teachers: list[Teacher], batches: CaptionBatches, photos: np.ndarray) -> torch.Tensor:
    """The mean distribution, word by word with `step`, (B, K, L, V)."""
    inputs, targets, *_ = batches.words(photos)
    total = torch.zeros(*targets.shape, VOCAB)
    for decoder, seen in teachers:
        memory = decoder.prepare(torch.from_numpy(seen.take(photos).astype(np.float32)))
        state = decoder.start(memory, inputs.shape[1])
        for place in range(inputs.shape[2]):
            logprobs, state, _ = decoder.step(inputs[..., place], state, memory)
            allowed = logprobs.exp()
            allowed[..., list(NEVER_WRITTEN)] = 0
            total[:, :, place] += allowed / allowed.sum(-1, keepdim=True) / len(teachers)
    return total


@pytest.mark.parametrize("photos", [[0, 1, 2, 3, 4], [3, 1], [4, 0, 2]])
def test_each_word_has_the_teachers_mean_in_the_order_of_the_batch(teachers, batches, photos):
    soft = soft_targets(teachers, batches, torch.device("cpu"), QUIET)
    targets = batches.words(np.array(photos))[1]
    ids, shares = soft.of(torch.tensor(photos))
    assert len(ids) == int((targets != PAD).sum())
    found = torch.zeros(len(ids), VOCAB).scatter(1, ids, shares)
    expected = asked(teachers, batches, np.array(photos))[targets != PAD]
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(shares.sum(1), torch.ones(len(ids)), atol=2e-3, rtol=0)
    assert not found[:, list(NEVER_WRITTEN)].any()


def test_what_is_not_likely_is_shared_out(teachers, batches, monkeypatch):
    monkeypatch.setattr(distillation, "TOP_TOKENS", 3)
    ids, shares = soft_targets(teachers, batches, torch.device("cpu"), QUIET).of(torch.tensor([1]))
    expected = asked(teachers, batches, np.array([1]))[batches.words(np.array([1]))[1] != PAD].topk(3)
    assert torch.equal(ids, expected.indices)
    torch.testing.assert_close(shares, expected.values / expected.values.sum(1, keepdim=True), atol=1e-3, rtol=0)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss_by_hand(teachers, batches, weight):
    """One photo, two captions; the unknown word is asked of the teachers only."""
    decoder = teachers[0].decoder
    batch = batches.batch(np.array([1]))
    words = int((batch.targets != PAD).sum())
    shares = torch.rand(words, 4, generator=torch.Generator().manual_seed(0)).softmax(1)
    ids = torch.stack([torch.randperm(7, generator=torch.Generator().manual_seed(i))[:4] + 4 for i in range(words)])
    start = [0, 0, words, words, words, words]
    soft = SoftTargets(ids.numpy(), shares.numpy(), start)
    objective = Distillation(decoder, soft, weight, label_smoothing=0.1)
    with torch.no_grad():
        decoded = decoder(batch.inputs, batch.lengths, decoder.prepare(batch.regions))
        logprobs = decoder.logits(decoded.hidden[batch.targets != PAD]).log_softmax(-1)
        expected = -np.mean([sum(q * logprobs[n, v] for v, q in zip(ids[n], shares[n])) for n in range(words)])  # noqa: B905
        hard = float(CrossEntropy(decoder, label_smoothing=0.1)(batch))
        assert float(objective(batch)) == pytest.approx((1 - weight) * hard + weight * expected, rel=1e-4)


def test_a_model_that_thinks_as_its_teacher_has_nothing_to_learn(teachers, batches):
    decoder = teachers[0].decoder
    with torch.no_grad():
        decoder.embedding.bias[list(NEVER_WRITTEN)] = -30  # which no teacher would write
    own = Teacher(decoder, batches.features)  # pyright: ignore[reportArgumentType]
    batch = batches.batch(np.array([0, 3]))
    for teacher, learns in ((own, False), (teachers[1], True)):
        soft = soft_targets([teacher], batches, torch.device("cpu"), QUIET)
        loss = Distillation(decoder, soft, 1.0)(batch)
        gradients = torch.autograd.grad(loss, list(decoder.parameters()), allow_unused=True)
        steepest = max(float(g.abs().max()) for g in gradients if g is not None)
        assert (steepest > 0.05) == learns, steepest
        assert steepest < 2e-3 or learns


def test_a_teacher_of_other_words_is_refused(tiny_bundle):
    tokenizer = CaptionTokenizer.build(["a cat", "a cat"], min_count=1)
    with pytest.raises(RecipeError, match=r"has another vocabulary \(\d+ tokens, this run 6\)"):
        distillation.open_teachers([str(tiny_bundle)], tokenizer)


def test_missing_teachers_are_all_named_before_data_is_read(tiny_recipe: Recipe, tmp_path: Path):
    values = tiny_recipe.to_dict()
    values["train"] |= {"teachers": ["nobody", str(tmp_path)]}
    with pytest.raises(RecipeError, match=r"(?s)train.teachers=nobody: .*train.teachers=.*no manifest"):
        train(Recipe.from_dict(values | {"out": str(tmp_path / "run")}), console=QUIET)


@pytest.mark.parametrize(
    "other", [{"train": {"objective": "self_critical", "init": "x"}}, {"attention": {"kind": "hard"}}]
)
@pytest.mark.parametrize("key", [{"word_dropout": 0.1}, {"teachers": ["x"]}, {"consensus": 0.5}])
def test_teachers_hidden_words_and_consensus_go_with_plain_cross_entropy_only(key, other):
    values = {**other, "train": {**other.get("train", {}), **key}}
    with pytest.raises(RecipeError, match=rf"train\.{next(iter(key))}=.*: needs train\.objective=cross_ent"):
        Recipe.from_dict(values)


def test_teachers_and_consensus_do_not_go_together():
    with pytest.raises(RecipeError, match=r"train\.consensus=0\.5: cannot be combined with train\.teachers"):
        Recipe.from_dict({"train": {"consensus": 0.5, "teachers": ["x"]}})


def test_ends_are_asked_too(teachers, batches):
    """A sentence has to learn where to end from its teachers as well."""
    targets = batches.words(np.array([2]))[1]
    assert targets[0, 0].tolist() == [10, 9, EOS]
    assert len(soft_targets(teachers, batches, torch.device("cpu"), QUIET).of(torch.tensor([2]))[0]) == 3


@pytest.mark.usefixtures("no_graphs")
def test_a_run_learns_from_the_run_before(tiny_recipe: Recipe, tiny_data: Path, tmp_path: Path):
    """Two models of the same captions, made one after the other: the second is asked to think as the first."""

    def trained(name: str, **keys) -> tuple[Path, float]:
        values = tiny_recipe.to_dict() | {"name": name, "out": str(tmp_path / name), "data": {"path": [str(tiny_data)]}}
        values["train"] |= {"epochs": 1, "lr": 0.01, **keys}
        bundle = train(Recipe.from_dict(values), console=QUIET)
        return bundle, float((tmp_path / name / "metrics.csv").read_text().splitlines()[1].split(",")[2])

    first, loss = trained("first")
    _, asked_of_both = trained("second", teachers=[str(first)], distillation=0.5)
    _, asked_of_none = trained("third")
    assert asked_of_none == loss, "the same run again"
    assert asked_of_both != loss


def test_a_teachers_sentences_are_those_of_its_search(teachers):
    """The same as searching photo by photo; equal ones once, no start, no end."""
    from seesay.search import BeamOptions
    from seesay.training.generate import beam_sentences

    search = BeamOptions(beam=3, max_words=6)
    found = teacher_sentences(teachers[1], search, torch.device("cpu"), QUIET)
    assert len(found) == len(CAPTIONS)
    decoder, seen = teachers[1]
    for photo, sentences in enumerate(found):
        regions = torch.from_numpy(seen.take(np.array([photo])).astype(np.float32))
        alone = beam_sentences(decoder, decoder.prepare(regions), search)
        expected = {
            tuple(ids[: n - 1]) for ids, n in zip(alone.tokens[0].tolist(), alone.lengths[0].tolist(), strict=True)
        }
        assert set(map(tuple, sentences)) == expected and len(sentences) == len(expected)
        assert not {EOS, PAD} & {token for sentence in sentences for token in sentence}


def test_sentences_want_a_teacher():
    with pytest.raises(RecipeError, match=r"train\.teacher_sentences=2: needs a teacher .*give train\.teachers"):
        Recipe.from_dict({"train": {"teacher_sentences": 2}})
