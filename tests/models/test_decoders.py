"""The decoders: `step` is the model, `forward` is its equal, for every member of the family."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from seesay.config import Recipe
from seesay.models.attention import SCORES, AdditiveAttention, ScaledDotAttention, attend, split_heads, weighted_sum
from seesay.models.build import build_decoder
from seesay.models.cells import CELLS, GruCell, LstmCell, RnnCell
from seesay.models.decoder import Decoder
from seesay.models.embedding import WordEmbedding
from seesay.models.kernels import additive
from seesay.models.kernels.additive import additive_scores
from seesay.models.packing import PackedRow, PackedSteps
from seesay.models.regions import SelfAttention, grid_positions, sinusoidal_encoding
from seesay.models.show_attend_tell import ShowAttendTell
from seesay.training.inputs.batches import CaptionBatch
from seesay.training.objectives.cross_entropy import CrossEntropy
from seesay.training.objectives.hard_attention import HardAttention

GRID, DEPTH, VOCAB = (3, 5), 31, 23  # primes, so that no two axes can be mistaken for each other
FINER_DEPTH = 7  # DEPTH = 3 + 4 * 7
REGIONS = GRID[0] * GRID[1]

FAMILY: dict[str, dict[str, Any]] = {
    "lstm": {},
    "rnn": {"decoder.kind": "rnn"},
    "gru": {"decoder.kind": "gru"},
    "three layers": {"decoder.kind": "lstm", "decoder.layers": 3},
    "gru of two layers": {"decoder.kind": "gru", "decoder.layers": 2},
    "dot": {"attention.score": "dot"},
    "scaled dot": {"attention.score": "scaled_dot"},
    "additive heads": {"attention.heads": 2},
    "dot heads": {"attention.score": "dot", "attention.heads": 2},
    "scaled dot heads": {"attention.score": "scaled_dot", "attention.heads": 2},
    "hard": {"attention.kind": "hard"},
    "hard gru": {"attention.kind": "hard", "decoder.kind": "gru"},
    "adaptive": {"decoder.design": "adaptive"},
    "adaptive dot": {"decoder.design": "adaptive", "attention.score": "scaled_dot"},
    "hard adaptive": {"decoder.design": "adaptive", "attention.kind": "hard"},
    "up-down": {"decoder.design": "up_down"},
    "up-down gru": {"decoder.design": "up_down", "decoder.kind": "gru"},
    "hard up-down": {"decoder.design": "up_down", "attention.kind": "hard"},
    "transformer": {"decoder.kind": "transformer", "decoder.layers": 3},
    "one head": {"decoder.kind": "transformer", "attention.heads": 1},
    "region self-attention": {"encoder.self_attention": 2},
    "transformer with it": {"decoder.kind": "transformer", "encoder.self_attention": 1},
    "own output": {"embedding.tied": False},
    "finer": {"encoder.finer": True},
    "finer heads": {"encoder.finer": True, "attention.score": "dot", "attention.heads": 2},
    "finer hard adaptive": {"encoder.finer": True, "decoder.design": "adaptive", "attention.kind": "hard"},
    "finer up-down": {"encoder.finer": True, "decoder.design": "up_down"},
    "finer transformer": {"encoder.finer": True, "decoder.kind": "transformer"},
}


def recipe_of(changes: dict[str, Any]) -> Recipe:
    """Small sizes, and the changes given."""
    values: dict[str, Any] = {"decoder": {"size": 26}, "attention": {"size": 22}, "embedding": {"size": 11}}
    for key, value in changes.items():
        section, _, name = key.partition(".")
        values.setdefault(section, {})[name] = value
    return Recipe.from_dict(values)


def make(changes: dict[str, Any]) -> Decoder:
    torch.manual_seed(0)
    encoder = SimpleNamespace(depth=DEPTH, grid=GRID, finer_depth=FINER_DEPTH if "encoder.finer" in changes else 0)
    decoder = build_decoder(recipe_of(changes), encoder, VOCAB).eval()  # type: ignore[arg-type]
    if decoder.finer:  # at first they make no difference
        for layer in (decoder.finer.keys, decoder.finer.values):
            torch.nn.init.normal_(layer.weight)
    return decoder


def tensors(parts) -> list[torch.Tensor]:
    """Those of nested tuples."""
    return [tensor for part in parts for tensor in tensors(part)] if isinstance(parts, tuple) else [parts]


@pytest.fixture(params=FAMILY.values(), ids=list(FAMILY))
def decoder(request: pytest.FixtureRequest) -> Decoder:
    return make(request.param)


@pytest.fixture
def lstm() -> Decoder:
    return make({})


def captions(lengths: list[list[int]], vocab: int = VOCAB) -> tuple[torch.Tensor, torch.Tensor]:
    """Random inputs (B, K, L) with zeros after each length, and lengths (B, K)."""
    counts = torch.tensor(lengths)
    steps = int(counts.max())
    ids = torch.randint(4, vocab, (*counts.shape, steps), generator=torch.Generator().manual_seed(1))
    return ids * (torch.arange(steps) < counts[..., None]), counts


def regions_of(batch: int) -> torch.Tensor:
    return torch.randn(batch, REGIONS, DEPTH, generator=torch.Generator().manual_seed(2))


LENGTHS = [[7, 5, 5, 2, 0], [3, 3, 1, 0, 0], [11, 1, 1, 1, 1]]
LEAVING = [[11, 4, 4, 1, 1], [7, 6, 2, 0, 0], [3, 3, 1, 1, 0], [2, 1, 1, 1, 1]]  # the last photos are done early


@pytest.mark.parametrize("lengths", [LENGTHS, LEAVING], ids=["in any order", "longest first"])
@torch.no_grad()
def test_forward_equals_repeated_steps(decoder, lengths):
    compare_forward_with_steps(decoder, lengths)


@pytest.mark.parametrize(
    "lengths", [[[6], [3], [1]], [[2, 1, 0]], [[4, 0, 0], [0, 0, 0]], [[1, 2, 4], [0, 3, 1]]], ids=str
)
@torch.no_grad()
def test_forward_equals_repeated_steps_for_odd_batches(lstm, lengths):
    compare_forward_with_steps(lstm, lengths)


def test_running_captions_by_hand():
    """Five words at first, then the second photo (a quarter and more of two) leaves with its caption of one word."""
    lengths = torch.tensor([[3, 2], [1, 0]])
    tokens = torch.arange(12).reshape(2, 2, 3)
    packed = PackedSteps.of(tokens, lengths)
    assert packed.sizes == [(2, 2), (1, 2), (1, 1)]
    assert packed.pack(tokens).tolist() == [0, 3, 6, 9, 1, 4, 2]
    assert [step.shape[:2] for step in packed.split(torch.zeros(7, 5))] == [*map(torch.Size, packed.sizes)]
    unpacked = packed.unpack(packed.pack(tokens), fill=-1)
    assert unpacked.tolist() == [[[0, 1, 2], [3, 4, -1]], [[6, -1, -1], [9, -1, -1]]]


def test_a_row_of_captions_by_hand():
    lengths = torch.tensor([[3, 1], [1, 0]])
    tokens = torch.arange(12).reshape(2, 2, 3)
    row = PackedRow.of(tokens, lengths)
    assert row.pack(tokens)[0].tolist() == [0, 1, 2, 3]
    assert row.pack(tokens)[1, 0] == 6
    assert row.position[0].tolist() == [0, 1, 2, 0]
    assert (~row.mask[0]).int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1]]
    unpacked = row.unpack(row.pack(tokens).unsqueeze(-1)).squeeze(-1)
    assert unpacked[0].tolist() == [[0, 1, 2], [3, 0, 0]]


def compare_forward_with_steps(decoder: Decoder, lengths: list[list[int]]) -> None:
    inputs, counts = captions(lengths)
    memory = decoder.prepare(regions_of(len(lengths)))
    decoded = decoder(inputs, counts, memory)
    logprobs = decoder.logits(decoded.hidden).log_softmax(-1)
    state = decoder.start(memory, inputs.shape[1])
    compared = 0
    for t in range(inputs.shape[2]):
        step = decoder.step(inputs[..., t], state, memory)
        state = step.state
        real = t < counts
        torch.testing.assert_close(logprobs[:, :, t][real], step.logprobs[real], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(decoded.attention[:, :, t][real], step.attention[real], atol=1e-5, rtol=1e-4)
        compared += int(real.sum())
    assert compared == sum(map(sum, lengths))


@torch.no_grad()
def test_shapes_and_rows_that_sum_to_one(decoder):
    memory = decoder.prepare(regions_of(3))
    start = decoder.start(memory, 5)
    step = decoder.step(torch.randint(0, VOCAB, (3, 5)), start, memory)
    assert step.logprobs.shape == (3, 5, VOCAB)
    assert step.attention.shape == (3, 5, decoder.grid[0] * decoder.grid[1])
    assert all(part.shape[:2] == (3, 5) for part in (*start, *step.state))
    assert type(step.state) is type(start) is decoder.State
    assert bool((step.attention >= 0).all())
    torch.testing.assert_close(step.attention.sum(-1), torch.ones(3, 5))
    torch.testing.assert_close(step.logprobs.exp().sum(-1), torch.ones(3, 5))
    assert all(part.shape[0] == 3 and 5 not in part.shape for part in tensors(memory)), (
        "a photo's memory must not know of beams"
    )


@torch.no_grad()
def test_beams_and_photos_do_not_touch_each_other(decoder):
    """A beam alone, and a photo alone, give what they give in company."""
    inputs, counts = captions([[4, 4, 4]] * 3)
    regions = regions_of(3)
    together = decoder(inputs, counts, decoder.prepare(regions))
    alone = decoder(inputs[1:2, 2:], counts[1:2, 2:], decoder.prepare(regions[1:2]))
    torch.testing.assert_close(together.hidden[1, 2], alone.hidden[0, 0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.attention[1, 2], alone.attention[0, 0], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_future_does_not_change_the_past(decoder):
    memory = decoder.prepare(regions_of(2))
    inputs, counts = captions([[8, 8], [8, 8]])
    changed = inputs.clone()
    changed[..., 5:] = (changed[..., 5:] + 3) % VOCAB
    before, after = decoder(inputs, counts, memory), decoder(changed, counts, memory)
    torch.testing.assert_close(before.hidden[:, :, :5], after.hidden[:, :, :5], rtol=0, atol=1e-6)
    torch.testing.assert_close(before.attention[:, :, :5], after.attention[:, :, :5], rtol=0, atol=1e-6)
    assert not torch.allclose(before.hidden[:, :, 5], after.hidden[:, :, 5])


def test_attention_differs_between_photos_beams_and_words(tiny_captioner, tiny_tokenizer):
    decoder = tiny_captioner.decoder
    images = torch.rand(3, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    memory = tiny_captioner.prepare(images * torch.tensor([0.2, 1.0, 2.0]).reshape(3, 1, 1, 1))
    inputs, counts = captions([[6, 6]] * 3, len(tiny_tokenizer))
    inputs[1:] = inputs[0]
    maps = decoder(inputs, counts, memory).attention.detach()
    assert float((maps[0] - maps[1]).abs().max()) > 1e-3
    assert float((maps[:, 0, 1:] - maps[:, 1, 1:]).abs().max()) > 1e-3
    assert float((maps[:, :, 1:] - maps[:, :, :-1]).abs().amax(dim=(0, 1, 3)).min()) > 1e-3


def batch_of(steps: int = 5, beams: int = 2) -> CaptionBatch:
    """Three captions of two photos, in arrays with as much room as asked for."""
    targets, counts = captions([[5, 3], [4, 0]])
    targets = torch.nn.functional.pad(targets, (0, steps - 5, 0, beams - 2))
    inputs = torch.cat([torch.ones_like(targets[..., :1]), targets[..., :-1]], dim=-1)
    return CaptionBatch(regions_of(2), inputs, targets, torch.nn.functional.pad(counts, (0, beams - 2)))


def objective_of(decoder: Any, **options: Any) -> torch.nn.Module:
    return HardAttention(decoder, **options) if getattr(decoder, "hard", False) else CrossEntropy(decoder, **options)


def test_every_parameter_gets_a_gradient(decoder):
    torch.manual_seed(1)
    objective = objective_of(decoder)
    for _ in range(8):  # hard attention may leave a region or a part of the attention out of one sample
        objective(batch_of()).backward()
    without = [n for n, p in decoder.named_parameters() if p.grad is None or float(p.grad.abs().max()) < 1e-7]
    assert without == []


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_padding_changes_neither_loss_nor_gradient(decoder, penalty):
    objective = objective_of(decoder, label_smoothing=0.1, doubly_stochastic=penalty)
    if isinstance(objective, HardAttention):
        objective.expectation_share, objective.reinforce = 1.0, 0.0  # other draws in other shapes
    found = []
    for batch in (batch_of(), batch_of(steps=9), batch_of(beams=4), batch_of(steps=6, beams=3)):
        objective.zero_grad()
        loss = objective(batch)
        loss.backward()
        found.append((loss.detach(), [p.grad.clone() for p in decoder.parameters() if p.grad is not None]))
    for padded in found[1:]:
        torch.testing.assert_close(padded, found[0], atol=1e-5, rtol=1e-3)


def test_dropout_is_off_in_eval_mode_and_on_in_training(decoder):
    regions = regions_of(1)
    assert all(map(torch.equal, *(tensors(decoder.prepare(regions)) for _ in range(2))))
    decoder.train()
    assert not any(map(torch.equal, *(tensors(decoder.prepare(regions)) for _ in range(2))))


# --- scores


@pytest.mark.parametrize(("heads", "sizes"), [(1, (5, 3, 7, 11)), (3, (3, 2, 5, 9)), (1, (1, 1, 1, 1))])
def test_scores_that_are_learnt_are_the_formula(heads, sizes, monkeypatch):
    """In training the tanh is a quotient of exponentials and the gradient is ours: both against what is said of them,
    the photos in pieces of two and what is left over."""
    batch, queries, regions, size = sizes
    monkeypatch.setattr(additive, "CHUNK", 2 * queries * regions * size)
    torch.manual_seed(0)
    query, keys, weight = (
        torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for shape in ((batch, queries, size), (batch, regions, size), (heads, size // heads))
    )
    met = torch.tanh(keys.unsqueeze(1) + query.unsqueeze(2)).unflatten(-1, (heads, -1))
    scores = additive_scores(query, keys, weight)
    torch.testing.assert_close(scores, (met * weight).sum(dim=-1).transpose(-1, -2))
    assert torch.autograd.gradcheck(additive_scores, (query, keys, weight))


def test_scores_stay_numbers_however_large_what_meets_is():
    query = torch.tensor([-1e30, -100.0, -21.0, 0.0, 21.0, 100.0, 1e30]).reshape(1, 7, 1).requires_grad_()
    keys = torch.tensor([-1e30, -3.0, 0.0, 21.5, 50.0]).reshape(1, 5, 1).requires_grad_()
    scores = additive_scores(query, keys, torch.ones(1, 1))
    scores.sum().backward()
    found, expected = scores.detach()[0, :, 0], torch.tanh(query + keys.transpose(1, 2)).detach()[0]
    one, other = query.detach()[0], keys.detach()[0].t()
    cancel = (one.abs().maximum(other.abs()) > 22) & ((one.clamp(-22, 22) + other.clamp(-22, 22)).abs() < 10)
    torch.testing.assert_close(found[~cancel], expected[~cancel])
    assert cancel.sum() == 8
    for part in (query, keys):
        assert part.grad is not None
        assert torch.isfinite(part.grad).all()


def test_additive_attention_by_hand():
    attention = AdditiveAttention(region_size=2, query_size=1, size=2)
    with torch.no_grad():
        attention.key.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        attention.query.weight.copy_(torch.tensor([[0.5], [-1.0]]))
        attention.query.bias.copy_(torch.tensor([0.1, 0.2]))
        attention.score.weight.copy_(torch.tensor([[3.0, -2.0]]))
    regions, query = [(0.3, -0.4), (1.0, 0.5)], 0.7
    expected = [
        3 * np.tanh(a + 0.5 * query + 0.1) - 2 * np.tanh(2 * b - query + 0.2)  # equation 4 of the paper, written out
        for a, b in regions
    ]
    found = attention(torch.tensor([[[query]]]), attention.project(torch.tensor([regions])))
    np.testing.assert_allclose(found.detach().numpy(), [[[expected]]], rtol=1e-6)


@pytest.mark.parametrize(("score", "scale"), [("dot", 1.0), ("scaled_dot", 2**-0.5)])
def test_dot_attention_by_hand(score, scale):
    attention = SCORES[score](region_size=2, query_size=1, size=4, heads=2)
    with torch.no_grad():
        attention.key.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0], [0.0, -1.0]]))
        attention.query.weight.copy_(torch.tensor([[0.5], [-1.0], [2.0], [1.0]]))
        attention.query.bias.copy_(torch.tensor([0.1, 0.2, 0.0, 0.3]))
    (a, b), h = (0.3, -0.4), 0.7
    first = (0.5 * h + 0.1) * a + (-h + 0.2) * 2 * b
    second = 2 * h * (a + b) - (h + 0.3) * b
    found = attention(torch.tensor([[[h]]]), attention.project(torch.tensor([[(a, b)]])))
    np.testing.assert_allclose(found.detach().numpy()[0, 0, :, 0], [first * scale, second * scale], rtol=1e-5)


@pytest.mark.parametrize(("score", "heads"), list(product(SCORES, [1, 3])))
@torch.no_grad()
def test_a_key_of_ones_own_is_scored_like_a_region(score, heads):
    """`score_one_key` on the key of a region gives the score that the region has."""
    attention = SCORES[score](region_size=7, query_size=5, size=12, heads=heads)
    query, keys = torch.randn(2, 3, 5), attention.project(torch.randn(2, 4, 7))
    scores = attention(query, keys)
    assert scores.shape == (2, 3, heads, 4)
    own = attention.score_one_key(query, keys[:, 1:2].expand(-1, 3, -1))
    torch.testing.assert_close(own, scores[..., 1])


@pytest.mark.parametrize("heads", [1, 2, 7])
@torch.no_grad()
def test_attend_equals_torchs_multihead_attention(heads):
    size, words, regions = 14, 5, 11
    reference = torch.nn.MultiheadAttention(size, heads, batch_first=True).eval()
    torch.nn.init.normal_(reference.in_proj_bias)
    query, values = torch.randn(3, words, size), torch.randn(3, regions, size)
    expected, expected_weights = reference(query, values, values)
    parts = zip(reference.in_proj_weight.chunk(3), reference.in_proj_bias.chunk(3), strict=True)
    q, k, v = (torch.nn.functional.linear(x, w, b) for x, (w, b) in zip((query, values, values), parts, strict=True))
    q, k, v = (split_heads(part, heads) for part in (q, k, v))
    context, weights = attend(q, k, v)
    torch.testing.assert_close(reference.out_proj(context.transpose(1, 2).flatten(2)), expected)
    torch.testing.assert_close(weights, expected_weights)


@pytest.mark.parametrize("heads", [1, 2, 7])
@torch.no_grad()
def test_scaled_dot_scores_with_bring_equal_torchs_multihead_attention(heads):
    size = 14
    reference = torch.nn.MultiheadAttention(size, heads, batch_first=True, bias=False).eval()
    attention = ScaledDotAttention(size, size, size, heads)
    query_weight, key_weight, value_weight = reference.in_proj_weight.chunk(3)
    attention.query.weight.copy_(query_weight)
    attention.query.bias.zero_()
    attention.key.weight.copy_(key_weight)
    query, regions = torch.randn(3, 5, size), torch.randn(3, 11, size)
    expected, expected_weights = reference(query, regions, regions)
    weights = attention(query, attention.project(regions)).softmax(-1)
    context = weighted_sum(weights, torch.nn.functional.linear(regions, value_weight))
    torch.testing.assert_close(reference.out_proj(context), expected)
    torch.testing.assert_close(weights.mean(2), expected_weights)


# --- cells


@torch.no_grad()
def test_cells_equal_torchs():
    size = 5
    inputs, h, c = torch.randn(2, 3, size * 4), torch.randn(2, 3, size), torch.randn(2, 3, size)
    lstm, torchs = LstmCell(size), torch.nn.LSTMCell(size * 4, size)
    torchs.weight_ih.copy_(torch.eye(size * 4))
    torchs.bias_ih.zero_()
    torchs.bias_hh.zero_()
    torchs.weight_hh.copy_(lstm.recur.weight)
    expected = torchs(inputs.flatten(0, 1), (h.flatten(0, 1), c.flatten(0, 1)))
    for ours, theirs in zip(lstm(inputs, h, c), expected, strict=True):
        torch.testing.assert_close(ours.flatten(0, 1), theirs)

    gru, torchs = GruCell(size), torch.nn.GRUCell(size * 3, size)
    torchs.weight_ih.copy_(torch.eye(size * 3))
    torchs.bias_ih.zero_()
    torchs.weight_hh.copy_(gru.recur.weight)
    torchs.bias_hh.copy_(gru.recur.bias)
    expected = torchs(inputs[..., : size * 3].flatten(0, 1), h.flatten(0, 1))
    torch.testing.assert_close(gru(inputs[..., : size * 3], h)[0].flatten(0, 1), expected)

    rnn = RnnCell(size)
    torch.testing.assert_close(rnn(inputs[..., :size], h)[0], torch.tanh(inputs[..., :size] + h @ rnn.recur.weight.T))
    assert set(CELLS) == {"rnn", "lstm", "gru"}


# --- designs, by their papers' equations in numpy


class Weights:
    """A decoder's parameters in double precision."""

    def __init__(self, decoder: Decoder) -> None:
        self.tensors = {name: tensor.double().numpy() for name, tensor in decoder.state_dict().items()}

    def __call__(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.tensors[f"{name}.weight"].T + self.tensors.get(f"{name}.bias", 0.0)

    def alpha(self, values: np.ndarray, h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        met = np.tanh(self("attention.key", values) + self("attention.query", h))
        e = self("attention.score", met)[:, 0]
        return np.exp(e) / np.exp(e).sum(), e

    def logprobs(self, out: np.ndarray) -> np.ndarray:
        logits = self.tensors["embedding.weight"] @ out + self.tensors["embedding.bias"]
        return logits - np.log(np.exp(logits).sum())


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def lstm_cell(gates: np.ndarray, c: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    i, f, g, o = np.split(gates, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


@torch.no_grad()
def compare_one_step(
    decoder: Decoder, regions: np.ndarray, token: int, logprobs: np.ndarray, alpha: np.ndarray
) -> None:
    memory = decoder.prepare(torch.from_numpy(regions).float()[None])
    step = decoder.step(torch.tensor([[token]]), decoder.start(memory), memory)
    np.testing.assert_allclose(step.logprobs[0, 0].numpy(), logprobs, atol=1e-5)
    np.testing.assert_allclose(step.attention[0, 0].numpy(), alpha, atol=1e-6)


def test_show_attend_tell_by_its_equations(lstm):
    w = Weights(lstm)
    regions, token = np.random.default_rng(0).normal(size=(4, DEPTH)), 9
    values = np.maximum(w("regions.value", regions), 0)
    h, c = np.split(np.tanh(w("initial_state", values.mean(0))), 2)
    word = w.tensors["embedding.weight"][token]
    alpha, _ = w.alpha(values, h)
    z = sigmoid(w("gate", h)) * (alpha @ values)
    h, c = lstm_cell(w("word_in", word) + w("context_in", z) + w("cells.0.recur", h), c)
    out = np.tanh(w("deep_out", np.concatenate([h, z])) + w("word_out", word))
    compare_one_step(lstm, regions, token, w.logprobs(out), alpha)


def test_adaptive_by_its_equations():
    decoder = make({"decoder.design": "adaptive"})
    w = Weights(decoder)
    regions, token = np.random.default_rng(0).normal(size=(4, DEPTH)), 9
    values = np.maximum(w("regions.value", regions), 0)
    h, c = np.split(np.tanh(w("initial_state", values.mean(0))), 2)
    x = w("word_in", w.tensors["embedding.weight"][token]) + w("mean_in", values.mean(0))
    gates, gate = np.split(x, [4 * len(h)])
    before = h
    h, c = lstm_cell(gates + w("cells.0.recur", before), c)
    sentinel = sigmoid(gate + w("sentinel_gate", before)) * np.tanh(c)
    alpha, e = w.alpha(values, h)
    own = w("attention.score", np.tanh(w("sentinel_key", sentinel) + w("attention.query", h)))
    every = np.exp(np.concatenate([e, own]))
    beta = every[-1] / every.sum()
    out = np.tanh(w("deep_out", beta * sentinel + (1 - beta) * (alpha @ values) + h))
    assert 0.01 < beta < 0.99
    compare_one_step(decoder, regions, token, w.logprobs(out), alpha)


def test_up_down_by_its_equations():
    decoder = make({"decoder.design": "up_down"})
    w = Weights(decoder)
    regions, token = np.random.default_rng(0).normal(size=(4, DEPTH)), 9
    values = np.maximum(w("regions.value", regions), 0)
    h1, h2, c1, c2 = np.split(np.tanh(w("initial_state", values.mean(0))), 4)
    x = w("word_in", w.tensors["embedding.weight"][token]) + w("mean_in", values.mean(0)) + w("feedback_in", h2)
    h1, c1 = lstm_cell(x + w("cells.0.recur", h1), c1)
    alpha, _ = w.alpha(values, h1)
    h2, c2 = lstm_cell(w("language_in", np.concatenate([alpha @ values, h1])) + w("cells.1.recur", h2), c2)
    compare_one_step(decoder, regions, token, w.logprobs(np.tanh(w("deep_out", h2))), alpha)


# --- hard attention


@torch.no_grad()
def test_hard_attention_takes_one_region(monkeypatch):
    decoder = make({"attention.kind": "hard"})
    inputs, counts = captions([[6, 6]] * 3)
    memory = decoder.prepare(regions_of(3))
    decoded = decoder(inputs, counts, memory)
    assert torch.equal(decoded.chosen, decoded.attention.argmax(-1)), "in use the most likely one"
    spoilt = memory.values.clone()
    keep = torch.zeros(3, REGIONS, dtype=torch.bool)
    for b in range(3):
        keep[b, decoded.chosen[b].unique()] = True
    assert not bool(keep.all())
    spoilt[~keep] = 1e3
    start = decoder.start(memory, 2)
    monkeypatch.setattr(decoder, "start", lambda *_: start)  # the first state is made from all regions
    again = decoder(inputs, counts, memory._replace(values=spoilt))
    torch.testing.assert_close(again.hidden, decoded.hidden)


@torch.no_grad()
def test_hard_attention_samples_as_often_as_it_looks():
    decoder = make({"attention.kind": "hard"})
    inputs, counts = captions([[1] * 4000])
    torch.manual_seed(0)
    decoded = decoder(inputs[:, :1].expand(-1, 4000, -1), counts, decoder.prepare(regions_of(1)), torch.tensor([True]))
    alpha = decoded.attention[0, 0, 0]
    drawn = torch.bincount(decoded.chosen.flatten(), minlength=REGIONS) / 4000
    assert float((drawn - alpha).abs().max()) < 4 * 0.5 / 4000**0.5
    soft = decoder(inputs, counts, decoder.prepare(regions_of(1)), torch.tensor([False]))
    assert bool((soft.chosen == -1).all())


def tiny_hard(regions: int, words: int) -> tuple[ShowAttendTell, CaptionBatch]:
    torch.manual_seed(3)
    decoder = ShowAttendTell(WordEmbedding(7, 3), 2, (1, regions), size=5, attention_size=4, hard=True, dropout=0.0)
    decoder = decoder.double()
    targets = torch.randint(4, 7, (1, 1, words))
    inputs = torch.cat([torch.ones_like(targets[..., :1]), targets[..., :-1]], dim=-1)
    batch = CaptionBatch(3 * torch.randn(1, regions, 2).double(), inputs, targets, torch.tensor([[words]]))
    return decoder, batch


def test_reinforce_is_the_gradient_of_the_lower_bound_on_average(monkeypatch):
    """Every choice of regions enumerated: sum_s p(s) estimate(s) = d/dw sum_s p(s) log p(y | s)."""
    regions, words, baseline = 3, 3, -2.5
    decoder, batch = tiny_hard(regions, words)
    objective = HardAttention(decoder, reinforce=1.0, entropy=0.0, expectation_share=0.0)
    monkeypatch.setattr(objective, "_update_baseline", lambda rewards, counts: torch.tensor(baseline))

    def choose(weights: torch.Tensor, sampled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = torch.tensor([[[left.pop(0)]]])
        return torch.nn.functional.one_hot(chosen, regions).to(weights), chosen.squeeze(2)

    monkeypatch.setattr(decoder, "_choose", choose)
    bound, estimates, probabilities = torch.zeros(()), [], []
    left: list[int] = []
    for choices in product(range(regions), repeat=words):
        left[:] = choices
        decoded = decoder(batch.inputs, batch.lengths, decoder.prepare(batch.regions), torch.tensor([True]))
        chances = decoded.attention[0, 0].gather(-1, torch.tensor(choices)[:, None]).prod()
        logprobs = decoder.logits(decoded.hidden)[0, 0].log_softmax(-1)
        bound = bound + chances * logprobs.gather(-1, batch.targets[0, 0][:, None]).sum()
        left[:] = choices
        loss = objective(batch)
        estimates.append(torch.autograd.grad(loss, list(decoder.parameters()), materialize_grads=True))
        probabilities.append(float(chances.detach()))
    assert sum(probabilities) == pytest.approx(1.0)
    exact = torch.autograd.grad(-bound / words, list(decoder.parameters()), materialize_grads=True)
    names = [name for name, _ in decoder.named_parameters()]
    assert float(exact[names.index("attention.key.weight")].abs().max()) > 1e-4
    for name, *of_each, expected in zip(names, *estimates, exact, strict=True):
        mean = sum(p * grad for p, grad in zip(probabilities, of_each, strict=True))
        torch.testing.assert_close(mean, expected, atol=1e-6, rtol=1e-5, msg=name)


def test_the_baseline_follows_the_rewards():
    decoder, _ = tiny_hard(3, 4)
    objective = HardAttention(decoder, reinforce=1.0)
    assert float(objective._update_baseline(torch.tensor([-3.0, -5.0]), torch.tensor(1.0))) == -4.0
    assert float(objective._update_baseline(torch.tensor([-2.0]), torch.tensor(1.0))) == -4.0
    assert float(objective.baseline) == pytest.approx(0.9 * -4.0 + 0.1 * -2.0)


@torch.no_grad()
def test_the_entropy_term_flattens_attention():
    decoder, batch = tiny_hard(5, 4)
    objective = HardAttention(decoder, reinforce=0.0, entropy=1.0, expectation_share=1.0)
    plain = HardAttention(decoder, reinforce=0.0, entropy=0.0, expectation_share=1.0)
    attention = decoder(batch.inputs, batch.lengths, decoder.prepare(batch.regions), torch.tensor([False])).attention
    entropy = -(attention * attention.log()).sum(-1).mean()
    assert float(objective(batch)) == pytest.approx(float(plain(batch)) - float(entropy), rel=1e-5)


# --- self-attention over regions, and positions


@torch.no_grad()
def test_region_self_attention_mixes_regions_and_knows_positions(lstm):
    layer = SelfAttention(12, 4, 0.0).eval()
    values = torch.randn(2, 7, 12)
    changed = values.clone()
    changed[0, 3, :5] += 1
    before, after = layer(values), layer(changed)
    assert float((before[0, 0] - after[0, 0]).abs().max()) > 1e-6
    assert torch.equal(before[1], after[1])
    order = torch.randperm(7)
    torch.testing.assert_close(layer(values[:, order]), before[:, order])
    decoder = make({"encoder.self_attention": 1})
    shuffled = torch.randperm(REGIONS)
    regions = regions_of(1)
    placed, moved = decoder.prepare(regions).values, decoder.prepare(regions[:, shuffled]).values
    assert not torch.allclose(placed[:, shuffled], moved, atol=1e-3)


def test_places_are_all_different():
    assert sinusoidal_encoding(torch.arange(3), 4).tolist()[1] == pytest.approx(
        [np.sin(1), np.sin(0.01), np.cos(1), np.cos(0.01)]
    )
    for size in (6, 13):
        positions = grid_positions(GRID, size)
        assert positions.shape == (REGIONS, size)
        assert float((torch.cdist(positions, positions) + torch.eye(REGIONS)).min()) > 0.1


@torch.no_grad()
def test_a_transformer_keeps_no_more_than_it_must():
    decoder = make({"decoder.kind": "transformer", "decoder.layers": 2})
    memory = decoder.prepare(regions_of(2))
    state = decoder.start(memory, 3)
    assert {part.shape for part in state} == {(2, 3, 4, 0, 13)}, "keys and values of two heads"
    for t in range(1, 4):
        state = decoder.step(torch.full((2, 3), t), state, memory).state
        assert {part.shape for part in state} == {(2, 3, 4, t, 13)}


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
@torch.no_grad()
def test_finer_regions_that_were_not_trained_change_nothing(kind):
    """Each region's weight is shared by the four finer ones inside it, where they are on the photo."""
    coarse, finer = make({"decoder.kind": kind}), make({"decoder.kind": kind, "encoder.finer": True})
    assert finer.finer is not None
    for layer in (finer.finer.keys, finer.finer.values):
        torch.nn.init.zeros_(layer.weight)
    size = DEPTH - 4 * FINER_DEPTH
    coarse.regions.value = torch.nn.Linear(size, 26)
    finer.load_state_dict(coarse.state_dict(), strict=False)
    inputs, counts = captions([[7, 5], [3, 3]])
    regions = regions_of(2)
    expected = coarse(inputs, counts, coarse.prepare(regions[..., :size]))
    decoded = finer(inputs, counts, finer.prepare(regions))
    torch.testing.assert_close(decoded.hidden[0, 0], expected.hidden[0, 0], atol=1e-5, rtol=1e-4)
    maps = decoded.attention[0, 0].unflatten(-1, finer.grid)
    coarse_maps = expected.attention[0, 0].unflatten(-1, GRID) / 4
    assert finer.grid == (6, 10)
    torch.testing.assert_close(maps, coarse_maps.repeat_interleave(2, 1).repeat_interleave(2, 2))


@torch.no_grad()
def test_finer_regions_lie_where_the_encoder_saw_them():
    """A mark in one cell of the finer map moves the key of this finer region, and no other."""
    finer = make({"encoder.finer": True}).finer
    assert finer is not None
    maps = torch.zeros(1, FINER_DEPTH, *finer.grid)
    maps[0, 2, 3, 7] = 1.0  # row 3, column 7 of 6 x 10
    packed = torch.nn.functional.pixel_unshuffle(maps, 2).flatten(2).transpose(1, 2)  # as Encoder packs them
    zeros = torch.zeros(1, REGIONS, 22), torch.zeros(1, REGIONS, 26)
    keys, values = finer(packed, *zeros)
    for moved in (keys, values):
        assert moved.abs().sum(-1).unflatten(-1, finer.grid).nonzero().tolist() == [[0, 3, 7]]
