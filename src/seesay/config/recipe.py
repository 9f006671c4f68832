"""The recipe: everything that a run is. `docs/recipes.md` explains each key; this file is the authority."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from seesay.config.schema import at_least, between, flatten, from_mapping, to_mapping
from seesay.errors import RecipeError

LARGEST_SIDE = 4096  # of the square that photos become, in pixels
WIDEST = 2**16  # vectors of words, states and comparisons


@dataclass(frozen=True)
class Data:
    """Where photos and captions come from; see `seesay.data.readers`."""

    path: tuple[str, ...] = ()
    layout: str = "auto"
    splits: str = "auto"
    columns: tuple[str, ...] = field(default=(), metadata={"pairs": True})
    limit: int | None = at_least(1, default=None)
    only: str | None = None
    leave_out: str | None = None
    boxes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Images:
    """How the encoder sees a photo."""

    size: int = at_least(32, default=256, most=LARGEST_SIDE)
    augment: bool = False
    views: int | None = at_least(1, default=None)


@dataclass(frozen=True)
class EncoderPart:
    """A timm model; see `seesay.models.encoder_weights.load_encoder`."""

    name: str = "tf_efficientnet_lite2"
    layer: int | str | None = None
    weights: str = "auto"
    finetune: Literal["none", "last", "all"] | int = at_least(1, default="none")
    lr: float = between(0, 10, default=1e-4)
    self_attention: int = at_least(0, default=0, most=64)


@dataclass(frozen=True)
class Tokens:
    """The vocabulary, made from the training captions."""

    kind: Literal["word", "bpe"] = "word"
    min_count: int = at_least(1, default=5)
    vocab_size: int | None = at_least(5, default=None, most=1_000_000)
    max_words: int = at_least(1, default=40, most=1_000)


@dataclass(frozen=True)
class Embedding:
    """Word vectors."""

    kind: Literal["learned", "word2vec", "glove"] = "learned"
    path: str | None = None
    size: int | None = at_least(1, default=None, most=WIDEST)
    train: bool = True
    tied: bool = True


@dataclass(frozen=True)
class Attention:
    """How regions are weighed."""

    kind: Literal["soft", "hard"] = "soft"
    score: Literal["additive", "dot", "scaled_dot"] | None = None
    size: int = at_least(1, default=192, most=WIDEST)
    heads: int | None = at_least(1, default=None, most=1024)


@dataclass(frozen=True)
class Decoder:
    """The part that writes words."""

    kind: Literal["rnn", "lstm", "gru", "transformer"] = "lstm"
    design: Literal["show_attend_tell", "adaptive", "up_down"] | None = None
    size: int = at_least(1, default=512, most=WIDEST)
    layers: int = at_least(1, default=1, most=64)
    dropout: float = between(0, 0.95, default=0.5)


@dataclass(frozen=True)
class Train:
    """How the decoder learns."""

    objective: Literal["cross_entropy", "self_critical"] = "cross_entropy"
    init: tuple[str, ...] = ()
    epochs: int = at_least(0, default=12)
    max_steps: int | None = at_least(1, default=None)
    batch_size: int = at_least(1, default=50)
    lr: float = between(0, 10, default=1.2e-3)
    warmup: float = between(0, 1, default=0.1)
    weight_decay: float = between(0, 10, default=0.01)
    label_smoothing: float = between(0, 0.9, default=0.1)
    scheduled_sampling: float = between(0, 1, default=0.0)
    word_dropout: float = between(0, 0.9, default=0.0)
    words_seen: float = between(0, 100, default=0.0)
    consensus: float = between(0, 1, default=0.0)
    teachers: tuple[str, ...] = ()
    distillation: float = between(0, 1, default=0.5)
    teacher_sentences: int = at_least(0, default=0)
    sentences: Literal["beams", "drawn"] = "beams"
    samples: int = at_least(1, default=5, most=100)
    baseline: Literal["greedy", "samples", "expected"] = "expected"
    bleu_weight: float = between(0, 100, default=0.0)
    cross_entropy_weight: float = between(0, 100, default=0.0)
    clip: float = between(0, 1e6, default=5.0)
    ema: float = between(0, 0.99999, default=0.0)
    doubly_stochastic: float = between(0, 100, default=0.0)
    grounding: float = between(0, 100, default=0.0)
    reinforce: float = between(0, 100, default=0.1)
    entropy: float = between(0, 100, default=0.002)
    half_soft: float = between(0, 1, default=0.5)
    patience: int | None = at_least(1, default=None)
    save_minutes: float = between(0, 1e6, default=5.0)
    devices: int | str = "auto"
    nodes: int = at_least(1, default=1)
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"


@dataclass(frozen=True)
class Search:
    """How sentences are looked for, on dev and by whoever uses the bundle; see `seesay.search.BeamOptions`."""

    beam: int = at_least(1, default=3, most=100)
    length_penalty: float = between(0, 10, default=0.7)
    block_ngrams: int = at_least(0, default=3, most=1_000)
    block_words: bool = False


@dataclass(frozen=True)
class Recipe:
    """A run: one YAML file, with `key=value` on top."""

    name: str = "run"
    seed: int = at_least(0, default=0, most=2**63 - 1)
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

    @property
    def score(self) -> str:
        """`attention.score`, or what null means."""
        return self.attention.score or ("scaled_dot" if self.decoder.kind == "transformer" else "additive")

    @property
    def heads(self) -> int:
        """`attention.heads`, or what null means."""
        return self.attention.heads or (most_heads(self.decoder.size) if self.decoder.kind == "transformer" else 1)

    @property
    def design(self) -> str | None:
        """`decoder.design`, or what null means: nothing of a transformer."""
        return self.decoder.design or (None if self.decoder.kind == "transformer" else "show_attend_tell")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], found: Iterable[str] = (), check_together: bool = True) -> Recipe:
        """A checked recipe from nested plain values.

        Args:
            values: keys that are missing keep their defaults.
            found: problems that are known already.
            check_together: whether contradictions are looked for too; training looks for them itself.

        Raises:
            RecipeError: every unknown key, wrong value and contradiction, in one text.
        """
        problems = list(found)
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
    """The most of 8, 4, 2, 1 heads that have equal shares of `size`."""
    return next(heads for heads in (8, 4, 2, 1) if size % heads == 0)


def parse_part(part: str) -> tuple[int, int] | None:
    """K/N as text -> (K, N), the K-th of N parts, 1 <= K <= N and N >= 2; None where it is nothing of the kind."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", part)
    if found is None:
        return None
    which, of = int(found[1]), int(found[2])
    return (which, of) if 1 <= which <= of and of > 1 else None


def contradictions(recipe: Recipe) -> list[str]:
    """What each key allows and the keys together do not, one line each."""
    return [said for wrong, said in _rules(recipe) if wrong]


def _rules(recipe: Recipe) -> Iterable[tuple[bool, str]]:
    attention, decoder, embedding, train = recipe.attention, recipe.decoder, recipe.embedding, recipe.train
    for key, part in (("data.only", recipe.data.only), ("data.leave_out", recipe.data.leave_out)):
        yield (
            part is not None and parse_part(part) is None,
            f"{key}={part}: expected K/N, the K-th of N equal parts of the training photos, such as 1/3",
        )
    yield (
        recipe.data.only is not None and recipe.data.leave_out is not None,
        f"data.only={recipe.data.only} with data.leave_out={recipe.data.leave_out}: take one of them",
    )
    yield (
        not re.fullmatch(r"auto|-1|[1-9]\d*|\d+(,\d+)+", str(train.devices)),
        f"train.devices={train.devices}: expected auto, a number from 1, -1 for all, or which ones, such as 0,1",
    )
    yield train.warmup >= 1, "train.warmup=1: the whole run would be warm-up; give a share of the steps below 1"

    yield (
        recipe.images.views is not None and not recipe.images.augment,
        f"images.views={recipe.images.views}: that many variants of each photo, of which there are none without "
        "images.augment=true",
    )
    yield (
        recipe.images.views is not None and recipe.encoder.finetune == "all",
        f"images.views={recipe.images.views}: nothing can be kept where encoder.finetune=all; leave it out",
    )

    yield (
        train.words_seen > 0 and recipe.encoder.finetune == "none",
        f"train.words_seen={train.words_seen:g} teaches the encoder, and encoder.finetune=none trains nothing of it",
    )

    heads = attention.heads or 1
    transformer = decoder.kind == "transformer"
    yield (
        decoder.size % heads != 0,
        f"attention.heads={heads}: does not divide decoder.size={decoder.size}; each head has an equal share of it",
    )
    yield (
        not transformer and attention.size % heads != 0,
        f"attention.heads={heads}: does not divide attention.size={attention.size}; each head has an equal share of it",
    )
    yield (
        attention.kind == "hard" and heads > 1,
        f"attention.kind=hard looks at one region a word, so attention.heads={heads} cannot be; leave heads at 1",
    )
    yield (
        transformer and attention.kind == "hard",
        "attention.kind=hard needs a recurrent decoder (rnn, lstm, gru): a transformer looks many times a word",
    )
    yield (
        transformer and attention.score not in (None, "scaled_dot"),
        f"attention.score={attention.score}: a transformer compares by scaled_dot; leave it out",
    )
    yield (
        transformer and decoder.design is not None,
        f"decoder.design={decoder.design}: a design of recurrent decoders; take decoder.kind rnn, lstm or gru",
    )
    yield (
        decoder.design == "adaptive" and decoder.kind != "lstm",
        f"decoder.design=adaptive reads its sentinel from an LSTM's memory cell; decoder.kind={decoder.kind} has none",
    )
    yield (
        decoder.design == "adaptive" and heads > 1,
        f"decoder.design=adaptive weighs one look against its sentinel, so attention.heads={heads} cannot be",
    )
    yield (
        decoder.design in ("adaptive", "up_down") and decoder.layers > 1,
        f"decoder.layers={decoder.layers}: decoder.design={decoder.design} has its own layers; leave it at 1",
    )

    yield (
        recipe.tokens.kind == "bpe" and embedding.kind == "glove",
        "embedding.kind=glove has vectors of words, and tokens.kind=bpe has pieces of words; take tokens.kind=word",
    )
    yield (
        recipe.tokens.kind == "bpe" and embedding.kind == "word2vec" and embedding.path is not None,
        f"embedding.path={embedding.path}: vectors of words do not fit tokens.kind=bpe; leave the path out to train "
        "word2vec on the pieces, or take tokens.kind=word",
    )
    yield (
        recipe.tokens.kind == "bpe" and recipe.search.block_words,
        "search.block_words: pieces of words may well come twice; leave it at false with tokens.kind=bpe",
    )
    yield (
        embedding.kind == "learned" and embedding.path is not None,
        f"embedding.path={embedding.path}: embedding.kind=learned reads none; give embedding.kind=word2vec or glove",
    )
    yield (
        embedding.kind == "learned" and not embedding.train,
        "embedding.train=false: vectors that start at random must be trained; give embedding.kind=word2vec or glove",
    )

    yield (
        train.epochs == 0 and not train.init,
        "train.epochs=0: writes what the run starts from, which would be random numbers; give train.init=BUNDLE",
    )
    critical = train.objective == "self_critical"
    yield (
        critical and not train.init,
        "train.objective=self_critical starts from a trained model: give train.init=BUNDLE",
    )
    yield (
        critical and train.samples == 1 and not (train.baseline == "greedy" and train.sentences == "drawn"),
        "train.samples=1: with train.sentences=drawn and train.baseline=greedy alone one sentence has another to be "
        "compared with; give these, or 2 or more",
    )
    yield (
        critical and train.sentences == "drawn" and train.baseline == "expected",
        "train.baseline=expected: weighs sentences by their probabilities, by which those of train.sentences=drawn "
        "were drawn already; give train.baseline=samples or greedy",
    )
    yield (
        not critical and train.bleu_weight > 0,
        f"train.bleu_weight={train.bleu_weight:g}: a part of the reward of train.objective=self_critical only",
    )
    yield (
        not critical and train.cross_entropy_weight > 0,
        f"train.cross_entropy_weight={train.cross_entropy_weight:g}: is mixed into train.objective=self_critical only",
    )
    yield (
        critical and train.doubly_stochastic > 0 and train.cross_entropy_weight == 0,
        f"train.doubly_stochastic={train.doubly_stochastic:g}: a part of the cross-entropy, of which self_critical "
        "mixes none in; leave it at 0 or give train.cross_entropy_weight",
    )
    yield (
        critical and train.scheduled_sampling > 0,
        "train.scheduled_sampling: self_critical training reads its own words anyway; leave it at 0",
    )
    plain = (
        ("train.word_dropout", train.word_dropout > 0),
        ("train.consensus", train.consensus > 0),
        ("train.teachers", bool(train.teachers)),
    )
    for key, given in plain:
        yield (
            given and (critical or attention.kind == "hard"),
            f"{key}: goes with plain cross-entropy only, not with train.objective=self_critical or attention.kind=hard",
        )
    yield (
        bool(train.teachers) and train.distillation == 0,
        "train.teachers are asked for nothing with train.distillation=0; leave them out or give it a weight",
    )
    yield (
        train.teacher_sentences > 0 and not train.teachers,
        f"train.teacher_sentences={train.teacher_sentences}: of which teacher? Give train.teachers=BUNDLE",
    )
    yield (
        bool(train.teachers) and train.consensus > 0,
        "train.consensus with train.teachers: the teachers' words have no weights; take one of them",
    )
    yield (
        critical and attention.kind == "hard",
        "train.objective=self_critical with attention.kind=hard: two samplings at once are not supported; take soft",
    )
    yield (
        attention.kind == "hard" and train.scheduled_sampling > 0,
        "train.scheduled_sampling with attention.kind=hard: two samplings at once are not supported; take soft",
    )


def known_values(values: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    """Nested values of a recipe of any version, defaults where it says nothing; unknown keys are kept as they are.

    Args:
        values: of the recipe.
        problems: gets one line for each known key whose value is wrong.
    """
    found = from_mapping(Recipe, values, problems, unknown_pass=True).to_dict()
    for key, value in values.items():
        if isinstance(section := found.get(key), dict):
            found[key] = {**(value if isinstance(value, Mapping) else {}), **section}
        else:
            found.setdefault(key, value)
    return found


def flat_recipe(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values of a recipe -> dotted keys, defaults where it says nothing, lists where it says one value.

    Unlike `Recipe.from_dict` it lets keys of other versions pass: they can be shown and compared all the same.
    """
    found = flatten(Recipe().to_dict())
    for key, value in flatten(values).items():
        listed = isinstance(found.get(key), list) and not isinstance(value, list)
        found[key] = ([] if value is None else [value]) if listed else value
    return found
