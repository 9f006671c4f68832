"""Recipe files: packaged ones by name, YAML, and `key=value` overrides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seesay.config.plain_yaml import read_yaml
from seesay.config.recipe import Recipe
from seesay.config.schema import aliases, from_command_line, given_twice, text_keys
from seesay.errors import RecipeError, did_you_mean

PACKAGED = Path(__file__).parent / "recipes"


def packaged_recipes() -> list[str]:
    """Names of the recipes in the package."""
    return sorted(path.stem for path in PACKAGED.glob("*.yaml"))


def find_recipe(name: str | Path) -> Path:
    """The file of a recipe, given as a path or as a packaged recipe's name.

    Raises:
        RecipeError: there is no such file and no such packaged recipe.
    """
    if Path(name).is_file():
        return Path(name)
    packaged = PACKAGED / f"{name}.yaml"
    if packaged.is_file():
        return packaged
    names = packaged_recipes()
    near = did_you_mean(Path(name).stem, names)
    raise RecipeError(f"recipe {name}: no such file, nor a packaged recipe ({', '.join(names)}).{near}")


def load_recipe(name: str | Path, overrides: Sequence[str] = (), check_together: bool = True) -> Recipe:
    """Read a recipe and apply `key=value` overrides.

    Args:
        name: a YAML file or a packaged recipe's name.
        overrides: such as "train.lr=0.001"; `from_command_line` reads the values.
        check_together: as for `Recipe.from_dict`.

    Raises:
        RecipeError: no such recipe, not YAML, or values that cannot be used (all of them in one
            message).
    """
    path = find_recipe(name)
    values = _read(path)
    typed = {override.partition("=")[0].strip() for override in overrides}
    problems = [given_twice(alias, key) for alias, key in aliases(Recipe).items() if {alias, key} <= typed]
    problems += [problem for override in overrides if (problem := _apply(values, override))]
    return Recipe.from_dict({"name": path.stem, **values}, problems, check_together)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = read_yaml(path.read_text(encoding="utf-8"), text_keys(Recipe))
    except OSError as error:
        raise RecipeError(f"recipe {path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise RecipeError(f"recipe {path}: not YAML: {error}") from None
    if not isinstance(values, dict | None):
        raise RecipeError(f"recipe {path}: expected keys and values, got {type(values).__name__}")
    return values or {}


def _apply(values: dict[str, Any], override: str) -> str:
    """Apply one override to the values; returns what is wrong with it, or ''."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        return f"'{override}': expected key=value, such as train.lr=0.001"
    key = key.strip()
    *sections, last = key.split(".")
    for section in sections:
        inner = values.get(section)
        if inner is not None and not isinstance(inner, dict):
            return f"'{override}': {section} is a value, not a section"
        values[section] = values = {} if inner is None else inner
    for names in aliases(Recipe).items():
        if key in names:  # the file may give it under its other name
            other = names[names.index(key) - 1]
            values.pop(other.rpartition(".")[2], None)
    values[last] = from_command_line(Recipe, key, text)
    return ""
