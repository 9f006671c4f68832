"""The searches of a bundle: what its encoder makes of photos -> sentences, in tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seesay.data.tokens import BOS, EOS, NEVER_WRITTEN
from seesay.errors import DeviceError
from seesay.runtime.device import Device, Wanted, choose_device
from seesay.runtime.sessions import DECODERS, Encoded, Precision, open_decoder, open_encoder
from seesay.search import BeamOptions, Hypothesis, SampleOptions, StepModel, beam_search, sample, score
from seesay.search.step import Step

NO_ACCELERATOR = "device=auto: the ONNX Runtime that is installed has no accelerator, so the processor works"


@dataclass(frozen=True)
class Engine:
    """An encoder and a decoder, and what can be asked of them. As safe to use from several threads as they are.

    It is made of built parts, so whatever can be called like them may take their place: something that counts their
    calls, or an average of several models (`dataclasses.replace(engine, decoder=...)`).

    Attributes:
        encoder: pixels (3, size, size) -> `Encoded`, of one photo.
        decoder: the step, as `seesay.search.StepModel` has it.
        precision: the decoder's, "int8" or "float32".
        encoder_precision: the encoder's.
        device: where both run.
        note: what a user should know of it: that the processor took the place of an accelerator, for example.
    """

    encoder: Callable[[np.ndarray], Encoded]
    decoder: Step
    precision: Precision = "float32"
    encoder_precision: Precision = "float32"
    device: Device = "cpu"
    note: str | None = None

    @classmethod
    def open(cls, folder: Path, threads: int, precision: Precision = "auto", device: Wanted = "cpu") -> Engine:
        """The engine of a bundle, on ONNX Runtime.

        Args:
            folder: the bundle's.
            threads: that work on one call.
            precision: "float32", or "int8", which is faster, changes some captions and hardly a score
                (docs/performance.md). "auto" takes "int8" where the bundle has it and it is known to be faster.
            device: where the graphs run: "cpu", an accelerator that the installed ONNX Runtime has ("cuda",
                "directml", "coreml"), or "auto": the first of these that there is and that starts, else "cpu".

        Raises:
            BundleError: a graph cannot be run, or the bundle lacks the decoder asked for.
            DeviceError: not on this device, or not in 8 bits on it.
        """
        if precision not in ("auto", *DECODERS):
            raise ValueError(f"precision={precision}: expected auto, int8 or float32")
        taken = choose_device(device)
        if taken == "cpu":
            return cls._open(folder, threads, precision, "cpu", NO_ACCELERATOR if device == "auto" else None)
        if precision == "int8":
            raise DeviceError(f"device={taken}: runs in float32; leave precision=int8 out, or take device=cpu")
        try:
            return cls._open(folder, threads, precision, taken)
        except DeviceError as error:
            if device != "auto":
                raise
            return cls._open(folder, threads, precision, "cpu", f"{error}; the processor works instead")

    @classmethod
    def _open(cls, folder: Path, threads: int, precision: Precision, device: Device, note: str | None = None) -> Engine:
        with ThreadPoolExecutor(1) as pool:  # each graph takes as long as two photos to open, most of it on one core
            opening = pool.submit(open_encoder, folder, threads, precision, device)
            decoder, decoder_precision = open_decoder(folder, threads, precision, device)
            encoder, encoder_precision = opening.result()
        return cls(encoder, decoder, decoder_precision, encoder_precision, device, note)

    def encode(self, pixels: np.ndarray) -> Encoded:
        """What the decoder needs of one photo.

        Args:
            pixels: (3, size, size) float32, from the bundle's transform.
        """
        return self.encoder(pixels)

    def search(self, photos: Sequence[Encoded], options: BeamOptions, number: int | None = 1) -> list[list[Hypothesis]]:
        """The best sentences of each photo, best first.

        Args:
            photos: from `encode`.
            options: width, ranking, rules.
            number: as for `seesay.search.beam_search`: 1 the best alone; None all, ranked at the end of the search.
        """
        return beam_search(self.model(photos), options, number)

    def sample(self, photos: Sequence[Encoded], options: SampleOptions, keys: Sequence[int]) -> list[list[Hypothesis]]:
        """Sentences drawn for each photo.

        Args:
            photos: from `encode`.
            options: how many, from what, and rules.
            keys: a number for each photo. Its noise depends on this, the seed and the number of the sentence: not on
                the other photos, nor on how many sentences are drawn.
        """
        return sample(self.model(photos), options, Noise(options.seed, keys, options.n))

    def score(self, photos: Sequence[Encoded], tokens: Sequence[int]) -> list[Hypothesis]:
        """A given sentence, as `seesay.search.score` reads it, for each photo."""
        return score(self.model(photos), tokens)

    def model(self, photos: Sequence[Encoded]) -> StepModel:
        """The decoder and some photos as a search sees them."""
        state, memory = photos[0] if len(photos) == 1 else (_joined(parts) for parts in zip(*photos, strict=True))
        start = np.full((len(photos), 1), BOS, dtype=np.int64)
        return StepModel(self.decoder, state, memory, start, EOS, NEVER_WRITTEN)


def _joined(parts: Sequence[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    return tuple(map(np.concatenate, zip(*parts, strict=True)))


class Noise:
    """Uniform numbers in [0, 1) for sampling: for each photo and each of its sentences a stream of its own."""

    def __init__(self, seed: int, keys: Sequence[int], number: int) -> None:
        self._streams = [[np.random.default_rng([seed, key, n]) for n in range(number)] for key in keys]

    def __call__(self, photos: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """(photos, *shape) float32; `shape` is (sentences, tokens)."""
        return np.stack(
            [[stream.random(shape[1], dtype=np.float32) for stream in self._streams[photo]] for photo in photos]
        )
