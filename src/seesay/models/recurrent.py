"""What the recurrent decoders share: words in, cells, a look, words out. Each design has its own file."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seesay.models.attention import SCORES, RegionWeights, bring
from seesay.models.cells import CELLS
from seesay.models.decoder import Decoded, Decoder, Memory, Step
from seesay.models.embedding import WordEmbedding
from seesay.models.kernels.dropout import Dropout
from seesay.models.packing import Running
from seesay.models.regions import Regions


class Look(NamedTuple):
    """One look at a photo.

    Attributes:
        context: (B, K, H) what was seen.
        attention: (B, K, P) where, the mean over the heads; rows sum to 1.
        chosen: (B, K) the one region that was taken, -1 where it was the expectation; None: soft attention.
        scores: (B, K, N, P) before the softmax.
    """

    context: Tensor
    attention: Tensor
    chosen: Tensor | None
    scores: Tensor


class Advanced(NamedTuple):
    """One word further.

    Attributes:
        features: (B, K, F) from which `write` makes the next word.
        state: after this step.
        look: at the photo.
    """

    features: Tensor
    state: Any
    look: Look


class RecurrentDecoder(Decoder):
    """Reads words with recurrent cells and looks at the regions once a word.

    Hard attention (Show, Attend and Tell, section 4.1) takes the value of one region instead of the weighted mean:
    in training a sampled one, for the photos that `forward` is told, in use the most likely one.

    Args:
        embedding: of the words, width M.
        region_size: D, features of a region.
        grid: (rows, cols) of the regions.
        size: H, the width of the cells (`decoder.size`).
        cell: "rnn", "lstm" or "gru" (`decoder.kind`).
        layers: cells on top of each other (`decoder.layers`).
        score: "additive", "dot" or "scaled_dot" (`attention.score`).
        attention_size: A (`attention.size`).
        heads: looks at once (`attention.heads`).
        hard: `attention.kind`.
        self_attention: layers in which regions look at each other (`encoder.self_attention`).
        dropout: on values, words and the output, each alone, and between layers.
    """

    inputs_extra = 0  # numbers a word brings besides the first cell's gates, in units of H

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
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.kind = kind = CELLS[cell]
        self.State = kind.State
        self.size, self.hard = size, hard
        self.embedding = embedding
        self.regions = Regions(region_size, size, grid, self_attention, dropout)
        self.attention = SCORES[score](size, size, attention_size, heads)
        self.region_weights = RegionWeights()
        self.cells = nn.ModuleList(kind(size) for _ in range(layers))
        self.start_state = nn.Linear(size, len(kind.State._fields) * layers * size)
        self.word_in = nn.Linear(embedding.size, (kind.gates + self.inputs_extra) * size)
        self.dropout = Dropout(dropout)
        kind.initialise(self.word_in, size)

    def prepare(self, regions: Tensor) -> Any:
        """Everything that is the same at each step: (B, P, D) -> Memory of (B, P, H) values and (B, P, A) keys."""
        values = self.regions(regions)
        return Memory(values, self.attention.project(values))

    def start(self, memory: Any, beams: int = 1) -> Any:
        """The state before the first word, tanh(W mean(values) + b), parts (B, beams, layers * H)."""
        parts = torch.tanh(self.start_state(memory.values.mean(dim=1, keepdim=True)))
        parts = parts.expand(-1, beams, -1).chunk(len(self.State._fields), dim=-1)
        return self.State(*(part.contiguous() for part in parts))

    @abstractmethod
    def advance(self, words_in: Tensor, state: Any, memory: Any, sample: Tensor | None = None) -> Advanced:
        """The recurrence of a design.

        Args:
            words_in: (B, K, ...) from `word_in`.
            state: parts (B, K, layers * H).
            memory: of the B photos.
            sample: see `forward`.
        """

    @abstractmethod
    def write(self, words: Tensor, features: Tensor) -> Tensor:
        """Words read (..., M) and features (..., F) -> hidden (..., M)."""

    def step(self, tokens: Tensor, state: Any, memory: Any) -> Step:
        """One word further."""
        words = self.dropout(self.embedding(tokens))
        features, state, look = self.advance(self.word_in(words), state, memory)
        logprobs = self.logits(self.write(words, features)).log_softmax(dim=-1)
        return Step(logprobs, state, look.attention)

    def forward(self, tokens: Tensor, lengths: Tensor, memory: Any, sample: Tensor | None = None) -> Decoded:
        """Read whole captions (teacher forcing); equal to repeated `step`, with the words' part done at once.

        Args:
            tokens: (B, K, L) ids, start token first; least work where the longest come first, photos and captions.
            lengths: (B, K) real tokens of each caption; what is returned where padding stands means nothing.
            memory: of the B photos.
            sample: (B,) bool, for hard attention in training: photos of which a region is sampled; of the others the
                expectation is taken. None: as `step` does.
        """
        run = Running.of(tokens, lengths)
        words = self.dropout(self.embedding(run.take(tokens)))
        state = self.start(memory, tokens.shape[1])
        features, maps, chosen = [], [], []
        for (photos, captions), words_in in zip(run.sizes, run.steps(self.word_in(words)), strict=True):
            if photos < len(memory.values):
                memory, sample = type(memory)(*(part[:photos] for part in memory)), _first(sample, photos)
            state = self.State(*(part[:photos, :captions] for part in state))
            found, state, look = self.advance(words_in, state, memory, sample)
            features.append(found.flatten(0, 1))
            maps.append(look.attention.flatten(0, 1))
            if look.chosen is not None:
                chosen.append(look.chosen.flatten())
        hidden, attention = run.put(self.write(words, torch.cat(features))), run.put(torch.cat(maps))
        return Decoded(hidden, attention, run.put(torch.cat(chosen), fill=-1) if chosen else None)

    def look(self, query: Tensor, memory: Any, sample: Tensor | None = None) -> Look:
        """Where the query (B, K, H) looks and what it sees there: alpha = softmax(e), z = sum_i alpha_i values_i."""
        scores = self.attention(query, memory.keys)
        weights = self.region_weights(scores)
        taken, chosen = self._take(weights, sample)
        return Look(bring(taken, memory.values), weights.mean(dim=2), chosen, scores)

    def _take(self, weights: Tensor, sample: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Weights of the values, and the region that has all of it where there is just one."""
        if not self.hard:
            return weights, None
        if sample is None:
            chosen = weights.argmax(dim=-1)
        else:  # the Gumbel-max trick: one draw from the softmax of the scores
            noise = -torch.empty_like(weights, dtype=torch.float32).exponential_().log()
            chosen = (weights.float().log() + noise).argmax(dim=-1)
        one = nn.functional.one_hot(chosen, weights.shape[-1]).to(weights.dtype)
        if sample is None:
            return one, chosen.squeeze(2)
        here = sample.reshape(-1, 1)
        return torch.where(here[..., None, None], one, weights), chosen.squeeze(2).masked_fill(~here, -1)

    def _cells(self, inputs: Tensor, state: Any, between: nn.ModuleList) -> Any:
        """All layers one word further; `between[n]` projects the output of layer n for the next one."""
        parts = [part.chunk(len(self.cells), dim=-1) for part in state]
        after = []
        for n, cell in enumerate(self.cells):
            after.append(cell(inputs, *(part[n] for part in parts)))
            if n < len(between):
                inputs = between[n](self.dropout(after[n][0]))
        return self.State(
            *(torch.cat(part, dim=-1) if len(self.cells) > 1 else part[0] for part in zip(*after, strict=True))
        )


def _first(sample: Tensor | None, photos: int) -> Tensor | None:
    return None if sample is None else sample[:photos]


class WholeMemory(NamedTuple):
    """Regions, and the photo as a whole.

    Attributes:
        values: (B, P, H).
        keys: (B, P, A).
        whole: (B, 1, ...) the mean region as the first cell's input reads it.
    """

    values: Tensor
    keys: Tensor
    whole: Tensor


class WholePhotoDecoder(RecurrentDecoder):
    """A design whose first cell reads the photo as a whole at every word, and whose output does not read the word.

    Args: those of `RecurrentDecoder`.
    """

    Memory = WholeMemory

    def __init__(self, embedding: WordEmbedding, region_size: int, grid: tuple[int, int], **options: Any) -> None:
        super().__init__(embedding, region_size, grid, **options)
        self.whole_in = nn.Linear(self.size, self.word_in.out_features, bias=False)
        self.deep_out = nn.Linear(self.size, embedding.size)

    def prepare(self, regions: Tensor) -> WholeMemory:
        """(B, P, D) -> WholeMemory."""
        values, keys = super().prepare(regions)
        return WholeMemory(values, keys, self.whole_in(values.mean(dim=1, keepdim=True)))

    def write(self, words: Tensor, features: Tensor) -> Tensor:
        """(..., H) -> hidden (..., M): tanh(W features + b)."""
        return self.dropout(torch.tanh(self.deep_out(self.dropout(features))))
