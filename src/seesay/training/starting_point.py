"""The model that a run starts from: a bundle's, or the mean of several (`train.init`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from seesay.models.build import DEFAULT_EMBEDDING_SIZE, build_decoder, build_encoder
from seesay.models.captioner import Captioner
from seesay.models.decoder import Decoder
from seesay.models.encoder import Encoder
from seesay.models.finetune import finetune
from seesay.models.frozen import frozen_part


class StartingPoint(NamedTuple):
    """A trained model in single precision, with the dropout rates of the run's recipe."""

    encoder: Encoder
    decoder: Decoder
    tokenizer: CaptionTokenizer


def load_starting_point(recipe: Recipe) -> StartingPoint | None:
    """Load the model of `train.init`; None if the recipe names none.

    If `train.init` names several bundles, their weights are averaged: a "model soup" (Wortsman et
    al. 2022, https://arxiv.org/abs/2203.05482). This works for models that were fine-tuned from the
    same weights; the mean is then often better than any one of them. Finer regions may be added to
    a model that was trained without them.

    Raises:
        BundleError: no bundle there, or a damaged one.
        RecipeError: the recipe describes another model than the bundle (the text lists every key
            that differs), or the bundles differ in vocabulary, preprocessing or
            finer regions.
    """
    if not recipe.train.init:
        return None
    bundles = [open_bundle(find_bundle(name)) for name in recipe.train.init]
    recipes = [bundle_recipe(bundle) for bundle in bundles]
    start = _finer(recipe, recipe.encoder.finer and recipes[0].encoder.finer)
    for name, bundle, trained in zip(recipe.train.init, bundles, recipes, strict=True):
        if trained.encoder.finer != recipes[0].encoder.finer:
            raise RecipeError(
                f"train.init={name}: differs from {recipe.train.init[0]} in encoder.finer, so their "
                "weights cannot be averaged; give bundles that agree in it"
            )
        _check_same_model(start, name, trained)
        if bundle.tokenizer.to_json() != bundles[0].tokenizer.to_json():
            raise RecipeError(
                f"train.init={name}: has another vocabulary ({len(bundle.tokenizer):,} tokens) than "
                f"{recipe.train.init[0]} ({len(bundles[0].tokenizer):,}), so their weights cannot "
                "be averaged; give bundles with the same vocabulary"
            )
        if bundle.transform != bundles[0].transform:
            raise RecipeError(
                f"train.init={name}: prepares photos differently from {recipe.train.init[0]}, so "
                "their weights cannot be averaged; give bundles with the same preprocessing"
            )
    captioners = [load_captioner(bundle, start) for bundle in bundles]
    captioner = captioners[0]
    captioner.load_state_dict(_mean([model.state_dict() for model in captioners]))
    if start != recipe:
        captioner = _with_finer_regions(captioner, recipe, len(bundles[0].tokenizer))
    encoder = _encoder(_finer(recipes[0], recipe.encoder.finer), captioner)
    return StartingPoint(encoder, captioner.decoder, bundles[0].tokenizer)


def _finer(recipe: Recipe, finer: bool) -> Recipe:
    """The recipe with or without finer regions."""
    return replace(recipe, encoder=replace(recipe.encoder, finer=finer))


def _with_finer_regions(captioner: Captioner, recipe: Recipe, vocab_size: int) -> Captioner:
    """The same model with finer regions, which have no effect before training."""
    encoder = Encoder(recipe.encoder.name, captioner.encoder.transform, recipe.encoder.layer, finer=True)
    table = captioner.decoder.embedding.weight.detach().numpy()
    finer = Captioner(encoder, build_decoder(recipe, encoder, vocab_size, table))
    result = finer.load_state_dict(captioner.state_dict(), strict=False)
    assert not result.unexpected_keys, result
    assert all(name.startswith("decoder.finer.") for name in result.missing_keys), result
    return finer.eval()


def _mean(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each weight over several models; integer counters are rounded down."""
    return {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(first.dtype)
        for name, first in states[0].items()
    }


def _check_same_model(recipe: Recipe, name: str, trained: Recipe) -> None:
    wanted, bundled = _model_keys(recipe), _model_keys(trained)
    lines = [
        f"  {key}: the bundle has {_as_text(bundled[key])}, the recipe {_as_text(wanted[key])}"
        for key in wanted
        if wanted[key] != bundled[key]
    ]
    if lines:
        problem = f"train.init={name}: the recipe describes another model; give the bundle's values:"
        raise RecipeError("\n".join([problem, *lines]))


def _model_keys(recipe: Recipe) -> dict[str, Any]:
    """Every key that describes the model, null replaced by the default that it stands for."""
    values = flatten(recipe.to_dict())
    keys = {key: values[key] for key in keys_with("of_model")}
    defaults = {"attention.score": recipe.score, "attention.heads": recipe.heads, "decoder.design": recipe.design}
    if recipe.embedding.kind == "learned":
        defaults["embedding.size"] = recipe.embedding.size or DEFAULT_EMBEDDING_SIZE
    return keys | defaults


def _as_text(value: Any) -> str:
    return printable(value) if isinstance(value, str) else shown(value)


def _encoder(trained: Recipe, captioner: Captioner) -> Encoder:
    """The encoder with its original weights if they are available, else with the bundle's.

    A bundle's encoder has its batch norms folded and its weights rounded to half precision, so its
    features differ slightly from those that training cached. If the recipe's `encoder.weights` can
    still be loaded, and give the bundle's weights when folded and rounded, they are used and the
    cached features stay valid. If the last stages were fine-tuned, only the frozen stages are
    replaced.
    """
    bundled = captioner.encoder
    try:
        original = build_encoder(trained)
        finetune(original, trained.encoder.finetune)
    except SeesayError:
        return bundled
    frozen = frozen_part(original)
    if frozen is None or original.transform != bundled.transform:
        return bundled
    rounded = half_precision(Captioner(original, captioner.decoder)).encoder.state_dict()
    original_state, bundled_state = original.state_dict(), bundled.state_dict()
    names = _names(original, original if frozen.length is None else frozen.frozen)
    # Folding may differ in the last bit between machines, and rounding can then give the
    # neighbouring half-precision number.
    if not all(torch.allclose(rounded[name], bundled_state[name], rtol=2e-3, atol=1e-6) for name in names):
        return bundled
    original.load_state_dict(bundled_state | {name: original_state[name] for name in names})
    return original.requires_grad_(True).eval()


def _names(whole: nn.Module, part: nn.Module) -> list[str]:
    """The names that the weights of `part` have in `whole`."""
    weights = {id(tensor) for tensor in chain(part.parameters(), part.buffers())}
    return [name for name, tensor in chain(whole.named_parameters(), whole.named_buffers()) if id(tensor) in weights]
