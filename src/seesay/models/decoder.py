"""The interface of every decoder: `prepare` and `start`, then `step` by `step`; `forward` for whole captions."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from seesay.models.attention import RegionWeights
from seesay.models.embedding import WordEmbedding
from seesay.models.regions import Regions


class Memory(NamedTuple):
    """What a decoder keeps of a photo; all beams and captions of the photo share it.

    Attributes:
        values: (B, P, ...) the regions that contexts are weighted sums of.
        keys: (B, P, ...) the regions as attention scores compare them.
    """

    values: Tensor
    keys: Tensor


class Step(NamedTuple):
    """The result of one decoding step.

    Attributes:
        logprobs: (B, K, V) natural log-probabilities of the next token.
        state: the decoder's state after the step, a tuple of tensors (B, K, ...).
        attention: (B, K, P) attention weights over the regions, rows summing to 1.
    """

    logprobs: Tensor
    state: Any
    attention: Tensor


class Decoded(NamedTuple):
    """The result of a teacher-forced pass over whole captions.

    Attributes:
        hidden: (B, K, L, M) hidden states, from which `logits` predicts the next token.
        attention: (B, K, L, P) attention weights.
        chosen: (B, K, L) the region that hard attention chose, -1 where it took the expectation; None for soft
            attention.
    """

    hidden: Tensor
    attention: Tensor
    chosen: Tensor | None = None


class Decoder(nn.Module):
    """The interface. `step` defines the model: every search, figure and exported graph is made of it.

    Attributes:
        Memory: the NamedTuple that `prepare` returns, of tensors or of tuples of them.
        State: its state, a tuple of tensors that takes them one by one. The fields (or indices) of memory and state
            name the inputs and outputs of the exported graphs.
        embedding: of the words, read and predicted.
        regions: projects the encoder's regions.
        region_weights: the softmax of the attention that is shown: (B, K, N, P), or (B, N, K, P), for N heads.
    """

    Memory: ClassVar[Any] = Memory
    State: Any
    embedding: WordEmbedding
    regions: Regions
    region_weights: RegionWeights

    @property
    def region_size(self) -> int:
        """D, the features of a region."""
        return self.regions.value.in_features

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, cols) of the regions."""
        return self.regions.grid

    @abstractmethod
    def prepare(self, regions: Tensor) -> Any:
        """Compute once what every step needs of a photo: (B, P, D) -> `Memory`."""

    @abstractmethod
    def start(self, memory: Any, beams: int = 1) -> Any:
        """The state before the first word, its parts (B, beams, ...)."""

    @abstractmethod
    def step(self, tokens: Tensor, state: Any, memory: Any) -> Step:
        """Read one token of each beam and predict the next.

        Args:
            tokens: (B, K) ids of the previous tokens.
            state: its parts (B, K, ...).
            memory: of the B photos, without K.
        """

    @abstractmethod
    def forward(self, tokens: Tensor, lengths: Tensor, memory: Any) -> Decoded:
        """Read whole captions (teacher forcing); equal to repeated `step`.

        Args:
            tokens: (B, K, L) ids, start token first; each photo's captions in order of falling length.
            lengths: (B, K) real tokens of each caption; the rest is padding.
            memory: of the B photos.

        Returns:
            Hidden states and attention weights; those of padding are undefined.
        """

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of all tokens before the softmax: (..., M) -> (..., V)."""
        return self.embedding.logits(hidden)
