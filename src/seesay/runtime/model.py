"""CaptionModel: photo -> Caption, on ONNX Runtime."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path

from seesay.bundle.find import find_bundle
from seesay.bundle.format import Bundle, open_bundle
from seesay.caption import Caption, Failure, Word
from seesay.data.images import ImageSource, as_photos, name_of
from seesay.data.tokens import join_words
from seesay.errors import PhotoError, whole_number
from seesay.runtime.engine import Encoded, Engine, Precision
from seesay.runtime.processor import cores
from seesay.search import Hypothesis, SearchOptions

Results = list[Caption | Failure]


class CaptionModel:
    """An opened bundle that captions photos.

    Safe to use from several threads. Copies and pickles open the bundle's folder again.

    Args:
        bundle: from `seesay.bundle.format.open_bundle`.
        threads: cores to use; None takes every one that the process may run on.
        precision: of what is computed, see `Engine`.

    Attributes:
        precision: "int8" or "float32", the decoder's.
        encoder_precision: the encoder's.
    """

    def __init__(self, bundle: Bundle, threads: int | None = None, precision: Precision = "auto") -> None:
        self.bundle = bundle
        self._folder = bundle.folder.resolve()  # a copy may be made in another folder, or in another process
        self._asked_threads = threads
        self.threads = cores() if threads is None else whole_number("threads", threads)
        self._asked: Precision = precision
        self._engine = Engine(bundle.folder, self.threads, precision)
        self.precision: Precision = self._engine.precision
        self.encoder_precision: Precision = self._engine.encoder_precision
        self._helpers: dict[int, ThreadPoolExecutor] = {}

    def __reduce__(self) -> tuple[Callable[..., CaptionModel], tuple[Path, int | None, Precision]]:
        return type(self).load, (self._folder, self._asked_threads, self._asked)

    @property
    def precisions(self) -> str:
        """Both in words, for reports."""
        return f"encoder in {self.encoder_precision}, decoder in {self.precision}"

    @cached_property
    def _single(self) -> Engine:
        """For many batches at once, each on a thread of its own: threads that share one photo wait for each other."""
        return self._engine if self.threads == 1 else Engine(self.bundle.folder, 1, self._asked)

    @property
    def _helper(self) -> ThreadPoolExecutor | None:
        """A second thread for photos that are taken one by one: of this process, as a fork has no thread of others."""
        if self.threads == 1:
            return None
        process = os.getpid()
        return self._helpers.get(process) or self._helpers.setdefault(process, ThreadPoolExecutor(1, "seesay"))

    @classmethod
    def load(
        cls, path_or_name: str | Path | None = None, threads: int | None = None, precision: Precision = "auto"
    ) -> CaptionModel:
        """Open a bundle's folder, a packaged model by name, or (None) the packaged default.

        Raises:
            BundleError: missing, damaged or foreign, or without the precision asked for.
        """
        return cls(open_bundle(find_bundle(path_or_name)), threads, precision)

    def caption(self, image: ImageSource, beam: int | None = None) -> Caption:
        """The best caption of one photo.

        Args:
            image: path, bytes, file object, PIL image, array or tensor (see `seesay.data.images.open_photo`).
            beam: hypotheses kept while searching; None takes the bundle's own, 1 is greedy.

        Raises:
            PhotoError: the photo cannot be read.
        """
        options = self._options(beam)
        read = self.bundle.transform.read(image, self._helper)
        hypothesis = self._engine.search([self._engine.encode(read.pixels)], options)[0][0]
        return self._to_caption(hypothesis, name_of(image), read.warning)

    def caption_many(
        self, images: Iterable[ImageSource], batch_size: int = 16, beam: int | None = None
    ) -> Iterator[Caption | Failure]:
        """A Caption for each photo, in order; a Failure in the place of a photo that cannot be read.

        Each core decodes, encodes and captions a batch of its own. Their number and one more batches at most are taken
        from `images` ahead of the one that is given back, so memory does not grow with the number of photos.

        Args:
            images: any iterable of what `caption` takes, such as a list; not a single photo.
            batch_size: photos whose words are searched together.
            beam: as for `caption`.

        Raises:
            TypeError: `images` is one photo.
        """
        size, photos = whole_number("batch_size", batch_size), as_photos(images)
        return self._caption_batches(iter(lambda: list(islice(photos, size)), []), self._options(beam))

    def _caption_batches(
        self, batches: Iterator[list[ImageSource]], options: SearchOptions
    ) -> Iterator[Caption | Failure]:
        first = list(islice(batches, 2))
        if len(first) < 2:  # all cores on one photo after the other
            for batch in first:
                yield from self._caption_batch(self._engine, batch, options, self._helper)
            return
        batches = chain(first, batches)
        with ThreadPoolExecutor(self.threads, "seesay") as pool:

            def start(number: int) -> Iterator[Future[Results]]:
                for batch in islice(batches, number):
                    yield pool.submit(self._caption_batch, self._single, batch, options)

            running = deque(start(self.threads + 1))
            while running:
                results = running.popleft().result()
                running.extend(start(1))
                yield from results

    def _caption_batch(
        self, engine: Engine, photos: list[ImageSource], options: SearchOptions, helper: Executor | None = None
    ) -> Results:
        results: dict[int, Caption | Failure] = {}
        encoded: dict[int, Encoded] = {}
        warnings: dict[int, str | None] = {}
        for place, photo in enumerate(photos):
            try:
                read = self.bundle.transform.read(photo, helper)
            except PhotoError as error:
                name = name_of(photo)
                results[place] = Failure(name, str(error) if name is None else error.reason)
            else:
                encoded[place], warnings[place] = engine.encode(read.pixels), read.warning
        if encoded:
            for place, beams in zip(encoded, engine.search([*encoded.values()], options), strict=True):
                results[place] = self._to_caption(beams[0], name_of(photos[place]), warnings[place])
        return [results[place] for place in range(len(photos))]

    def _to_caption(self, hypothesis: Hypothesis, name: str | None, warning: str | None = None) -> Caption:
        spans = self.bundle.tokenizer.words(hypothesis.tokens)
        words = []
        for span in spans:
            attention = hypothesis.attention[span.start : span.stop].mean(axis=0).reshape(self.bundle.grid)
            words.append(Word(span.text, sum(hypothesis.logprobs[span.start : span.stop]), attention))
        return Caption(join_words(span.text for span in spans), hypothesis.score, tuple(words), name, warning)

    def _options(self, beam: int | None) -> SearchOptions:
        return self.bundle.search if beam is None else replace(self.bundle.search, beam=whole_number("beam", beam))
