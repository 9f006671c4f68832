"""Reading recipe.yaml: how the model of a bundle was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seesay.bundle.errors import damaged, refused
from seesay.bundle.fields import read_text
from seesay.config.plain_yaml import read_yaml
from seesay.config.recipe import known_values


def read_recipe(path: Path) -> dict[str, Any]:
    """Read the recipe as nested values: all known keys are present, and unknown ones are kept.

    Raises:
        BundleError: it is not YAML, or a known key has a value of the wrong type or out of range.
    """
    try:
        values = read_yaml(read_text(path))
    except ValueError as error:
        raise damaged(path, f"not YAML: {error}") from None
    if not isinstance(values, dict):
        raise damaged(path, f"expected keys and values, got {type(values).__name__}")
    problems: list[str] = []
    recipe = known_values(values, problems)
    if problems:
        raise refused(path, "; ".join(problems))
    return recipe
