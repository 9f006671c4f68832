"""What every decoder is: `prepare`, `start`, then `step` by `step`; `forward` is its equal for whole captions."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from seesay.models.attention import RegionWeights
from seesay.models.embedding import WordEmbedding
from seesay.models.regions import Regions


class Memory(NamedTuple):
    """What a decoder keeps of a photo; the same for all of its beams or captions.

    Attributes:
        values: (B, P, ...) regions in the decoder's own space.
        keys: (B, P, ...) regions as the attention compares them.
    """

    values: Tensor
    keys: Tensor


class Step(NamedTuple):
    """What one word costs and brings.

    Attributes:
        logprobs: (B, K, V) natural log-probabilities of the next token.
        state: a tuple of tensors (B, K, ...), of the decoder's own kind: the state after this step.
        attention: (B, K, P) where it looked, rows summing to 1.
    """

    logprobs: Tensor
    state: Any
    attention: Tensor


class Decoded(NamedTuple):
    """A teacher-forced pass.

    Attributes:
        hidden: (B, K, L, M) what `logits` turns into words.
        attention: (B, K, L, P).
        chosen: (B, K, L) the region that hard attention took, -1 where it took the expectation; None: soft attention.
    """

    hidden: Tensor
    attention: Tensor
    chosen: Tensor | None = None


class Decoder(nn.Module):
    """The contract. `step` defines the model: greedy, beam, sampling, figures and the exported graph are all `step`.

    Attributes:
        Memory: the NamedTuple of this decoder, of tensors or of tuples of them.
        State: its tuple of tensors, made of them one by one; fields (or places) of both name inputs and outputs of the
            graphs.
        embedding: of the words, read and written.
        regions: makes the encoder's regions its own.
        region_weights: gives the weights of the attention that is shown, (B, K, N, P) or (B, N, K, P) for N heads.
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
        """Everything that is the same at each step: (B, P, D) -> Memory, or a NamedTuple that has more."""

    @abstractmethod
    def start(self, memory: Any, beams: int = 1) -> Any:
        """The state before the first word, parts (B, beams, ...)."""

    @abstractmethod
    def step(self, tokens: Tensor, state: Any, memory: Any) -> Step:
        """One word further.

        Args:
            tokens: (B, K) ids of the words just read.
            state: parts (B, K, ...).
            memory: of the B photos, without K.
        """

    @abstractmethod
    def forward(self, tokens: Tensor, lengths: Tensor, memory: Any) -> Decoded:
        """Read whole captions (teacher forcing); equal to repeated `step`.

        Args:
            tokens: (B, K, L) ids, start token first; each photo's captions the longest first.
            lengths: (B, K) real tokens of each caption; what comes after is padding.
            memory: of the B photos.

        Returns:
            hidden and attention; what stands there after a caption's end means nothing.
        """

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., M) -> (..., V), before the softmax."""
        return self.embedding.logits(hidden)
