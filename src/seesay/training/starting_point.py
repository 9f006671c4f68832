"""What a run starts from: the model of a bundle, or the mean of several (`train.init`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seesay.bundle.format import open_bundle
from seesay.bundle.names import find_bundle
from seesay.config import Recipe
from seesay.config.recipe import keys_with
from seesay.config.schema import flatten
from seesay.data.tokens import CaptionTokenizer
from seesay.errors import RecipeError, SeesayError, printable, shown
from seesay.export.graphs import half_precision
from seesay.export.load import bundle_recipe, load_captioner
from seesay.models.build import LEARNED_SIZE, build_encoder
from seesay.models.captioner import Captioner
from seesay.models.decoder import Decoder
from seesay.models.encoder import Encoder
from seesay.models.finetune import finetune
from seesay.models.frozen import frozen_part


class Initial(NamedTuple):
    """A trained model to start from, weights in single precision, built by the recipe of the run."""

    encoder: Encoder
    decoder: Decoder
    tokenizer: CaptionTokenizer


def open_initial(recipe: Recipe) -> Initial | None:
    """The model of `train.init`, a bundle's folder or a packaged model's name; None where the recipe names none.

    Of several bundles it is the mean of their weights (Wortsman et al. 2022, https://arxiv.org/abs/2203.05482), which
    is a model only where all were tuned from one: there it is often better than each, as asking them together is.

    Raises:
        BundleError: no bundle there, or a damaged one.
        RecipeError: the recipe describes another model than the bundle's, with every key that differs; or two bundles
            have other words or read photos otherwise.
    """
    if not recipe.train.init:
        return None
    bundles = [open_bundle(find_bundle(name)) for name in recipe.train.init]
    for name, bundle in zip(recipe.train.init, bundles, strict=True):
        _refuse_another_model(recipe, name, bundle_recipe(bundle))
        if bundle.tokenizer.to_json() != bundles[0].tokenizer.to_json():
            raise RecipeError(
                f"train.init={name}: has another vocabulary ({len(bundle.tokenizer):,} tokens) than "
                f"{recipe.train.init[0]} ({len(bundles[0].tokenizer):,}), so there is no mean of them"
            )
        if bundle.transform != bundles[0].transform:
            raise RecipeError(f"train.init={name}: gets its photos prepared otherwise than {recipe.train.init[0]}")
    captioners = [load_captioner(bundle, recipe) for bundle in bundles]
    captioner = captioners[0]
    captioner.load_state_dict(_mean([each.state_dict() for each in captioners]))
    trained = bundle_recipe(bundles[0])
    return Initial(_encoder(trained, captioner), captioner.decoder, bundles[0].tokenizer)


def _mean(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Of each weight over several models of one shape; counters, which are whole numbers, are rounded down."""
    return {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(first.dtype)
        for name, first in states[0].items()
    }


def _refuse_another_model(recipe: Recipe, name: str, trained: Recipe) -> None:
    ours, theirs = _model_keys(recipe), _model_keys(trained)
    lines = [
        f"  {key}: the bundle has {_said(theirs[key])}, the recipe {_said(ours[key])}"
        for key in ours
        if ours[key] != theirs[key]
    ]
    if lines:
        said = f"train.init={name}: the recipe describes another model; give the bundle's values:"
        raise RecipeError("\n".join([said, *lines]))


def _model_keys(recipe: Recipe) -> dict[str, Any]:
    """Every key that describes the model, null replaced by the default that it stands for."""
    values = flatten(recipe.to_dict())
    keys = {key: values[key] for key in keys_with("of_model")}
    meant = {"attention.score": recipe.score, "attention.heads": recipe.heads, "decoder.design": recipe.design}
    if recipe.embedding.kind == "learned":
        meant["embedding.size"] = recipe.embedding.size or LEARNED_SIZE
    return keys | meant


def _said(value: Any) -> str:
    return printable(value) if isinstance(value, str) else shown(value)


def _encoder(trained: Recipe, captioner: Captioner) -> Encoder:
    """The weights that the bundle's encoder was made from, where its recipe still leads to them, else its own.

    A bundle's weights are folded and rounded, so features that were cached with the weights before that are not theirs.
    Of an encoder whose last stages were trained, this is true of its frozen part.
    """
    ours = captioner.encoder
    try:
        original = build_encoder(trained)
        finetune(original, trained.encoder.finetune)
    except SeesayError:
        return ours
    frozen = frozen_part(original)
    if frozen is None or original.transform != ours.transform:
        return ours
    written = half_precision(Captioner(original, captioner.decoder)).encoder.state_dict()
    found, state = original.state_dict(), ours.state_dict()
    kept = _names(original, original if frozen.length is None else frozen.frozen)
    # Another machine may fold with another last bit, and then round to the neighbour in half precision.
    if not all(torch.allclose(written[name], state[name], rtol=2e-3, atol=1e-6) for name in kept):
        return ours
    original.load_state_dict(state | {name: found[name] for name in kept})
    return original.requires_grad_(True).eval()


def _names(whole: nn.Module, part: nn.Module) -> list[str]:
    """What the weights of a part are called in the whole."""
    weights = {id(tensor) for tensor in chain(part.parameters(), part.buffers())}
    return [name for name, tensor in chain(whole.named_parameters(), whole.named_buffers()) if id(tensor) in weights]
