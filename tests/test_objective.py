"""The loss against sums done by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seesay.data.tokens import EOS, PAD, UNK
from seesay.models.embedding import WordEmbedding
from seesay.models.show_attend_tell import ShowAttendTell
from seesay.training.batches import CaptionBatch
from seesay.training.objective import CrossEntropy, attention_penalty


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
    expected = (0.75**2 + 0.25**2 + 0 + 1) / 4
    assert float(attention_penalty(attention, torch.tensor([[3, 1, 0]]))) == pytest.approx(expected)


def test_the_penalty_is_added_with_its_weight(decoder):
    batch = batch_of([[[4, 5, EOS], [6, EOS, PAD]]])
    with torch.no_grad():
        attention = decoder(batch.inputs, batch.lengths, decoder.prepare(batch.regions)).attention
        plain, penalised = (float(CrossEntropy(decoder, doubly_stochastic=w)(batch)) for w in (0.0, 0.7))
    assert penalised - plain == pytest.approx(0.7 * float(attention_penalty(attention, batch.lengths)), rel=1e-4)
