"""Loading a bundle as a torch model."""

from __future__ import annotations

from collections.abc import Mapping

import timm
import torch
from safetensors.torch import load_file
from torch import nn

from seesay.bundle.errors import refused
from seesay.bundle.format import Bundle
from seesay.bundle.weights_file import WEIGHTS, check_weights
from seesay.config import Recipe
from seesay.errors import RecipeError, shown
from seesay.models.build import build_decoder
from seesay.models.captioner import Captioner
from seesay.models.encoder import Encoder

WORDS = "decoder.embedding.weight"  # (V, m)
Shape = tuple[int, ...]


def load_captioner(bundle: Bundle, recipe: Recipe | None = None) -> Captioner:
    """The torch model of a bundle, in eval mode.

    Args:
        bundle: opened.
        recipe: builds the model in place of the bundle's recipe; it must describe the same model,
            but may have another dropout, for example.

    Raises:
        BundleError: this version cannot use the recipe, or the weights do not fit the recipe's
            model, because the bundle is forged or another version of timm builds the encoder
            differently.
    """
    recipe = recipe or bundle_recipe(bundle)
    stored = {name: entry.shape for name, entry in check_weights(bundle.folder).items()}
    vocabulary = _refuse_misfits(bundle, recipe, stored)
    encoder = _build_encoder(bundle, recipe, stored)
    # shapes without memory, because a forged recipe may ask for any amount
    with torch.device("meta"):
        table = torch.zeros(1, 1, device="cpu").expand(vocabulary).numpy()
        sketch = build_decoder(recipe, encoder, len(bundle.tokenizer), table)
    _compare(bundle, "decoder.", sketch, stored)
    state = load_file(bundle.folder / WEIGHTS)
    # determines the width; the file of pretrained vectors may no longer exist
    table = state[WORDS].float().numpy()
    captioner = Captioner(encoder, build_decoder(recipe, encoder, len(bundle.tokenizer), table))
    captioner.load_state_dict(state)  # converts half to single precision
    return captioner.eval()


def bundle_recipe(bundle: Bundle) -> Recipe:
    """The recipe of a bundle, checked like one for training.

    Raises:
        BundleError: it has keys of another version, or contradictions.
    """
    try:
        return Recipe.from_dict(bundle.recipe)
    except RecipeError as error:
        problems = "; ".join(line.strip() for line in str(error).splitlines()[1:])
        raise refused(bundle.folder / "recipe.yaml", problems) from None


def _refuse_misfits(bundle: Bundle, recipe: Recipe, stored: Mapping[str, Shape]) -> Shape:
    """Check sizes before a model is built; returns the shape of the word vectors, (V, m)."""
    if bundle.transform.size != recipe.images.size:
        expected = f"size={bundle.transform.size}: expected {recipe.images.size}, which is images.size of the recipe"
        raise refused(bundle.folder / "preprocessing.json", expected)
    words = stored.get(WORDS, ())
    if len(words) != 2 or words[0] != len(bundle.tokenizer):
        expected = f"{WORDS} has the shape {list(words)}: expected {len(bundle.tokenizer)} rows, one for each token"
        raise refused(bundle.folder / WEIGHTS, expected)
    if strange := [name for name in stored if not name.startswith(("encoder.", "decoder."))]:
        raise refused(bundle.folder / WEIGHTS, f"{shown(strange[0])} belongs to neither encoder nor decoder")
    return words


def _build_encoder(bundle: Bundle, recipe: Recipe, stored: Mapping[str, Shape]) -> Encoder:
    """The encoder with random weights.

    If possible, its shapes are compared with the stored ones before it takes memory.
    """
    arguments = recipe.encoder.name, bundle.transform, recipe.encoder.layer, recipe.encoder.finer
    try:
        with torch.device("meta"):
            _compare(bundle, "encoder.", Encoder(*arguments), stored)
    except RecipeError:  # some models cannot be built on the meta device; they are compared below
        pass
    try:
        encoder = Encoder(*arguments)
    except RecipeError as error:
        raise refused(bundle.folder / "recipe.yaml", str(error)) from error
    _compare(bundle, "encoder.", encoder, stored)
    return encoder


def _compare(bundle: Bundle, prefix: str, part: nn.Module, stored: Mapping[str, Shape]) -> None:
    """Compare names and shapes of a part of the model with those in the file."""
    expected = {f"{prefix}{name}": tuple(tensor.shape) for name, tensor in part.state_dict().items()}
    given = {name: shape for name, shape in stored.items() if name.startswith(prefix)}
    misfits = [name for name in sorted(expected | given) if expected.get(name) != given.get(name)]
    if misfits:
        shapes = f"{_axes(given.get(misfits[0]))}, expected {_axes(expected.get(misfits[0]))}"
        raise refused(
            bundle.folder / WEIGHTS,
            f"{len(misfits):,} tensors do not fit the model of its recipe, as timm {timm.__version__} builds it: "
            f"{shown(misfits[0])} has the shape {shapes}",
        )


def _axes(shape: Shape | None) -> str:
    return "none (it is missing)" if shape is None else shown(list(shape))
