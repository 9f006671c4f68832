"""Engine: encoder and decoder of a bundle, and the searches that run on them."""

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

NO_ACCELERATOR = "device=auto: the installed ONNX Runtime has no accelerator, so the processor is used"


@dataclass(frozen=True)
class Engine:
    """An encoder and a decoder with the searches on them; as thread-safe as these are.

    Any callables with the same signatures may take their place, such as one that counts calls, or an ensemble of
    several models (`dataclasses.replace(engine, decoder=...)`).

    Attributes:
        encoder: pixels (3, size, size) of one photo -> `Encoded`.
        decoder: the step function of a `seesay.search.StepModel`.
        precision: the decoder's, "int8" or "float32".
        encoder_precision: the encoder's.
        device: that both run on.
        note: for the user: that the CPU is used in place of an accelerator, for example.
    """

    encoder: Callable[[np.ndarray], Encoded]
    decoder: Step
    precision: Precision = "float32"
    encoder_precision: Precision = "float32"
    device: Device = "cpu"
    note: str | None = None

    @classmethod
    def open(cls, folder: Path, threads: int, precision: Precision = "auto", device: Wanted = "cpu") -> Engine:
        """Open a bundle's graphs on ONNX Runtime.

        Args:
            folder: the bundle's.
            threads: used by each call.
            precision: "float32", or "int8", which is faster and changes some captions, but hardly the scores
                (docs/performance.md). "auto" is "int8" where the bundle has it and it is known to be faster.
            device: "cpu", an accelerator that the installed ONNX Runtime supports ("cuda", "directml", "coreml"), or
                "auto": the first of these that starts, else "cpu".

        Raises:
            BundleError: a graph cannot be run, or the bundle lacks a decoder of this precision.
            DeviceError: the graphs cannot run on this device, or not in this precision.
        """
        if precision not in ("auto", *DECODERS):
            raise ValueError(f"precision={precision}: expected auto, int8 or float32")
        chosen = choose_device(device)
        if chosen == "cpu":
            return cls._open(folder, threads, precision, "cpu", NO_ACCELERATOR if device == "auto" else None)
        if precision == "int8":
            raise DeviceError(f"device={chosen}: runs in float32; leave precision=int8 out, or take device=cpu")
        try:
            return cls._open(folder, threads, precision, chosen)
        except DeviceError as error:
            if device != "auto":
                raise
            return cls._open(folder, threads, precision, "cpu", f"{error}; the processor is used instead")

    @classmethod
    def _open(cls, folder: Path, threads: int, precision: Precision, device: Device, note: str | None = None) -> Engine:
        with ThreadPoolExecutor(1) as pool:  # in parallel: each graph takes the time of two photos to open
            opening = pool.submit(open_encoder, folder, threads, precision, device)
            decoder, decoder_precision = open_decoder(folder, threads, precision, device)
            encoder, encoder_precision = opening.result()
        return cls(encoder, decoder, decoder_precision, encoder_precision, device, note)

    def encode(self, pixels: np.ndarray) -> Encoded:
        """Encode one photo.

        Args:
            pixels: (3, size, size) float32, from the bundle's transform.
        """
        return self.encoder(pixels)

    def search(
        self, photos: Sequence[Encoded], options: BeamOptions, keep_ended: bool = False
    ) -> list[list[Hypothesis]]:
        """Beam search for each photo; sentences are ranked, likeliest first.

        Args:
            photos: from `encode`.
            options: beam width, ranking, rules.
            keep_ended: the kind of beam search, see `seesay.search.beam_search`.
        """
        return beam_search(self.model(photos), options, keep_ended)

    def sample(self, photos: Sequence[Encoded], options: SampleOptions, keys: Sequence[int]) -> list[list[Hypothesis]]:
        """Sample sentences for each photo.

        Args:
            photos: from `encode`.
            options: how many, temperature, top_p, rules.
            keys: a number for each photo. The noise depends on it, the seed and the index of the sentence, but neither
                on other photos nor on the number of sentences.
        """
        return sample(self.model(photos), options, Noise(options.seed, keys, options.n))

    def score(self, photos: Sequence[Encoded], tokens: Sequence[int]) -> list[Hypothesis]:
        """Score a given sentence for each photo; see `seesay.search.score`."""
        return score(self.model(photos), tokens)

    def model(self, photos: Sequence[Encoded]) -> StepModel:
        """The decoder and a batch of photos, as a search takes them."""
        state, memory = photos[0] if len(photos) == 1 else (_concatenated(parts) for parts in zip(*photos, strict=True))
        start = np.full((len(photos), 1), BOS, dtype=np.int64)
        return StepModel(self.decoder, state, memory, start, EOS, NEVER_WRITTEN)


def _concatenated(parts: Sequence[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    return tuple(map(np.concatenate, zip(*parts, strict=True)))


class Noise:
    """Uniform random numbers for sampling; each sentence of each photo has a stream of its own."""

    def __init__(self, seed: int, keys: Sequence[int], number: int) -> None:
        self._streams = [[np.random.default_rng([seed, key, n]) for n in range(number)] for key in keys]

    def __call__(self, photos: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """(photos, *shape) float32; `shape` is (sentences, tokens)."""
        return np.stack(
            [[stream.random(shape[1], dtype=np.float32) for stream in self._streams[photo]] for photo in photos]
        )
