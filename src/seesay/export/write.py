"""Writing a torch model as a bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from seesay.bundle.card import model_card
from seesay.bundle.format import bundle_being_written, write_manifest
from seesay.bundle.search_file import write_search
from seesay.config import Recipe
from seesay.data.tokens import CaptionTokenizer
from seesay.export.graphs import half_precision, write_graphs
from seesay.models.captioner import Captioner
from seesay.search import BeamOptions
from seesay.writing import write_json

Score = Callable[[Captioner], dict[str, Any]]


def write_bundle(
    folder: Path,
    recipe: Recipe,
    captioner: Captioner,
    tokenizer: CaptionTokenizer,
    search: BeamOptions,
    score: Score | None = None,
) -> Path:
    """Write a bundle, which has everything for captioning, evaluation, serving and fine-tuning.

    The folder is replaced when the bundle is complete.

    Args:
        folder: replaced if it exists.
        recipe: how the model was trained.
        captioner: on any device; not changed.
        tokenizer: the model's vocabulary.
        search: the default search options of the bundle.
        score: computes scores.json from the model exactly as it is written (half precision).
    """
    model = half_precision(captioner)
    scores = score(model) if score else {}
    with bundle_being_written(folder) as scratch:
        (scratch / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
        (scratch / "tokenizer.json").write_text(tokenizer.to_json(), encoding="utf-8")
        write_json(scratch / "preprocessing.json", model.encoder.transform.to_dict())
        write_search(scratch / "search.json", search)
        write_json(scratch / "scores.json", scores)
        write_graphs(model.cpu(), scratch)  # scoring may have moved it to a GPU
        (scratch / "README.md").write_text(model_card(recipe, scores), encoding="utf-8")
        write_manifest(scratch, model.decoder.grid, recipe.attention.kind)
    return folder
