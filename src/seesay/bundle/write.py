"""Torch model -> bundle, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor

from seesay.bundle.card import model_card
from seesay.bundle.fields import refused
from seesay.bundle.format import Bundle, bundle_being_written, write_manifest
from seesay.bundle.graphs import half_precision, write_graphs
from seesay.bundle.search_file import write_search
from seesay.bundle.weights_file import WEIGHTS, check_weights
from seesay.config import Recipe
from seesay.data.tokens import CaptionTokenizer
from seesay.errors import RecipeError, shown
from seesay.models.build import build_decoder
from seesay.models.captioner import Captioner
from seesay.models.encoder import Encoder
from seesay.search import BeamOptions
from seesay.writing import write_json

WORDS = "decoder.embedding.weight"  # (V, m)

Score = Callable[[Captioner], dict[str, Any]]


def write_bundle(
    folder: Path,
    recipe: Recipe,
    captioner: Captioner,
    tokenizer: CaptionTokenizer,
    search: BeamOptions,
    score: Score | None = None,
) -> Path:
    """Write everything that captioning, evaluation, serving and fine-tuning need; all of it or nothing.

    Args:
        folder: replaced if it is there.
        recipe: how the model was made.
        captioner: any device; left as it is.
        tokenizer: its vocabulary.
        search: the search it should be used with.
        score: figures of the model exactly as it is written (half precision).
    """
    model = half_precision(captioner)
    scores = score(model) if score else {}
    with bundle_being_written(folder) as scratch:
        (scratch / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
        (scratch / "tokenizer.json").write_text(tokenizer.to_json(), encoding="utf-8")
        write_json(scratch / "preprocessing.json", model.encoder.transform.to_dict())
        write_search(scratch / "search.json", search)
        write_json(scratch / "scores.json", scores)
        write_graphs(model.cpu(), scratch)  # scoring may have taken it to a GPU
        (scratch / "README.md").write_text(model_card(recipe, scores), encoding="utf-8")
        write_manifest(scratch, model.encoder.grid)
    return folder


def load_captioner(bundle: Bundle, recipe: Recipe | None = None) -> Captioner:
    """The torch model of a bundle, in eval mode.

    Args:
        bundle: opened.
        recipe: another recipe of the same model (with its own dropout, say) to build it by; None: the bundle's.

    Raises:
        BundleError: its recipe cannot be used by this version, or its weights are not those of the recipe's model: the
            bundle is a forgery, or another version of timm builds the encoder differently.
    """
    recipe = recipe or bundle_recipe(bundle)
    stored = check_weights(bundle.folder)
    _refuse_misfits(bundle, recipe, {name: entry.shape for name, entry in stored.items()})
    state = load_file(bundle.folder / WEIGHTS)
    captioner = _build(bundle, recipe, state.get(WORDS))
    captioner.load_state_dict(state)  # copies half into single
    return captioner.eval()


def bundle_recipe(bundle: Bundle) -> Recipe:
    """The recipe of a bundle, checked as one that is to be trained.

    Raises:
        BundleError: it has keys of another version, or contradicts itself.
    """
    try:
        return Recipe.from_dict(bundle.recipe)
    except RecipeError as error:
        problems = "; ".join(line.strip() for line in str(error).splitlines()[1:])
        raise refused(bundle.folder / "recipe.yaml", problems) from None


def _build(bundle: Bundle, recipe: Recipe, words: Tensor | None) -> Captioner:
    # the width of words is that of vectors which may be gone by now
    table = None if words is None else words.float().numpy()
    encoder = Encoder(recipe.encoder.name, bundle.transform, recipe.encoder.layer)
    return Captioner(encoder, build_decoder(recipe, encoder, len(bundle.tokenizer), table))


def _refuse_misfits(bundle: Bundle, recipe: Recipe, stored: Mapping[str, tuple[int, ...]]) -> None:
    """Compare names and shapes before any memory is taken for the model, whose recipe may ask for any size."""
    if bundle.transform.size != recipe.images.size:
        expected = f"size={bundle.transform.size}: expected {recipe.images.size}, which is images.size of the recipe"
        raise refused(bundle.folder / "preprocessing.json", expected)
    words = stored.get(WORDS, (0,))
    if words[0] != len(bundle.tokenizer) or len(words) != 2:
        expected = f"{WORDS} has the shape {list(words)}: expected {len(bundle.tokenizer)} rows, one for each token"
        raise refused(bundle.folder / WEIGHTS, expected)
    try:
        with torch.device("meta"):
            model = _build(bundle, recipe, torch.zeros(1, 1, device="cpu").expand(words))
    except RecipeError as error:
        raise refused(bundle.folder / "recipe.yaml", str(error)) from error
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    misfits = [
        f"{shown(name)} has the shape {_axes(stored.get(name))}, expected {_axes(wanted.get(name))}"
        for name in sorted(wanted.keys() | stored.keys())
        if wanted.get(name) != stored.get(name)
    ]
    if misfits:
        raise refused(
            bundle.folder / WEIGHTS,
            f"{len(misfits):,} tensors do not fit the model of its recipe, as timm {timm.__version__} builds it: "
            f"{misfits[0]}",
        )


def _axes(shape: tuple[int, ...] | None) -> str:
    return "none (it is missing)" if shape is None else shown(list(shape))
