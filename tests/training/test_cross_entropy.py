"""The loss against sums done by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seesay.data.tokens import BOS, EOS, NEVER_WRITTEN, PAD, UNK
from seesay.models.embedding import WordEmbedding
from seesay.models.kernels import linear_cross_entropy
from seesay.models.show_attend_tell import ShowAttendTell
from seesay.training.inputs.batches import CaptionBatch
from seesay.training.objectives.bag_of_words import BagOfWords, word_shares
from seesay.training.objectives.cross_entropy import CrossEntropy, attention_penalty, mix_in_own_words


@pytest.fixture
def decoder() -> ShowAttendTell:
    torch.manual_seed(0)
    return ShowAttendTell(WordEmbedding(7, 4), 3, (2, 3), size=5, attention_size=2).eval()


def batch_of(targets: list[list[list[int]]]) -> CaptionBatch:
    ids = torch.tensor(targets)
    inputs = torch.cat([torch.ones_like(ids[..., :1]), ids[..., :-1]], dim=-1)
    regions = torch.randn(len(targets), 2, 3, generator=torch.Generator().manual_seed(0))
    return CaptionBatch(regions, inputs, ids, (ids != PAD).sum(-1))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_by_hand(decoder, smoothing):
    """Eight real targets, one of them unknown and so not asked for: the mean is over seven."""
    batch = batch_of([[[4, 5, UNK, EOS], [6, EOS, PAD, PAD]], [[5, EOS, PAD, PAD], [PAD] * 4]])
    with torch.no_grad():
        loss = CrossEntropy(decoder, label_smoothing=smoothing)(batch)
        decoded = decoder(batch.inputs, batch.lengths, decoder.prepare(batch.regions))
        logprobs = decoder.logits(decoded.hidden).log_softmax(-1).numpy()
    asked = [(0, 0, 0), (0, 0, 1), (0, 0, 3), (0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1)]
    costs = []
    for place in asked:
        wanted = logprobs[place][batch.targets[place]]
        costs.append(-(1 - smoothing) * wanted - smoothing * logprobs[place].mean())
    assert float(loss) == pytest.approx(np.mean(costs), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_captions_count_by_their_weights(decoder, smoothing):
    """Weights 2 and 0.5 of captions of three and two words: the mean is over five words, whatever they weigh."""
    batch, weights = batch_of([[[4, 5, EOS], [6, EOS, PAD]]]), (2.0, 0.5)
    objective = CrossEntropy(decoder, label_smoothing=smoothing)
    alone = [
        batch._replace(targets=torch.where(keep, batch.targets, PAD)) for keep in torch.eye(2)[:, None, :, None] > 0
    ]
    with torch.no_grad():
        expected = sum(
            weight * words * objective(one) for weight, words, one in zip(weights, (3, 2), alone, strict=True)
        )
    found = objective(batch._replace(weights=torch.tensor([weights])))
    torch.testing.assert_close(found, expected / 5)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("words", [1, 6, 7])
def test_the_loss_made_in_pieces_is_torchs(words, smoothing, weighted, monkeypatch):
    """Value and gradients, of two words at a time and of what is left over, with scores that a softmax must bound."""
    monkeypatch.setattr(linear_cross_entropy, "CHUNK", 2 * 5)
    torch.manual_seed(0)
    shapes = ((words, 3), (5, 3), (5,))
    parts = tuple(torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    targets = torch.arange(words) % 5
    weights = torch.rand(words, dtype=torch.float64) if weighted else None

    def ours(hidden, matrix, bias):
        return linear_cross_entropy.linear_cross_entropy(hidden, matrix, bias, targets, smoothing, weights)

    def torchs(hidden, matrix, bias):
        logits = torch.nn.functional.linear(hidden, matrix, bias)
        each = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")
        return (each if weights is None else weights * each).mean()

    for size in (1.0, 300.0):
        found, expected = (loss(size * parts[0], *parts[1:]) for loss in (ours, torchs))
        torch.testing.assert_close(found, expected)
        gradients = (torch.autograd.grad(2 * loss, parts) for loss in (found, expected))
        for of_ours, of_torchs in zip(*gradients, strict=True):
            torch.testing.assert_close(of_ours, of_torchs)
        others, given = (parts[0], parts[2]), (parts[1].detach(), parts[2])
        gradients = (torch.autograd.grad(loss(size * parts[0], *given), others) for loss in (ours, torchs))
        torch.testing.assert_close(*gradients)
    with torch.no_grad():
        torch.testing.assert_close(ours(*parts), torchs(*parts))


def test_an_unknown_word_is_read_though_never_asked_for(decoder):
    read, other = batch_of([[[4, UNK, EOS]]]), batch_of([[[4, UNK, EOS]]])
    other.inputs[0, 0, 2] = 5
    objective = CrossEntropy(decoder)
    with torch.no_grad():
        assert float(objective(read)) != float(objective(other))


def test_attention_penalty_by_hand():
    attention = torch.zeros(1, 3, 3, 2)
    attention[0, 0] = torch.tensor([[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]])
    attention[0, 1] = torch.tensor([[1.0, 0.0], [9.0, 9.0], [9.0, 9.0]])  # one real step; the rest is padding
    attention[0, 2] = 9.0  # no caption at all
    # looked: (1.75, 1.25) and (1, 0): squares of what is missing to 1
    expected = (0.75**2 + 0.25**2 + 0 + 1) / (3 + 1)  # beside four words
    assert float(attention_penalty(attention, torch.tensor([[3, 1, 0]]))) == pytest.approx(expected)


def test_the_penalty_is_added_with_its_weight(decoder):
    batch = batch_of([[[4, 5, EOS], [6, EOS, PAD]]])
    with torch.no_grad():
        attention = decoder(batch.inputs, batch.lengths, decoder.prepare(batch.regions)).attention
        plain, penalised = (float(CrossEntropy(decoder, doubly_stochastic=w)(batch)) for w in (0.0, 0.7))
    assert penalised - plain == pytest.approx(0.7 * float(attention_penalty(attention, batch.lengths)), rel=1e-4)


def test_scheduled_sampling_replaces_words_as_often_as_asked_and_never_the_start(decoder):
    ids = torch.randint(4, 7, (5, 40, 11), generator=torch.Generator().manual_seed(3))
    inputs = torch.cat([torch.full_like(ids[..., :1], BOS), ids[..., 1:]], dim=-1)
    inputs[..., 1:] = UNK  # so that whatever was replaced shows
    lengths = torch.full((5, 40), 11)
    lengths[:, 20:] = 7
    inputs[:, 20:, 7:] = PAD
    memory = decoder.prepare(torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0)))
    torch.manual_seed(0)
    mixed = mix_in_own_words(decoder, inputs, lengths, memory, 0.3)
    assert (mixed[..., 0] == BOS).all()
    assert (mixed[:, 20:, 7:] == PAD).all()
    replaced = mixed != inputs
    real = torch.arange(11) < lengths.unsqueeze(-1)
    assert int(replaced.sum()) / int(real[..., 1:].sum()) == pytest.approx(0.3, abs=0.04)
    assert not torch.isin(mixed[replaced], torch.tensor([*NEVER_WRITTEN, EOS])).any()


def test_the_words_mixed_in_are_drawn_from_what_was_read_before_them(decoder):
    """At each place as often as `step` gives them after the real words: one caption, read very often."""
    inputs = torch.tensor([[[BOS, 6, 4]]]).expand(1, 4000, 3)
    memory = decoder.prepare(torch.randn(1, 2, 3, generator=torch.Generator().manual_seed(0)))
    torch.manual_seed(1)
    mixed = mix_in_own_words(decoder, inputs, torch.full((1, 4000), 3), memory, 1.0)
    state = decoder.start(memory, 1)
    for place in (1, 2):
        parts = decoder.step(inputs[:, :1, place - 1], state, memory)
        state = parts.state
        expected = parts.logprobs[0, 0, 4:].detach().softmax(-1)  # the words but the end, renormalised
        shares = torch.bincount(mixed[0, :, place], minlength=7)[4:] / 4000
        torch.testing.assert_close(shares, expected, atol=0.035, rtol=0)


def test_scheduled_sampling_rises_with_the_run_and_asks_for_the_same_words(decoder, monkeypatch):
    asked: list[float] = []

    def mix(decoder, inputs, lengths, memory, probability):
        asked.append(probability)
        return torch.where(inputs == BOS, BOS, 6)

    monkeypatch.setattr("seesay.training.objectives.cross_entropy.mix_in_own_words", mix)
    batch = batch_of([[[4, 5, EOS], [6, EOS, PAD]]])
    own = batch._replace(inputs=torch.where(batch.inputs == BOS, BOS, 6))
    plain, scheduled = CrossEntropy(decoder), CrossEntropy(decoder, scheduled_sampling=0.4)
    with torch.no_grad():
        assert scheduled(batch, 0.0) == plain(batch)
        assert scheduled(batch, 0.5) == scheduled(batch, 1.0) == plain(own)
    assert asked == pytest.approx([0.2, 0.4])


def test_word_dropout_hides_words_as_often_as_asked_and_neither_start_nor_padding(decoder, monkeypatch):
    ids = torch.randint(4, 7, (6, 50, 9), generator=torch.Generator().manual_seed(3))
    ids[:, 20:, 5:] = PAD
    batch = batch_of(ids.tolist())
    read: list[torch.Tensor] = []
    forward = decoder.forward
    monkeypatch.setattr(decoder, "forward", lambda inputs, *rest: (read.append(inputs), forward(inputs, *rest))[1])
    torch.manual_seed(0)
    CrossEntropy(decoder, word_dropout=0.3).train()(batch)
    CrossEntropy(decoder, word_dropout=0.3).eval()(batch)
    hidden, judged = read
    assert torch.equal(judged, batch.inputs), "nothing is hidden from a decoder that is judged"
    assert (hidden[..., 0] == BOS).all()
    assert torch.equal(hidden == PAD, batch.inputs == PAD)
    changed = hidden != batch.inputs
    assert (hidden[changed] == UNK).all()
    real = (batch.inputs != PAD) & (batch.inputs != BOS)
    assert int(changed.sum()) / int(real.sum()) == pytest.approx(0.3, abs=0.04)


def test_word_shares_by_hand():
    """Words 4 to 6; the second photo has one caption, and an empty one that does not count."""
    targets = torch.tensor([[[4, 5, 4, EOS], [5, UNK, EOS, PAD]], [[6, EOS, PAD, PAD], [PAD] * 4]])
    shares = word_shares(targets, (targets != PAD).sum(-1), 3)
    assert shares.tolist() == [[0.5, 1.0, 0.0], [0.0, 0.0, 1.0]]


def test_words_seen_by_hand(decoder):
    batch = batch_of([[[4, 5, EOS], [6, EOS, PAD]]])
    objective = BagOfWords(CrossEntropy(decoder), region_size=3, vocab_size=7, weight=0.5)
    torch.nn.init.normal_(objective.head.weight)
    with torch.no_grad():
        p = objective.head(batch.regions.mean(dim=1)).sigmoid().numpy()[0]
        share = np.array([0.5, 0.5, 0.5])
        asked = -(share * np.log(p) + (1 - share) * np.log(1 - p)).sum()
        found = objective(batch) - CrossEntropy(decoder)(batch)
    assert float(found) == pytest.approx(0.5 * asked / 5, rel=1e-4)


def test_words_seen_teach_the_regions(decoder):
    """The gradient reaches what made the regions, of each photo its own."""
    batch = batch_of([[[4, 5, EOS]], [[6, 6, EOS]]])
    objective = BagOfWords(CrossEntropy(decoder), 3, 7, weight=1.0)
    torch.nn.init.normal_(objective.head.weight)
    regions = batch.regions.clone().requires_grad_()
    seen = batch._replace(regions=regions)
    [gradient] = torch.autograd.grad(objective(seen) - CrossEntropy(decoder)(seen), regions)
    assert not torch.allclose(gradient[0], gradient[1])
    assert float(gradient.abs().min()) > 0
