"""The interface of every decoder: `prepare`, `start` and `step`, and `forward` for training."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from seesay.models.attention import RegionWeights
from seesay.models.embedding import WordEmbedding
from seesay.models.regions import FINER, FinerRegions, Regions


class Memory(NamedTuple):
    """A decoder's view of a photo, shared by all beams and captions of the photo.

    Attributes:
        values: (B, P, ...) the regions, of which a context is the weighted sum.
        keys: (B, P, ...) the regions, projected for the attention score.
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
        chosen: (B, K, L) the region that hard attention chose, -1 where the context was the
            expectation over the regions; None for soft attention.
    """

    hidden: Tensor
    attention: Tensor
    chosen: Tensor | None = None


class Decoder(nn.Module):
    """The interface of every decoder.

    `step` defines the model: searches, figures and exported graphs all use it. P counts the regions
    that attention weighs: the encoder's, or four for each of them if there are finer ones.

    Attributes:
        Memory: the class that `prepare` returns, a NamedTuple of tensors or of tuples of tensors.
        State: the class of the decoder's state, a tuple that is constructed as `State(*tensors)`.
            The fields (or indices) of memory and state name the inputs and outputs of the exported
            graphs.
        embedding: the vectors of the words that are read and predicted.
        regions: projects the encoder's regions.
        finer: the finer regions that the attention that is shown weighs; None: it weighs the
            regions.
        region_weights: the softmax of the attention that is shown; its output is (B, K, N, P) or
            (B, N, K, P) for N heads.
    """

    Memory: ClassVar[Any] = Memory
    State: Any
    embedding: WordEmbedding
    regions: Regions
    finer: FinerRegions | None
    region_weights: RegionWeights

    @property
    def region_size(self) -> int:
        """D, the features of a region, with those of its finer regions."""
        return self.regions.value.in_features + (FINER**2 * self.finer.depth if self.finer else 0)

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, cols) of the attention that is shown."""
        return self.finer.grid if self.finer else self.regions.grid

    def split_scales(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        """(B, P, D) -> the features of the regions, and those of their finer regions (B, P, 4 D')."""
        size = self.regions.value.in_features
        return regions[..., :size], regions[..., size:]

    @abstractmethod
    def prepare(self, regions: Tensor) -> Any:
        """Compute what every step needs of the photos: (B, P, D) -> `Memory`."""

    @abstractmethod
    def start(self, memory: Any, beams: int = 1) -> Any:
        """The state before the first word, whose parts are (B, beams, ...)."""

    @abstractmethod
    def step(self, tokens: Tensor, state: Any, memory: Any) -> Step:
        """Read one token of each beam and predict the next.

        Args:
            tokens: (B, K) ids of the previous tokens.
            state: a `State` whose parts are (B, K, ...).
            memory: the memory of the B photos, without K.
        """

    @abstractmethod
    def forward(self, tokens: Tensor, lengths: Tensor, memory: Any) -> Decoded:
        """Read whole captions (teacher forcing); equal to repeated `step`.

        Args:
            tokens: (B, K, L) ids, start token first; each photo's captions, the longest first.
            lengths: (B, K) real tokens of each caption; the rest is padding.
            memory: the memory of the B photos.

        Returns:
            Hidden states and attention weights; those of padding are undefined.
        """

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of all tokens before the softmax: (..., M) -> (..., V)."""
        return self.embedding.logits(hidden)
