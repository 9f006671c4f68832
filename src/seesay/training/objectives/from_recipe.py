"""Recipe -> objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from seesay.config import Recipe
from seesay.data.records import CaptionRecord
from seesay.data.tokens import EOS, CaptionTokenizer
from seesay.metrics.statistics import FUNCTION_WORDS
from seesay.models.decoder import Decoder
from seesay.models.recurrent import RecurrentDecoder
from seesay.search import BeamOptions, Constraint, NoRepeatedNgrams, NoRepeatedWords
from seesay.training.objectives.bag_of_words import WordsSeen
from seesay.training.objectives.cross_entropy import CrossEntropy
from seesay.training.objectives.distillation import Distillation, SoftTargets
from seesay.training.objectives.grounding import Grounding
from seesay.training.objectives.hard_attention import HardAttention
from seesay.training.objectives.self_critical import CaptionReward, SelfCritical

Build = Callable[
    [Recipe, Decoder, CaptionTokenizer, Sequence[CaptionRecord], SoftTargets | None, Grounding | None], nn.Module
]


def build_objective(
    recipe: Recipe,
    decoder: Decoder,
    tokenizer: CaptionTokenizer,
    records: Sequence[CaptionRecord],
    soft: SoftTargets | None = None,
) -> nn.Module:
    """What `train.objective` asks for: a module, (CaptionBatch, progress 0..1 of the run) -> loss.

    Args:
        recipe: its weights and numbers.
        decoder: what is trained.
        tokenizer: of its words.
        records: the training photos, in the order of `CaptionBatch.photos`.
        soft: what the models of `train.teachers` think of the captions' words.
    """
    grounding = None
    if recipe.train.grounding:
        grounding = Grounding(records, tokenizer, decoder.grid, recipe.train.grounding)
    objective = OBJECTIVES[recipe.train.objective](recipe, decoder, tokenizer, records, soft, grounding)
    if recipe.train.words_seen:
        objective = WordsSeen(objective, decoder.region_size, len(tokenizer), recipe.train.words_seen)
    return objective


def _cross_entropy(
    recipe: Recipe,
    decoder: Decoder,
    tokenizer: CaptionTokenizer,
    records: Sequence[CaptionRecord],
    soft: SoftTargets | None,
    grounding: Grounding | None,
) -> nn.Module:
    train = recipe.train
    if isinstance(decoder, RecurrentDecoder) and decoder.hard:
        return HardAttention(
            decoder,
            train.label_smoothing,
            train.doubly_stochastic,
            train.reinforce,
            train.entropy,
            train.half_soft,
            grounding,
        )
    options = ("label_smoothing", "doubly_stochastic", "scheduled_sampling", "word_dropout")
    values = {name: getattr(train, name) for name in options}
    if soft is not None:
        return Distillation(decoder, soft, train.distillation, grounding=grounding, **values)
    return CrossEntropy(decoder, grounding=grounding, **values)


def _self_critical(
    recipe: Recipe,
    decoder: Decoder,
    tokenizer: CaptionTokenizer,
    records: Sequence[CaptionRecord],
    soft: SoftTargets | None,
    grounding: Grounding | None,
) -> nn.Module:
    train = recipe.train
    return SelfCritical(
        decoder,
        CaptionReward(tokenizer, [record.captions for record in records], train.bleu_weight),
        train.sentences,
        train.samples,
        train.baseline,
        search_options(recipe, tokenizer),
        train.cross_entropy_weight,
        train.label_smoothing,
        train.doubly_stochastic,
        grounding,
    )


def search_options(recipe: Recipe, tokenizer: CaptionTokenizer) -> BeamOptions:
    """How the recipe's model looks for sentences."""
    search = recipe.search
    constraints: list[Constraint] = []
    if search.block_ngrams:
        constraints.append(NoRepeatedNgrams(search.block_ngrams))
    if search.block_words:
        function_words = (i for i in range(len(tokenizer)) if tokenizer.token(i) in FUNCTION_WORDS)
        constraints.append(NoRepeatedWords((EOS, *function_words)))
    return BeamOptions(
        search.beam,
        search.length_penalty,
        max_words=recipe.tokens.max_words,
        constraints=tuple(constraints),
    )


OBJECTIVES: dict[str, Build] = {"cross_entropy": _cross_entropy, "self_critical": _self_critical}
