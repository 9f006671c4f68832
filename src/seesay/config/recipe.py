"""The recipe: everything that a run is. `docs/recipes.md` explains each key; this file is the authority."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from seesay.config.schema import at_least, between, from_mapping, to_mapping
from seesay.errors import RecipeError


@dataclass(frozen=True)
class Data:
    """Where photos and captions come from; see `seesay.data.readers`."""

    path: tuple[str, ...] = ()
    layout: str = "auto"
    splits: str = "auto"
    limit: int | None = at_least(1, default=None)


@dataclass(frozen=True)
class Images:
    """How large the encoder sees a photo."""

    size: int = at_least(32, default=256)


@dataclass(frozen=True)
class EncoderPart:
    """A timm model; see `seesay.models.encoder.load_encoder`."""

    name: str = "tf_efficientnet_lite2"
    weights: str = "auto"


@dataclass(frozen=True)
class Tokens:
    """The vocabulary, made from the training captions."""

    kind: Literal["word"] = "word"
    min_count: int = at_least(1, default=5)
    max_words: int = at_least(1, default=40)


@dataclass(frozen=True)
class Embedding:
    """Word vectors, read and (transposed) written."""

    kind: Literal["learned"] = "learned"
    size: int = at_least(1, default=300)


@dataclass(frozen=True)
class Attention:
    """How regions are weighed."""

    kind: Literal["soft"] = "soft"
    score: Literal["additive"] = "additive"
    size: int = at_least(1, default=192)


@dataclass(frozen=True)
class Decoder:
    """The part that writes words."""

    kind: Literal["lstm"] = "lstm"
    size: int = at_least(1, default=512)
    dropout: float = between(0, 0.95, default=0.5)


@dataclass(frozen=True)
class Train:
    """How the decoder learns."""

    objective: Literal["cross_entropy"] = "cross_entropy"
    epochs: int = at_least(1, default=12)
    max_steps: int | None = at_least(1, default=None)
    batch_size: int = at_least(1, default=50)
    lr: float = between(0, 10, default=1.2e-3)
    warmup: float = between(0, 1, default=0.1)
    weight_decay: float = between(0, 10, default=0.01)
    label_smoothing: float = between(0, 0.9, default=0.1)
    clip: float = between(0, 1e6, default=5.0)
    ema: float = between(0, 0.99999, default=0.0)
    doubly_stochastic: float = between(0, 100, default=0.0)
    patience: int | None = at_least(1, default=None)
    save_minutes: float = between(0, 1e6, default=5.0)
    devices: int | str = "auto"
    nodes: int = at_least(1, default=1)
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"


@dataclass(frozen=True)
class Search:
    """How sentences are looked for, on dev and by whoever uses the bundle; see `seesay.search.SearchOptions`."""

    beam: int = at_least(1, default=3)
    length_penalty: float = between(0, 10, default=0.7)
    block_ngrams: int = at_least(0, default=3)


@dataclass(frozen=True)
class Recipe:
    """A run: one YAML file, with `key=value` on top."""

    name: str = "run"
    seed: int = 0
    out: str | None = None
    data: Data = field(default_factory=Data)
    images: Images = field(default_factory=Images)
    encoder: EncoderPart = field(default_factory=EncoderPart)
    tokens: Tokens = field(default_factory=Tokens)
    embedding: Embedding = field(default_factory=Embedding)
    attention: Attention = field(default_factory=Attention)
    decoder: Decoder = field(default_factory=Decoder)
    train: Train = field(default_factory=Train)
    search: Search = field(default_factory=Search)

    @property
    def folder(self) -> str:
        """The run's folder."""
        return self.out or f"runs/{self.name}"

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], found: Iterable[str] = ()) -> Recipe:
        """A checked recipe from nested plain values.

        Args:
            values: keys that are missing keep their defaults.
            found: problems that are known already.

        Raises:
            RecipeError: every unknown key, wrong value and contradiction, in one text.
        """
        problems = list(found)
        recipe = from_mapping(cls, values, problems)
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


def contradictions(recipe: Recipe) -> list[str]:
    """What each key allows and the keys together do not, one line each."""
    found = []
    if recipe.train.warmup >= 1:
        found.append("train.warmup=1: the whole run would be warm-up; give a share of the steps below 1")
    return found
