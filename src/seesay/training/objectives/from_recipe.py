"""Builds the objective that a recipe describes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from seesay.config import Recipe
from seesay.data.records import CaptionRecord
from seesay.data.tokens import EOS, CaptionTokenizer
from seesay.metrics.statistics import FUNCTION_WORDS
from seesay.models.decoder import Decoder
from seesay.models.recurrent import RecurrentDecoder
from seesay.search import BeamOptions, Constraint, NoRepeatedNgrams, NoRepeatedWords
from seesay.training.objectives.bag_of_words import BagOfWords
from seesay.training.objectives.cross_entropy import CrossEntropy
from seesay.training.objectives.distillation import Distillation, SoftTargets
from seesay.training.objectives.grounding import Grounding
from seesay.training.objectives.hard_attention import HardAttention
from seesay.training.objectives.reliance import Reliance
from seesay.training.objectives.self_critical import CaptionReward, SelfCritical


class _Parts(NamedTuple):
    """The arguments of `build_objective`, with the grounding term."""

    recipe: Recipe
    decoder: Decoder
    tokenizer: CaptionTokenizer
    records: Sequence[CaptionRecord]
    soft: SoftTargets | None
    grounding: Grounding | None


def build_objective(
    recipe: Recipe,
    decoder: Decoder,
    tokenizer: CaptionTokenizer,
    records: Sequence[CaptionRecord],
    soft: SoftTargets | None = None,
) -> nn.Module:
    """The module for `train.objective`: (CaptionBatch, progress 0..1 of the run) -> loss.

    Args:
        recipe: objective, weights and hyperparameters.
        decoder: the decoder to train.
        tokenizer: the decoder's.
        records: the training photos, in the order of `CaptionBatch.photos`.
        soft: the distributions of the models of `train.teachers`; None: there are no teachers.
    """
    grounding = None
    if recipe.train.grounding:
        reliance = Reliance(recipe.train.reliance) if recipe.train.reliance else None
        grounding = Grounding(records, tokenizer, decoder.grid, recipe.train.grounding, reliance)
    build = {"cross_entropy": _cross_entropy, "self_critical": _self_critical}[recipe.train.objective]
    objective = build(_Parts(recipe, decoder, tokenizer, records, soft, grounding))
    if recipe.train.words_seen:
        objective = BagOfWords(objective, decoder.region_size, len(tokenizer), recipe.train.words_seen)
    return objective


def _cross_entropy(parts: _Parts) -> nn.Module:
    decoder, train = parts.decoder, parts.recipe.train
    if isinstance(decoder, RecurrentDecoder) and decoder.hard:
        return HardAttention(
            decoder,
            label_smoothing=train.label_smoothing,
            doubly_stochastic=train.doubly_stochastic,
            reinforce=train.reinforce,
            entropy=train.entropy,
            expectation_share=train.half_soft,
            grounding=parts.grounding,
        )
    options = ("label_smoothing", "doubly_stochastic", "scheduled_sampling", "word_dropout")
    values = {name: getattr(train, name) for name in options}
    if parts.soft is not None:
        return Distillation(decoder, parts.soft, train.distillation, grounding=parts.grounding, **values)
    return CrossEntropy(decoder, grounding=parts.grounding, **values)


def _self_critical(parts: _Parts) -> nn.Module:
    train = parts.recipe.train
    return SelfCritical(
        parts.decoder,
        CaptionReward(parts.tokenizer, [record.captions for record in parts.records], train.bleu_weight),
        sentences=train.sentences,
        samples=train.samples,
        baseline=train.baseline,
        search=search_options(parts.recipe, parts.tokenizer),
        cross_entropy_weight=train.cross_entropy_weight,
        label_smoothing=train.label_smoothing,
        doubly_stochastic=train.doubly_stochastic,
        grounding=parts.grounding,
    )


def search_options(recipe: Recipe, tokenizer: CaptionTokenizer) -> BeamOptions:
    """The beam search of section `search`."""
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
