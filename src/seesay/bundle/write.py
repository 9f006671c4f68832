"""Torch model -> bundle, and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
from safetensors.torch import load_file

from seesay.bundle.card import model_card
from seesay.bundle.format import Bundle, bundle_being_written, write_manifest
from seesay.bundle.graphs import half_precision, write_graphs
from seesay.bundle.search_file import write_search
from seesay.config import Recipe
from seesay.data.tokens import CaptionTokenizer
from seesay.errors import BundleError
from seesay.models.build import build_decoder
from seesay.models.captioner import Captioner
from seesay.models.encoder import Encoder
from seesay.search import SearchOptions
from seesay.writing import write_json

Score = Callable[[Captioner], dict[str, Any]]


def write_bundle(
    folder: Path,
    recipe: Recipe,
    captioner: Captioner,
    tokenizer: CaptionTokenizer,
    search: SearchOptions,
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
        BundleError: another version of timm builds the encoder differently.
    """
    recipe = recipe or Recipe.from_dict(bundle.recipe)
    encoder = Encoder(recipe.encoder.name, bundle.transform, recipe.encoder.layer)
    state = load_file(bundle.folder / "weights.safetensors")
    words = state.get("decoder.embedding.weight")  # their width is that of vectors which may be gone by now
    table = None if words is None else words.float().numpy()
    try:
        captioner = Captioner(encoder, build_decoder(recipe, encoder, len(bundle.tokenizer), table))
        captioner.load_state_dict(state)  # copies half into single
    except RuntimeError as error:
        raise BundleError(
            f"bundle {bundle.folder}: its weights do not fit the model of its recipe, as timm {timm.__version__} "
            f"builds it: {error}"
        ) from error
    return captioner.eval()
