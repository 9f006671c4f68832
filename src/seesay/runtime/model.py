"""CaptionModel: photo -> Caption, on ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime

from seesay.bundle.find import find_bundle
from seesay.bundle.format import Bundle, open_bundle
from seesay.caption import Caption, Failure, Word
from seesay.data.images import ImageSource
from seesay.data.tokens import BOS, EOS, NEVER_WRITTEN
from seesay.errors import BundleError, PhotoError
from seesay.search import Hypothesis, SearchOptions, beam_search

Decoding = tuple[str | None, Future[np.ndarray]]  # a photo's name, and its pixels to come


class CaptionModel:
    """An opened bundle that captions photos.

    Safe to use from several threads.

    Args:
        bundle: from `seesay.bundle.format.open_bundle`.
        threads: for ONNX Runtime; None lets it take every core.
    """

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        self.bundle = bundle
        self._encoder = _session(bundle.folder / "encoder.onnx", threads)
        self._decoder = _session(bundle.folder / "decoder.onnx", threads)
        self._photo_outputs = [output.name for output in self._encoder.get_outputs()]
        self._step_outputs = [output.name for output in self._decoder.get_outputs()]

    @classmethod
    def load(cls, path_or_name: str | Path | None = None, threads: int | None = None) -> CaptionModel:
        """Open a bundle's folder, a packaged model by name, or (None) the packaged default.

        Raises:
            BundleError: missing, damaged or foreign.
        """
        return cls(open_bundle(find_bundle(path_or_name)), threads)

    def caption(self, image: ImageSource, beam: int | None = None) -> Caption:
        """The best caption of one photo.

        Args:
            image: path, bytes of a file, PIL image or array (see `seesay.data.images.open_photo`).
            beam: hypotheses kept while searching; None takes the bundle's own, 1 is greedy.

        Raises:
            PhotoError: the photo cannot be read.
        """
        pixels = self.bundle.transform(image)
        return self._caption_batch(pixels[None], [_name(image)], self._options(beam))[0]

    def caption_many(
        self, images: Iterable[ImageSource], batch_size: int = 16, beam: int | None = None
    ) -> Iterator[Caption | Failure]:
        """A Caption for each photo, in order; a Failure in the place of a photo that cannot be read.

        Photos of the next batch are decoded in threads while this one is captioned, so at most two batches are
        taken from `images` ahead of what was given back, and memory does not grow with their number.

        Args:
            images: any iterable of what `caption` takes.
            batch_size: photos that go through the model together.
            beam: as for `caption`.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: expected at least 1")
        return self._caption_batches(iter(images), batch_size, self._options(beam))

    def _caption_batches(
        self, images: Iterator[ImageSource], batch_size: int, options: SearchOptions
    ) -> Iterator[Caption | Failure]:
        with ThreadPoolExecutor(min(os.cpu_count() or 1, batch_size), "seesay-photos") as pool:

            def start() -> list[Decoding]:
                photos = islice(images, batch_size)
                return [(_name(photo), pool.submit(self.bundle.transform, photo)) for photo in photos]

            ahead = start()
            while ahead:
                batch, ahead = ahead, start()
                yield from self._finish(batch, options)

    def _finish(self, batch: list[Decoding], options: SearchOptions) -> list[Caption | Failure]:
        results: dict[int, Caption | Failure] = {}
        pixels: dict[int, np.ndarray] = {}
        for place, (name, decoding) in enumerate(batch):
            try:
                pixels[place] = decoding.result()
            except PhotoError as error:
                results[place] = Failure(name, str(error))
        if pixels:
            captions = self._caption_batch(np.stack([*pixels.values()]), [batch[place][0] for place in pixels], options)
            results |= zip(pixels, captions, strict=True)
        return [results[place] for place in range(len(batch))]

    def _caption_batch(self, pixels: np.ndarray, names: list[str | None], options: SearchOptions) -> list[Caption]:
        """(B, 3, size, size) -> B captions."""
        found = self._search(pixels, options)
        return [self._to_caption(beams[0], name) for beams, name in zip(found, names, strict=True)]

    def _search(self, pixels: np.ndarray, options: SearchOptions) -> list[list[Hypothesis]]:
        outputs = _run(self._encoder, self._photo_outputs, {"images": pixels})
        photo = dict(zip(self._photo_outputs, outputs, strict=True))
        memory = {name: array for name, array in photo.items() if name.startswith("memory.")}
        state = {name: array for name, array in photo.items() if name.startswith("state.")}

        def step(tokens: np.ndarray, *parts: tuple[np.ndarray, ...]) -> tuple[np.ndarray, Any, np.ndarray]:
            feed = {"tokens": tokens, **dict(zip((*state, *memory), chain(*parts), strict=True))}
            logprobs, attention, *after = _run(self._decoder, self._step_outputs, feed)
            return logprobs, tuple(after), attention

        start = np.full((len(pixels), 1), BOS, dtype=np.int64)
        return beam_search(step, tuple(state.values()), tuple(memory.values()), start, EOS, NEVER_WRITTEN, options)

    def _to_caption(self, hypothesis: Hypothesis, name: str | None) -> Caption:
        words = []
        for span in self.bundle.tokenizer.words(hypothesis.tokens):
            attention = hypothesis.attention[span.start : span.stop].mean(axis=0).reshape(self.bundle.grid)
            words.append(Word(span.text, sum(hypothesis.logprobs[span.start : span.stop]), attention))
        return Caption(self.bundle.tokenizer.decode(hypothesis.tokens), hypothesis.score, tuple(words), name)

    def _options(self, beam: int | None) -> SearchOptions:
        return self.bundle.search if beam is None else replace(self.bundle.search, beam=beam)


def _session(graph: Path, threads: int | None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: advice on graph details helps no user
    # The threads of one session would spin, waiting for work, on the cores that the other one needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common class
        raise BundleError(f"bundle {graph.parent}: {graph.name} cannot be run: {error}") from error


def _run(session: onnxruntime.InferenceSession, outputs: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    return cast(list[np.ndarray], session.run(outputs, feed))  # our graphs have no sequences, maps or sparse tensors


def _name(image: ImageSource) -> str | None:
    return os.fspath(image) if isinstance(image, str | os.PathLike) else None
