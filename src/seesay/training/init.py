"""What a run starts from: the model of a bundle (`train.init`)."""

from __future__ import annotations

from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import nn

from seesay.bundle.find import find_bundle
from seesay.bundle.format import open_bundle
from seesay.bundle.graphs import half_precision
from seesay.bundle.write import load_captioner
from seesay.config import Recipe
from seesay.config.schema import flatten
from seesay.data.tokens import CaptionTokenizer
from seesay.errors import RecipeError, SeesayError
from seesay.models.build import LEARNED_SIZE, build_encoder
from seesay.models.captioner import Captioner
from seesay.models.decoder import Decoder
from seesay.models.encoder import Encoder
from seesay.models.stages import finetune
from seesay.models.stem import stem_of

SECTIONS = ("images.size", "encoder.", "tokens.", "embedding.", "attention.", "decoder.")
# They say where weights came from and how they are trained, and may be other ones now.
FREE = ("encoder.weights", "encoder.finetune", "encoder.lr", "embedding.path", "embedding.train", "decoder.dropout")
FREE += ("tokens.min_count", "tokens.vocab_size")  # the vocabulary is the bundle's
FREE += ("attention.kind",)  # hard attention has the weights of soft, and may start from it


class Initial(NamedTuple):
    """A trained model to start from, weights in single precision, built by the recipe of the run."""

    encoder: Encoder
    decoder: Decoder
    tokenizer: CaptionTokenizer


def open_initial(recipe: Recipe) -> Initial | None:
    """The model of `train.init`, a bundle's folder or a packaged model's name; None where the recipe names none.

    Raises:
        BundleError: no bundle there, or a damaged one.
        RecipeError: the recipe describes another model than the bundle's; lists every key that differs.
    """
    if recipe.train.init is None:
        return None
    bundle = open_bundle(find_bundle(recipe.train.init))
    trained = Recipe.from_dict(bundle.recipe)
    _refuse_another_model(recipe, trained)
    captioner = load_captioner(bundle, recipe)
    return Initial(_encoder(trained, captioner), captioner.decoder, bundle.tokenizer)


def _refuse_another_model(recipe: Recipe, trained: Recipe) -> None:
    ours, theirs = _model_keys(recipe), _model_keys(trained)
    lines = [
        f"  {key}: the bundle has {_said(theirs[key])}, the recipe {_said(ours[key])}"
        for key in ours
        if ours[key] != theirs[key]
    ]
    if lines:
        said = f"train.init={recipe.train.init}: the recipe describes another model; give the bundle's values:"
        raise RecipeError("\n".join([said, *lines]))


def _model_keys(recipe: Recipe) -> dict[str, Any]:
    """Every key that says what the model is, null replaced by what it means, so that saying it or not is the same."""
    keys = {key: v for key, v in flatten(recipe.to_dict()).items() if key.startswith(SECTIONS) and key not in FREE}
    meant = {"attention.score": recipe.score, "attention.heads": recipe.heads, "decoder.design": recipe.design}
    if recipe.embedding.kind == "learned":
        meant["embedding.size"] = recipe.embedding.size or LEARNED_SIZE
    return keys | meant


def _said(value: Any) -> str:
    return "null" if value is None else str(value)


def _encoder(trained: Recipe, captioner: Captioner) -> Encoder:
    """The weights that the bundle's encoder was made from, where its recipe still leads to them, else its own.

    A bundle's weights are folded and rounded, so features that were cached with the weights before that are not theirs.
    Of an encoder whose last stages were trained, this is true of its stem.
    """
    ours = captioner.encoder
    try:
        original = build_encoder(trained)
        finetune(original, trained.encoder.finetune)
    except SeesayError:
        return ours
    stem = stem_of(original)
    if stem is None or original.transform != ours.transform:
        return ours
    written = half_precision(Captioner(original, captioner.decoder)).encoder.state_dict()
    found, state = original.state_dict(), ours.state_dict()
    kept = _names(original, original if stem.links is None else stem.frozen)
    # Another machine may fold with another last bit, and then round to the neighbour in half precision.
    if not all(torch.allclose(written[name], state[name], rtol=2e-3, atol=1e-6) for name in kept):
        return ours
    original.load_state_dict(state | {name: found[name] for name in kept})
    return original.requires_grad_(True).eval()


def _names(whole: nn.Module, part: nn.Module) -> list[str]:
    """What the weights of a part are called in the whole."""
    weights = {id(tensor) for tensor in chain(part.parameters(), part.buffers())}
    return [name for name, tensor in chain(whole.named_parameters(), whole.named_buffers()) if id(tensor) in weights]
