"""The recipe: everything that determines a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import yaml

from seesay.config import rules
from seesay.config.keys import Mark, at_least, setting
from seesay.config.schema import aliases, flat_fields, flatten, from_mapping, to_mapping
from seesay.config.sections import (
    AttentionSection,
    DataSection,
    DecoderSection,
    EmbeddingSection,
    EncoderSection,
    ImagesSection,
    SearchSection,
    TokensSection,
    TrainSection,
)
from seesay.errors import RecipeError


@dataclass(frozen=True)
class Recipe:
    """The description of a run: a YAML file, changed by `key=value` on the command line."""

    name: str = setting("run", per_run=True, may_change=True)
    """Name of the run and of its model. Default: the name of the recipe's file."""

    seed: int = at_least(0, default=0, most=2**63 - 1)
    """Seed for weights, shuffling, dropout and `data.limit`."""

    out: str | None = setting(None, per_run=True, may_change=True)
    """The run's folder. `null`: `runs/NAME`."""

    data: DataSection = field(default_factory=DataSection)
    images: ImagesSection = field(default_factory=ImagesSection)
    encoder: EncoderSection = field(default_factory=EncoderSection)
    tokens: TokensSection = field(default_factory=TokensSection)
    embedding: EmbeddingSection = field(default_factory=EmbeddingSection)
    attention: AttentionSection = field(default_factory=AttentionSection)
    decoder: DecoderSection = field(default_factory=DecoderSection)
    train: TrainSection = field(default_factory=TrainSection)
    search: SearchSection = field(default_factory=SearchSection)

    @property
    def folder(self) -> str:
        """The run's folder."""
        return self.out or f"runs/{self.name}"

    @property
    def score(self) -> str:
        """`attention.score`, with null replaced by the decoder's default."""
        default = "scaled_dot" if self.decoder.kind == "transformer" else "additive"
        return self.attention.score or default

    @property
    def heads(self) -> int:
        """`attention.heads`, with null replaced by the decoder's default."""
        transformer = self.decoder.kind == "transformer"
        return self.attention.heads or (most_heads(self.decoder.size) if transformer else 1)

    @property
    def design(self) -> str | None:
        """`decoder.design`, with null replaced by the default; None for a transformer."""
        return self.decoder.design or (None if self.decoder.kind == "transformer" else "show_attend_tell")

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], known_problems: Iterable[str] = (), check_together: bool = True
    ) -> Recipe:
        """A checked recipe from nested plain values.

        Args:
            values: missing keys keep their defaults.
            known_problems: problems found before, to be reported in the same message.
            check_together: whether to check for contradictions between keys; training checks them
                itself.

        Raises:
            RecipeError: lists every unknown key, wrong value and contradiction.
        """
        problems = list(known_problems)
        recipe = from_mapping(cls, values, problems)
        if check_together:
            problems += contradictions(recipe)
        if problems:
            raise RecipeError("\n".join(["the recipe cannot be used:", *(f"  {problem}" for problem in problems)]))
        return recipe

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, every key present."""
        return to_mapping(self)

    def to_yaml(self) -> str:
        """The recipe as a file, every key present."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)


def most_heads(size: int) -> int:
    """The largest of 8, 4, 2, 1 that divides `size`."""
    return next(heads for heads in (8, 4, 2, 1) if size % heads == 0)


@cache
def keys_with(mark: Mark) -> tuple[str, ...]:
    """The dotted keys with a mark, in order; see `seesay.config.keys.Marks`."""
    return tuple(key for key, field, _ in flat_fields(Recipe) if field.metadata.get(mark))


def contradictions(recipe: Recipe) -> list[str]:
    """A line for each combination of values that is not allowed."""
    return list(_contradictions(recipe))


def _contradictions(recipe: Recipe) -> Iterator[str]:
    yield from rules.data_rules(recipe.data)
    yield from rules.encoder_rules(recipe.encoder, recipe.images, recipe.train)
    yield from rules.token_rules(recipe.tokens, recipe.embedding, recipe.search)
    yield from rules.embedding_rules(recipe.embedding)
    yield from rules.attention_rules(recipe.attention, recipe.decoder)
    yield from rules.design_rules(recipe.decoder, recipe.attention)
    yield from rules.train_rules(recipe.train)
    yield from rules.self_critical_rules(recipe.train, recipe.attention)
    yield from rules.hard_attention_rules(recipe.train, recipe.attention)
    yield from rules.cross_entropy_rules(recipe.train, recipe.attention)


def known_values(values: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """The nested values of a recipe that any version has written.

    Known keys are converted, missing ones get their defaults, and unknown ones are kept.

    Args:
        values: the recipe's values.
        problems: one line is appended for each known key whose value is wrong.
    """
    recipe = from_mapping(Recipe, values, problems, unknown_pass=True).to_dict()
    second_names = aliases(Recipe)
    for key, value in values.items():
        if isinstance(section := recipe.get(key), dict):
            given = value if isinstance(value, Mapping) else {}
            unknown = {name: v for name, v in given.items() if f"{key}.{name}" not in second_names}
            recipe[key] = {**unknown, **section}
        else:
            recipe.setdefault(key, value)
    return recipe


def flat_recipe(values: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe that any version has written, as {dotted key: value}, with defaults.

    Unlike `Recipe.from_dict` it keeps keys of other versions, so that they can be shown and
    compared. A single value of a list key becomes a list.
    """
    recipe, key_of = flatten(Recipe().to_dict()), aliases(Recipe)
    for name, value in flatten(values).items():
        key = key_of.get(name, name)
        listed = isinstance(recipe.get(key), list) and not isinstance(value, list)
        recipe[key] = ([] if value is None else [value]) if listed else value
    return recipe
