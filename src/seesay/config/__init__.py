"""Recipes: the configuration of a training run; without torch."""

from seesay.config.files import find_recipe, load_recipe, packaged_recipes
from seesay.config.recipe import Recipe, flat_recipe

__all__ = ["Recipe", "find_recipe", "flat_recipe", "load_recipe", "packaged_recipes"]
