"""The recipe: what a run is. Knows no torch."""

from seesay.config.files import find_recipe, load_recipe, packaged_recipes
from seesay.config.recipe import Recipe

__all__ = ["Recipe", "find_recipe", "load_recipe", "packaged_recipes"]
