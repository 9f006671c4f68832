"""CaptionModel: photo -> Caption, on ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Unpack, overload

import numpy as np

from seesay.bundle.agreement import check_parts
from seesay.bundle.format import Bundle, open_bundle
from seesay.bundle.names import find_bundle
from seesay.caption import Caption, Failure, Word
from seesay.data.images import ImageSource, as_photos, name_of, open_photo
from seesay.data.tokens import join_words, split_words
from seesay.errors import PhotoError, whole_number
from seesay.runtime import asks
from seesay.runtime.asks import Ask, answer
from seesay.runtime.device import Device, Wanted, cores
from seesay.runtime.encoded import EncodedPhoto, PhotoInput, key_of
from seesay.runtime.engine import Engine
from seesay.runtime.occlusion import occlusion_falls
from seesay.runtime.rules import Wishes
from seesay.runtime.sessions import Precision
from seesay.runtime.threads import batches_of, on_threads
from seesay.search import Hypothesis, SampleOptions

Photo = ImageSource | EncodedPhoto


class CaptionModel:
    """An opened bundle that captions photos.

    Safe to use from several threads. Copies and pickles open the bundle's folder again. A photo, wherever a call takes
    one, is a path, the bytes of a file, a file object, a PIL image, an array or a tensor (see
    `seesay.data.images.open_photo`), or what `encode` made of one of these.

    Args:
        bundle: from `seesay.bundle.format.open_bundle`.
        threads: cores to use; None takes every one that the process may run on.
        precision: of what is computed, see `Engine.open`.
        device: where, likewise.
        engines: number of threads -> an engine that works on each call with so many; None opens the bundle's own.

    Raises:
        BundleError: the bundle's parts do not fit each other, or it has no graphs of this precision that can be run.

    Attributes:
        bundle: its vocabulary, transform, search and scores.
        engine: what single photos are encoded and captioned with.
        threads: cores in use.
    """

    def __init__(
        self,
        bundle: Bundle,
        threads: int | None = None,
        precision: Precision = "auto",
        device: Wanted = "cpu",
        engines: Callable[[int], Engine] | None = None,
    ) -> None:
        if engines is None:
            check_parts(bundle)
        self.bundle = bundle
        self._folder = bundle.folder.resolve()  # a copy may be made in another folder, or in another process
        self.threads = cores() if threads is None else whole_number("threads", threads)
        self._opened = None if engines else (self._folder, threads, precision, device)
        self._engines = engines or (lambda number: Engine.open(bundle.folder, number, precision, device))
        self.engine = self._engines(self.threads)
        self._helpers: dict[int, ThreadPoolExecutor] = {}

    def __reduce__(self) -> tuple[Callable[..., CaptionModel], tuple[Any, ...]]:
        if self._opened is None:
            raise TypeError("a model on engines that were given to it can be neither copied nor pickled")
        return type(self).load, self._opened

    @classmethod
    def load(
        cls,
        path_or_name: str | Path | None = None,
        threads: int | None = None,
        precision: Precision = "auto",
        device: Wanted = "cpu",
    ) -> CaptionModel:
        """Open a bundle's folder, a packaged model by name, or (None) the packaged default.

        Raises:
            BundleError: missing, damaged or foreign, or without the precision asked for.
            DeviceError: the device asked for is not there, or does not start.
        """
        return cls(open_bundle(find_bundle(path_or_name)), threads, precision, device)

    def with_engines(self, wrap: Callable[[Engine], Engine]) -> CaptionModel:
        """The same model on other engines, each made from one of this model's: to count, to time, to replace a part."""
        engines = lambda threads: wrap(self.engine if threads == self.threads else self.batch_engine)  # noqa: E731
        return CaptionModel(self.bundle, self.threads, engines=engines)

    @cached_property
    def batch_engine(self) -> Engine:
        """For many batches at once, each on a thread of its own: threads that share one photo wait for each other."""
        return self.engine if self.threads == 1 else self._engines(1)

    @property
    def precision(self) -> Precision:
        """The decoder's, "int8" or "float32"."""
        return self.engine.precision

    @property
    def encoder_precision(self) -> Precision:
        """The encoder's."""
        return self.engine.encoder_precision

    @property
    def device(self) -> Device:
        """Where the graphs run."""
        return self.engine.device

    @property
    def precisions(self) -> str:
        """Both in words, for reports."""
        return f"encoder in {self.encoder_precision}, decoder in {self.precision}"

    def encode(self, image: ImageSource) -> EncodedPhoto:
        """Read and encode a photo once, to ask about it many times.

        Raises:
            PhotoError: the photo cannot be read.
        """
        picture = open_photo(image, enough=2 * self.bundle.transform.size)
        photo = self._read(picture, self.engine, self._helper)
        photo = photo._replace(image=name_of(image), warning=picture.info.get("warning"))
        return EncodedPhoto(photo, picture, self._folder)

    def caption(self, image: Photo, beam: int | None = None, **wishes: Unpack[Wishes]) -> Caption:
        """The best caption of one photo.

        Args:
            image: the photo.
            beam: hypotheses kept while searching; None takes the bundle's own, 1 is greedy.
            wishes: `prefix`, `max_words`, `forbid`, `constraints`; see `seesay.runtime.rules.Wishes`.

        Raises:
            PhotoError: the photo cannot be read.
            TextError: the prefix has words that the model does not know.
        """
        return self._answer(image, asks.best(self.bundle, beam, wishes))[0]

    def alternatives(
        self, image: Photo, n: int = 5, beam: int | None = None, **wishes: Unpack[Wishes]
    ) -> list[Caption]:
        """The best captions of one photo, all different, best first; the first one is `caption`'s with the same beam.

        Args:
            image: the photo.
            n: how many; fewer come where the rules allow no more.
            beam: as for `caption`, but at least `n`.
            wishes: as for `caption`.

        Raises:
            PhotoError, TextError: as for `caption`.
        """
        return self._answer(image, asks.alternatives(self.bundle, n, beam, wishes))

    def sample(
        self,
        image: Photo,
        n: int = 5,
        temperature: float = 0.8,
        top_p: float = 0.9,
        seed: int = 0,
        **wishes: Unpack[Wishes],
    ) -> list[Caption]:
        """Captions of one photo drawn at random, in the order in which they were drawn; some may be equal.

        Equal photos and seeds give equal sentences, whatever else is in a batch; the first of five are those of three.
        The score of each is the model's own log-probability, at temperature 1.

        Args:
            image: the photo.
            n, temperature, top_p, seed: see `seesay.search.SampleOptions`.
            wishes: as for `caption`.

        Raises:
            PhotoError, TextError: as for `caption`.
        """
        options = SampleOptions(n, temperature, top_p, seed)
        return self._answer(image, asks.samples(self.bundle, options, wishes))

    def score(self, image: Photo, text: str, strict: bool = True) -> Caption:
        """How likely a given sentence is, word by word, and where the model looks for each word; no rule applies.

        Args:
            image: the photo.
            text: one sentence; capitals and punctuation do not matter.
            strict: whether words that the model does not know are an error. If not, each is read and scored as the
                unknown word that it is to the model, which is very unlikely.

        Raises:
            PhotoError: the photo cannot be read.
            TextError: the text has no word, or (strict) words that the model does not know, all of which are named.
        """
        caption = self._answer(image, asks.scored(self.bundle, text, strict))[0]
        return caption if strict else _in_words_of(text, caption)

    def occlusion(self, image: Photo, caption: Caption | str) -> np.ndarray:
        """What each word of a sentence needed: how far it falls with each part of the photo hidden.

        Args:
            image: the photo.
            caption: of this model, or any sentence that `score` takes.

        Returns:
            (words, rows, cols) float32 falls of the log-probability, above 0 where the word needed the patch; as
            many patches as there are regions, 64 at most.

        Raises:
            PhotoError, TextError: as for `score`.
        """
        picture = image.picture if isinstance(image, EncodedPhoto) else open_photo(image)
        return occlusion_falls(self, picture, str(caption))

    def score_many(self, images: Iterable[Photo], text: str, batch_size: int = 16) -> Iterator[Caption | Failure]:
        """The same for many photos, as `caption_many`."""
        return _firsts(self._answers(images, asks.scored(self.bundle, text), batch_size))

    @overload
    def caption_many(
        self, images: Iterable[Photo], batch_size: int = 16, beam: int | None = None, **wishes: Unpack[Wishes]
    ) -> Iterator[Caption | Failure]: ...

    @overload
    def caption_many(
        self,
        images: Iterable[Photo],
        batch_size: int = 16,
        beam: int | None = None,
        *,
        alternatives: int,
        **wishes: Unpack[Wishes],
    ) -> Iterator[list[Caption] | Failure]: ...

    @overload
    def caption_many(
        self, images: Iterable[Photo], batch_size: int = 16, *, sample: SampleOptions, **wishes: Unpack[Wishes]
    ) -> Iterator[list[Caption] | Failure]: ...

    def caption_many(
        self,
        images: Iterable[Photo],
        batch_size: int = 16,
        beam: int | None = None,
        *,
        alternatives: int | None = None,
        sample: SampleOptions | None = None,
        **wishes: Unpack[Wishes],
    ) -> Iterator[Caption | Failure] | Iterator[list[Caption] | Failure]:
        """A Caption for each photo, in order; a Failure in the place of a photo that cannot be read.

        Each core decodes, encodes and captions a batch of its own. Their number and one more batches at most are taken
        from `images` ahead of the one that is given back, so memory does not grow with the number of photos.

        Args:
            images: any iterable of photos, such as a list; not a single photo.
            batch_size: photos whose words are searched together.
            beam: as for `caption`.
            alternatives: a list of so many captions for each photo, as from the method of this name.
            sample: a list of captions for each photo that are drawn like this, as from the method of this name.
            wishes: as for `caption`.

        Raises:
            TypeError: `images` is one photo.
            TextError, ValueError: for options that cannot be; all of these at once, not with the first caption.
        """
        if alternatives is not None and sample is not None:
            raise ValueError("alternatives and sample: expected one of the two")
        if sample is not None:
            return self._answers(images, asks.samples(self.bundle, sample, wishes), batch_size)
        if alternatives is not None:
            return self._answers(images, asks.alternatives(self.bundle, alternatives, beam, wishes), batch_size)
        return _firsts(self._answers(images, asks.best(self.bundle, beam, wishes), batch_size))

    def _answer(self, image: Photo, ask: Ask) -> list[Caption]:
        photo = self._read(image, self.engine, self._helper)
        [sentences] = answer(ask, self.engine, [photo], self.bundle)
        return self._captions(photo, sentences)

    def _answers(self, images: Iterable[Photo], ask: Ask, batch_size: int) -> Iterator[list[Caption] | Failure]:
        size, photos = whole_number("batch_size", batch_size), as_photos(images)
        return self._in_batches(batches_of(photos, size), ask)

    def _in_batches(self, batches: Iterator[list[Photo]], ask: Ask) -> Iterator[list[Caption] | Failure]:
        first = list(islice(batches, 2))
        if len(first) < 2:  # all cores on one photo after the other
            for batch in first:
                yield from self._batch(batch, ask, self.engine, self._helper)
            return
        work = partial(self._batch, ask=ask, engine=self.batch_engine)
        yield from on_threads(chain(first, batches), work, self.threads)

    def _batch(
        self, images: list[Photo], ask: Ask, engine: Engine, helper: Executor | None = None
    ) -> list[list[Caption] | Failure]:
        results: dict[int, list[Caption] | Failure] = {}
        photos: dict[int, PhotoInput] = {}
        for place, image in enumerate(images):
            try:
                photos[place] = self._read(image, engine, helper)
            except PhotoError as error:
                name = _name(image)
                results[place] = Failure(name, str(error) if name is None else error.reason)
        if photos:
            for (place, photo), sentences in zip(
                photos.items(), answer(ask, engine, [*photos.values()], self.bundle), strict=True
            ):
                results[place] = self._captions(photo, sentences)
        return [results[place] for place in range(len(images))]

    def _read(self, image: Photo, engine: Engine, helper: Executor | None) -> PhotoInput:
        if isinstance(image, EncodedPhoto):
            if image.model != self._folder:
                raise ValueError(f"the photo was encoded by {image.model}, this is {self._folder}: encode it anew")
            return image.input
        pixels, warning = self.bundle.transform.read(image, helper)
        return PhotoInput(engine.encode(pixels), key_of(pixels), name_of(image), warning)

    def _captions(self, photo: PhotoInput, sentences: Sequence[Hypothesis]) -> list[Caption]:
        return [self.to_caption(sentence, photo.image, photo.warning) for sentence in sentences]

    @property
    def _helper(self) -> ThreadPoolExecutor | None:
        """A second thread for photos that are taken one by one: of this process, as a fork has no thread of others."""
        if self.threads == 1:
            return None
        process = os.getpid()
        return self._helpers.get(process) or self._helpers.setdefault(process, ThreadPoolExecutor(1, "seesay"))

    def to_caption(self, sentence: Hypothesis, image: str | None = None, warning: str | None = None) -> Caption:
        """A sentence of an engine in words, each with its share of the log-probability and its map."""
        spans = self.bundle.tokenizer.words(sentence.tokens)
        words = []
        for span in spans:
            maps = sentence.attention[span.start : span.stop]  # (tokens, P)
            logprob = sum(sentence.logprobs[span.start : span.stop])
            attention = maps.mean(axis=0).reshape(self.bundle.grid)
            words.append(Word(span.text, logprob, attention, self._chosen(maps)))
        return Caption(join_words(span.text for span in spans), sentence.score, tuple(words), image, warning)

    def _chosen(self, maps: np.ndarray) -> tuple[tuple[int, int], ...]:
        """The region that hard attention took for each token: at inference the most likely one."""
        if self.bundle.attention != "hard":
            return ()
        columns = self.bundle.grid[1]
        return tuple(divmod(int(region), columns) for region in maps.argmax(axis=1))


def _in_words_of(text: str, caption: Caption) -> Caption:
    """The caption with the words of the text, where the vocabulary has each as a whole; of pieces, as they are."""
    words: list[str] = []
    for word in split_words(text):
        if words and word.startswith("'"):  # a clitic is shown with the word before it
            words[-1] += word
        else:
            words.append(word)
    if len(words) != len(caption.words):
        return caption
    renamed = (replace(word, text=own) for word, own in zip(caption.words, words, strict=True))
    return replace(caption, text=join_words(words), words=tuple(renamed))


def _firsts(results: Iterator[list[Caption] | Failure]) -> Iterator[Caption | Failure]:
    for result in results:
        yield result if isinstance(result, Failure) else result[0]


def _name(image: Photo) -> str | None:
    if isinstance(image, EncodedPhoto):
        return image.image
    return name_of(image)
