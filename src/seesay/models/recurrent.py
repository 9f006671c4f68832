"""Base classes of the recurrent decoders; each design has its own file."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seesay.models.attention import SCORES, RegionWeights, weighted_sum
from seesay.models.cells import CELLS
from seesay.models.decoder import Decoded, Decoder, Memory, Step
from seesay.models.embedding import WordEmbedding
from seesay.models.kernels.dropout import Dropout
from seesay.models.packing import PackedSteps
from seesay.models.regions import FinerRegions, Regions, without_finer


class Attended(NamedTuple):
    """The result of attending to the regions once.

    Attributes:
        context: (B, K, H) the weighted sum of the values.
        attention: (B, K, P) the weights, averaged over the heads; rows sum to 1.
        chosen: (B, K) the region that hard attention chose, -1 where the context is the
            expectation; None for soft attention.
        scores: (B, K, N, P) before the softmax.
    """

    context: Tensor
    attention: Tensor
    chosen: Tensor | None
    scores: Tensor


class RecurrentStep(NamedTuple):
    """One step of a design's recurrence.

    Attributes:
        features: (B, K, F) from which `deep_output` predicts the next word.
        state: after the step.
        attended: the context and the attention weights.
    """

    features: Tensor
    state: Any
    attended: Attended


class RecurrentDecoder(Decoder):
    """A decoder of recurrent cells that attends to the regions once for each word.

    With hard attention (Show, Attend and Tell, section 4.1) the context is the value of a single
    region: the likeliest one or, for the photos that `forward` is told in training, a sampled one.

    Args:
        embedding: the word vectors, of width M.
        region_size: D, features of a region.
        grid: (rows, cols) of the regions.
        size: H, the width of the cells (`decoder.size`).
        cell: "rnn", "lstm" or "gru" (`decoder.kind`).
        layers: stacked cells (`decoder.layers`).
        score: "additive", "dot" or "scaled_dot" (`attention.score`).
        attention_size: A (`attention.size`).
        heads: N, attention heads (`attention.heads`).
        hard: whether attention is hard (`attention.kind`).
        self_attention: layers of self-attention among the regions (`encoder.self_attention`).
        finer_depth: D', channels of the finer regions (`encoder.finer`); 0: there are none.
        dropout: on values, words and output, and between layers.
    """

    extra_inputs = 0  # further outputs of `word_in`, besides the first cell's inputs, in units of H

    def __init__(
        self,
        embedding: WordEmbedding,
        region_size: int,
        grid: tuple[int, int],
        size: int = 512,
        cell: str = "lstm",
        layers: int = 1,
        score: str = "additive",
        attention_size: int = 192,
        heads: int = 1,
        hard: bool = False,
        self_attention: int = 0,
        finer_depth: int = 0,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.kind = kind = CELLS[cell]
        self.State = kind.State
        self.size, self.hard = size, hard
        self.embedding = embedding
        self.regions = Regions(without_finer(region_size, finer_depth), size, grid, self_attention, dropout)
        self.finer = FinerRegions(finer_depth, attention_size, size, grid) if finer_depth else None
        self.attention = SCORES[score](size, size, attention_size, heads)
        self.region_weights = RegionWeights()
        self.cells = nn.ModuleList(kind(size) for _ in range(layers))
        self.initial_state = nn.Linear(size, len(kind.State._fields) * layers * size)
        self.word_in = nn.Linear(embedding.size, (kind.gates + self.extra_inputs) * size)
        self.dropout = Dropout(dropout)
        kind.initialise(self.word_in, size)

    def prepare(self, regions: Tensor) -> Any:
        """(B, P, D) -> Memory of values (B, P, H) and keys (B, P, A), or with 4 P of finer regions."""
        coarse, finer = self.split_scales(regions)
        values = self.regions(coarse)
        keys = self.attention.project(values)
        if self.finer:
            keys, values = self.finer(finer, keys, values)
        return Memory(values, keys)

    def start(self, memory: Any, beams: int = 1) -> Any:
        """The state before the first word, tanh(W mean(values) + b).

        Its parts are (B, beams, layers * H).
        """
        # (B, 1, parts * layers * H)
        state = torch.tanh(self.initial_state(memory.values.mean(dim=1, keepdim=True)))
        parts = state.expand(-1, beams, -1).chunk(len(self.State._fields), dim=-1)
        return self.State(*(part.contiguous() for part in parts))

    @abstractmethod
    def recurrence(self, words_in: Tensor, state: Any, memory: Any, sampled: Tensor | None = None) -> RecurrentStep:
        """One step of the design's recurrence: attention and cells, in the design's order.

        Args:
            words_in: (B, K, ...) the words, projected by `word_in`.
            state: the state, whose parts are (B, K, layers * H).
            memory: the memory of the B photos.
            sampled: see `forward`.
        """

    @abstractmethod
    def deep_output(self, words: Tensor, features: Tensor) -> Tensor:
        """The output layer before the projection to the vocabulary.

        Args:
            words: (..., M) embeddings of the words just read.
            features: (..., F) of a `RecurrentStep`.

        Returns:
            hidden (..., M), see `Decoded`.
        """

    def step(self, tokens: Tensor, state: Any, memory: Any) -> Step:
        """Read one token of each beam and predict the next; see `Decoder.step`."""
        words = self.dropout(self.embedding(tokens))  # (B, K, M)
        features, state, attended = self.recurrence(self.word_in(words), state, memory)
        logprobs = self.logits(self.deep_output(words, features)).log_softmax(dim=-1)  # (B, K, V)
        return Step(logprobs, state, attended.attention)

    def forward(self, tokens: Tensor, lengths: Tensor, memory: Any, sampled: Tensor | None = None) -> Decoded:
        """Read whole captions (teacher forcing); equal to repeated `step`.

        Everything that does not depend on the state is computed for all words at once, before or
        after the loop.

        Args:
            tokens: (B, K, L) ids, start token first; fastest if the longest photos and captions
                come first.
            lengths: (B, K) real tokens of each caption; results at padding are undefined.
            memory: the memory of the B photos.
            sampled: for hard attention in training: (B,) bool, True for photos whose regions are
                sampled; the context of the others is the expectation. None: as in `step`.
        """
        packed = PackedSteps.of(tokens, lengths)
        words = self.dropout(self.embedding(packed.pack(tokens)))  # (N, M): all words of the batch
        state = self.start(memory, tokens.shape[1])
        features, attention, chosen = [], [], []
        for (photos, captions), words_in in zip(packed.sizes, packed.split(self.word_in(words)), strict=True):
            if photos < len(memory.values):  # the captions of the last photos have ended
                memory = type(memory)(*(part[:photos] for part in memory))
                sampled = None if sampled is None else sampled[:photos]
            state = self.State(*(part[:photos, :captions] for part in state))
            step_features, state, attended = self.recurrence(words_in, state, memory, sampled)
            features.append(step_features.flatten(0, 1))  # (photos * captions, F)
            attention.append(attended.attention.flatten(0, 1))
            if attended.chosen is not None:
                chosen.append(attended.chosen.flatten())
        hidden = packed.unpack(self.deep_output(words, torch.cat(features)))  # (B, K, L, M)
        chosen_regions = packed.unpack(torch.cat(chosen), fill=-1) if chosen else None
        return Decoded(hidden, packed.unpack(torch.cat(attention)), chosen_regions)

    def attend(self, query: Tensor, memory: Any, sampled: Tensor | None = None) -> Attended:
        """Attend to the regions with queries (B, K, H).

        For scores e, alpha = softmax(e) and the context is z = sum_i alpha_i values_i.
        """
        scores = self.attention(query, memory.keys)  # (B, K, N, P)
        weights = self.region_weights(scores)
        value_weights, chosen = self._choose(weights, sampled)
        return Attended(weighted_sum(value_weights, memory.values), weights.mean(dim=2), chosen, scores)

    def _choose(self, weights: Tensor, sampled: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Apply hard attention: the weights of the values (B, K, 1, P), and `Attended.chosen`."""
        if not self.hard:
            return weights, None
        if sampled is None:
            chosen = weights.argmax(dim=-1)
        else:  # the Gumbel-max trick: one draw from the softmax of the scores
            noise = -torch.empty_like(weights, dtype=torch.float32).exponential_().log()
            chosen = (weights.float().log() + noise).argmax(dim=-1)
        one_hot = nn.functional.one_hot(chosen, weights.shape[-1]).to(weights.dtype)
        if sampled is None:
            return one_hot, chosen.squeeze(2)
        by_photo = sampled.reshape(-1, 1)  # (B, 1)
        mixed = torch.where(by_photo[..., None, None], one_hot, weights)
        return mixed, chosen.squeeze(2).masked_fill(~by_photo, -1)

    def _run_cells(self, inputs: Tensor, state: Any, between: nn.ModuleList) -> Any:
        """One step of all layers; `between[n]` projects layer n's output to layer n + 1's input."""
        layer_states = [part.chunk(len(self.cells), dim=-1) for part in state]
        after: list[tuple[Tensor, ...]] = []
        for n, cell in enumerate(self.cells):
            after.append(cell(inputs, *(layers[n] for layers in layer_states)))
            if n < len(between):
                inputs = between[n](self.dropout(after[n][0]))
        if len(self.cells) == 1:  # nothing to concatenate
            return self.State(*after[0])
        return self.State(*(torch.cat(layers, dim=-1) for layers in zip(*after, strict=True)))


class MeanRegionMemory(NamedTuple):
    """The regions and their mean.

    Attributes:
        values: (B, P, H).
        keys: (B, P, A).
        whole: (B, 1, ...) the mean region, projected to the first cell's input.
    """

    values: Tensor
    keys: Tensor
    whole: Tensor


class MeanRegionDecoder(RecurrentDecoder):
    """Base class of designs whose first cell reads the mean region at every step.

    Their output layer does not read the word.

    Args: those of `RecurrentDecoder`.
    """

    Memory = MeanRegionMemory

    def __init__(self, embedding: WordEmbedding, region_size: int, grid: tuple[int, int], **options: Any) -> None:
        super().__init__(embedding, region_size, grid, **options)
        self.mean_in = nn.Linear(self.size, self.word_in.out_features, bias=False)
        self.deep_out = nn.Linear(self.size, embedding.size)

    def prepare(self, regions: Tensor) -> MeanRegionMemory:
        """(B, P, D) -> MeanRegionMemory."""
        values, keys = super().prepare(regions)
        return MeanRegionMemory(values, keys, self.mean_in(values.mean(dim=1, keepdim=True)))

    def deep_output(self, words: Tensor, features: Tensor) -> Tensor:
        """(..., H) -> hidden (..., M): tanh(W features + b)."""
        return self.dropout(torch.tanh(self.deep_out(self.dropout(features))))
