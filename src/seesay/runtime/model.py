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
from seesay.caption import PHOTO, Caption, Failure, Word
from seesay.data.images import ImageSource, as_photos, name_of, open_photo
from seesay.data.tokens import join_words, split_words
from seesay.errors import BundleError, PhotoError, printable, whole_number
from seesay.runtime import requests
from seesay.runtime.cautious import cautious_request
from seesay.runtime.confidence import Judge, Said
from seesay.runtime.device import Device, Wanted, cores
from seesay.runtime.encoded import EncodedPhoto, PhotoInput, Seen, key_of
from seesay.runtime.engine import Engine
from seesay.runtime.requests import Request, run_request
from seesay.runtime.sessions import Precision
from seesay.runtime.threads import BATCH, batches_of, on_threads
from seesay.runtime.word_rules import WordRules
from seesay.search import Hypothesis, SampleOptions

Photo = ImageSource | EncodedPhoto


class CaptionModel:
    """An opened bundle that captions photos.

    Safe to use from several threads. Copies and pickles open the bundle's folder again. Wherever a method takes a
    photo, it may be a path, the bytes of a file, a file object, a PIL image, an array or a tensor (see
    `seesay.data.images.open_photo`), or the result of `encode`.

    Args:
        bundle: from `seesay.bundle.format.open_bundle`.
        threads: cores to use; None: all that the process may run on.
        precision: see `Engine.open`.
        device: see `Engine.open`.
        engines: makes an engine for a number of threads; None opens the bundle's graphs.

    Raises:
        BundleError: the bundle's parts do not fit each other, or no graph of this precision can be run.

    Attributes:
        bundle: has the vocabulary, transform, search options and scores.
        engine: encodes and captions single photos.
        judge: says how far to trust a caption; None for a bundle that was not calibrated.
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
        head = bundle.confidence
        with ThreadPoolExecutor(1) as pool:  # Python is idle while ONNX Runtime opens the graphs
            judge = pool.submit(Judge, head) if head else None
            self.engine = self._engines(self.threads)
            self.judge = judge.result() if judge else None
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
        """Open a bundle's folder, a packaged model by name, or the packaged default (None).

        Raises:
            BundleError: the bundle is missing, damaged or of a foreign format, or lacks this precision.
            DeviceError: the device is not available, or does not start.
        """
        return cls(open_bundle(find_bundle(path_or_name)), threads, precision, device)

    def with_engines(self, wrap: Callable[[Engine], Engine]) -> CaptionModel:
        """The same model with its engines wrapped: to count or time calls, or to replace a part."""
        engines = lambda threads: wrap(self.engine if threads == self.threads else self.batch_engine)  # noqa: E731
        return CaptionModel(self.bundle, self.threads, engines=engines)

    @cached_property
    def batch_engine(self) -> Engine:
        """The engine for many photos: each call uses one thread, since each thread works on a batch of its own."""
        return self.engine if self.threads == 1 else self._engines(1)

    @property
    def precision(self) -> Precision:
        """The decoder's precision, "int8" or "float32"."""
        return self.engine.precision

    @property
    def encoder_precision(self) -> Precision:
        """The encoder's precision, "int8" or "float32"."""
        return self.engine.encoder_precision

    @property
    def device(self) -> Device:
        """The device that the graphs run on."""
        return self.engine.device

    @property
    def precisions(self) -> str:
        """Both precisions in words, for reports."""
        return f"encoder in {self.encoder_precision}, decoder in {self.precision}"

    def encode(self, image: ImageSource) -> EncodedPhoto:
        """Read and encode a photo once, for several calls that take it.

        Raises:
            PhotoError: the photo cannot be read.
        """
        picture = open_photo(image, enough=2 * self.bundle.transform.size)
        photo = self._read(picture, self.engine, self._helper)
        photo = photo._replace(image=name_of(image), warning=picture.info.get("warning"))
        return EncodedPhoto(photo, picture, self._folder)

    def caption(
        self,
        image: Photo,
        beam: int | None = None,
        *,
        cautious: bool = False,
        likeliest: bool = False,
        **rules: Unpack[WordRules],
    ) -> Caption:
        """The best caption of one photo.

        Of the sentences that the search finds, a calibrated model gives the one that it trusts most, see
        `Judge.ranked`, any other model the likeliest.

        Args:
            image: the photo.
            beam: beam width; None: the bundle's, 1: greedy search.
            cautious: choose the sentence that names least that may not be there, among those of a search with at
                least 24 beams and forms of them that name things more plainly ("a child" for "a boy").
            likeliest: give the likeliest sentence, as models do that were not calibrated.
            rules: `prefix`, `max_words`, `forbid`, `constraints`; see `seesay.runtime.word_rules.WordRules`.

        Raises:
            PhotoError: the photo cannot be read.
            TextError: the prefix has words that are not in the vocabulary.
            BundleError: `cautious`, and the model was not calibrated.
            ValueError: `cautious` and `likeliest`.
        """
        return self._run(image, self._request_one(beam, cautious, likeliest, rules))[0]

    def _request_one(self, beam: int | None, cautious: bool, likeliest: bool, rules: WordRules) -> Request:
        if not cautious:
            return requests.best(self.bundle, None if likeliest else self.judge, beam, rules)
        if likeliest:
            raise ValueError("cautious and likeliest: expected one of the two")
        return cautious_request(self.bundle, self.require_confidence(), beam, rules)

    def require_confidence(self) -> Judge:
        """The judge of a calibrated model.

        Raises:
            BundleError: the model was not calibrated.
        """
        if self.judge is None:
            folder = printable(self.bundle.folder)
            raise BundleError(f"bundle {folder}: knows no confidence; `seesay calibrate {folder} --data PATH` adds it")
        return self.judge

    def alternatives(
        self, image: Photo, n: int = 5, beam: int | None = None, *, likeliest: bool = False, **rules: Unpack[WordRules]
    ) -> list[Caption]:
        """The best captions of one photo, all different, best first; the first is that of `caption` with this beam.

        What the search of `caption` finds comes first; if that is fewer than `n`, another search adds the rest.

        Args:
            image: the photo.
            n: how many; the result has fewer where the rules allow no more.
            beam: as for `caption`, but at least `n`.
            likeliest: order the sentences by log-probability, as models do that were not calibrated.
            rules: as for `caption`.

        Raises:
            PhotoError, TextError: as for `caption`.
        """
        return self._run(image, requests.alternatives(self.bundle, None if likeliest else self.judge, n, beam, rules))

    def sample(
        self,
        image: Photo,
        n: int = 5,
        temperature: float = 0.8,
        top_p: float = 0.9,
        seed: int = 0,
        **rules: Unpack[WordRules],
    ) -> list[Caption]:
        """Captions of one photo sampled from the model, in the order of sampling; some may be equal.

        The same photo and seed give the same captions, whatever else is in a batch; a larger `n` appends captions to
        those of a smaller one. Scores are the model's own log-probabilities, at temperature 1.

        Args:
            image: the photo.
            n, temperature, top_p, seed: see `seesay.search.SampleOptions`.
            rules: as for `caption`.

        Raises:
            PhotoError, TextError: as for `caption`.
        """
        options = SampleOptions(n, temperature, top_p, seed)
        return self._run(image, requests.samples(self.bundle, options, rules))

    def score(self, image: Photo, text: str, strict: bool = True) -> Caption:
        """Score a given sentence: log-probability and attention of each word. No rules apply.

        Args:
            image: the photo.
            text: one sentence; capitals and punctuation do not matter.
            strict: whether words outside the vocabulary are an error. If not, each is scored as the unknown token,
                whose probability is very small.

        Raises:
            PhotoError: the photo cannot be read.
            TextError: the text has no words, or (strict) words outside the vocabulary; the message names all of them.
        """
        caption = self._run(image, requests.scored(self.bundle, text, strict))[0]
        return caption if strict else _in_words_of(text, caption)

    def occlusion(self, image: Photo, caption: Caption | str) -> np.ndarray:
        """Which parts of the photo each word depends on: the fall of its log-probability when a patch is hidden.

        Args:
            image: the photo.
            caption: a caption, or any sentence that `score` takes.

        Returns:
            (words, rows, cols) float32 falls of the log-probability, positive where the word depends on the patch. The
            patches are the regions, or at most 64 larger ones.

        Raises:
            PhotoError, TextError: as for `score`.
        """
        from seesay.runtime.occlusion import occlusion_falls  # numpy.random, which captioning does without

        picture = image.picture if isinstance(image, EncodedPhoto) else open_photo(image)
        return occlusion_falls(self, picture, str(caption))

    def score_many(self, images: Iterable[Photo], text: str, batch_size: int = BATCH) -> Iterator[Caption | Failure]:
        """`score` for many photos, in the manner of `caption_many`."""
        return _firsts(self._run_many(images, requests.scored(self.bundle, text), batch_size))

    @overload
    def caption_many(
        self,
        images: Iterable[Photo],
        batch_size: int = BATCH,
        beam: int | None = None,
        *,
        cautious: bool = False,
        likeliest: bool = False,
        **rules: Unpack[WordRules],
    ) -> Iterator[Caption | Failure]: ...

    @overload
    def caption_many(
        self,
        images: Iterable[Photo],
        batch_size: int = BATCH,
        beam: int | None = None,
        *,
        alternatives: int,
        likeliest: bool = False,
        **rules: Unpack[WordRules],
    ) -> Iterator[list[Caption] | Failure]: ...

    @overload
    def caption_many(
        self, images: Iterable[Photo], batch_size: int = BATCH, *, sample: SampleOptions, **rules: Unpack[WordRules]
    ) -> Iterator[list[Caption] | Failure]: ...

    def caption_many(
        self,
        images: Iterable[Photo],
        batch_size: int = BATCH,
        beam: int | None = None,
        *,
        alternatives: int | None = None,
        sample: SampleOptions | None = None,
        cautious: bool = False,
        likeliest: bool = False,
        **rules: Unpack[WordRules],
    ) -> Iterator[Caption | Failure] | Iterator[list[Caption] | Failure]:
        """Caption many photos: yields a Caption for each, in order, or a Failure for a photo that cannot be read.

        Each core decodes, encodes and captions a batch of its own. At most `threads` + 1 batches are read from `images`
        ahead of the one that is yielded, so that memory does not grow with the number of photos.

        Args:
            images: any iterable of photos, such as a list; not a single photo.
            batch_size: photos that are searched together.
            beam: as for `caption`.
            alternatives: yield lists of so many captions, as the method `alternatives` returns.
            sample: yield lists of captions sampled with these options, as the method `sample` returns.
            cautious: as for `caption`; not with `alternatives` or `sample`.
            likeliest: as for `caption`; not with `sample`.
            rules: as for `caption`.

        Raises:
            TypeError: `images` is one photo.
            TextError, ValueError: for invalid options.

        All of these are raised by the call itself, not with the first caption.
        """
        if alternatives is not None and sample is not None:
            raise ValueError("alternatives and sample: expected one of the two")
        if cautious and (alternatives is not None or sample is not None):
            raise ValueError("cautious: gives one caption, expected neither alternatives nor sample")
        if sample is not None:
            if likeliest:
                raise ValueError("likeliest: samples are in the order of the draws, expected no sample")
            return self._run_many(images, requests.samples(self.bundle, sample, rules), batch_size)
        if alternatives is not None:
            judge = None if likeliest else self.judge
            request = requests.alternatives(self.bundle, judge, alternatives, beam, rules)
            return self._run_many(images, request, batch_size)
        return _firsts(self._run_many(images, self._request_one(beam, cautious, likeliest, rules), batch_size))

    def _run(self, image: Photo, request: Request) -> list[Caption]:
        photo = self._read(image, self.engine, self._helper)
        [sentences] = run_request(request, self.engine, [photo], self.bundle)
        return self._captions(image, photo, sentences)

    def _run_many(
        self, images: Iterable[Photo], request: Request, batch_size: int
    ) -> Iterator[list[Caption] | Failure]:
        size, photos = whole_number("batch_size", batch_size), as_photos(images)
        return self._in_batches(batches_of(photos, size), request)

    def _in_batches(self, batches: Iterator[list[Photo]], request: Request) -> Iterator[list[Caption] | Failure]:
        first = list(islice(batches, 2))
        if len(first) < 2:  # few photos: all cores work on one photo after the other
            for batch in first:
                yield from self._batch(batch, request, self.engine, self._helper)
            return
        work = partial(self._batch, request=request, engine=self.batch_engine)
        yield from on_threads(chain(first, batches), work, self.threads)

    def _batch(
        self, images: list[Photo], request: Request, engine: Engine, helper: Executor | None = None
    ) -> list[list[Caption] | Failure]:
        results: dict[int, list[Caption] | Failure] = {}
        photos: dict[int, PhotoInput] = {}
        for index, image in enumerate(images):
            try:
                photos[index] = self._read(image, engine, helper)
            except PhotoError as error:
                name = _name(image)
                results[index] = Failure(name, str(error) if name is None else error.reason)
        if photos:
            for (index, photo), sentences in zip(
                photos.items(), run_request(request, engine, [*photos.values()], self.bundle), strict=True
            ):
                results[index] = self._captions(images[index], photo, sentences)
        return [results[index] for index in range(len(images))]

    def _read(self, image: Photo, engine: Engine, helper: Executor | None) -> PhotoInput:
        if isinstance(image, EncodedPhoto):
            if image.model != self._folder:
                raise ValueError(f"the photo was encoded by {image.model}, this is {self._folder}: encode it anew")
            return image.input
        pixels, warning = self.bundle.transform.read(image, helper)
        return PhotoInput(engine.encode(pixels), key_of(pixels), name_of(image), warning, Seen())

    def _captions(self, image: Photo, photo: PhotoInput, sentences: Sequence[Hypothesis]) -> list[Caption]:
        captions = [self.to_caption(sentence, photo) for sentence in sentences]
        if isinstance(image, EncodedPhoto):
            return [replace(caption, photo=image) for caption in captions]
        return captions

    @property
    def _helper(self) -> ThreadPoolExecutor | None:
        """A second thread for reading single photos; each process has its own, since threads do not survive a fork."""
        if self.threads == 1:
            return None
        process = os.getpid()
        return self._helpers.get(process) or self._helpers.setdefault(process, ThreadPoolExecutor(1, "seesay"))

    def to_caption(self, sentence: Hypothesis, photo: PhotoInput | None = None) -> Caption:
        """A sentence of the engine as a Caption: words with their log-probabilities and attention maps.

        A word of several tokens has the sum of their log-probabilities and the mean of their attention. Without the
        photo, the caption has no name and no confidence.
        """
        tokenizer, judge = self.bundle.tokenizer, self.judge
        evidence = photo.evidence(judge) if photo and judge else None
        sure = judge.confidence(evidence, Said.of(tokenizer, sentence)) if judge and evidence else None
        words = []
        for span in tokenizer.words(sentence.tokens):
            maps = sentence.attention[span.start : span.stop]  # (tokens, P)
            logprob = sum(sentence.logprobs[span.start : span.stop])
            attention = maps.mean(axis=0).reshape(self.bundle.grid)
            there = judge.word_confidence(evidence, span.text, logprob) if judge and evidence else None
            words.append(Word(span.text, logprob, attention, self._chosen(maps), there))
        image, warning = (photo.image, photo.warning) if photo else (None, None)
        caption = Caption(join_words(word.text for word in words), sentence.score, tuple(words), image, warning)
        if evidence is None:
            return caption
        return replace(
            caption,
            confidence=sure,
            kind=evidence.kind,
            photo_probability=evidence.photo,
            withheld=evidence.kind not in (None, PHOTO),
        )

    def _chosen(self, maps: np.ndarray) -> tuple[tuple[int, int], ...]:
        """The region that hard attention chose for each token: the most likely one."""
        if self.bundle.attention != "hard":
            return ()
        columns = self.bundle.grid[1]
        return tuple(divmod(int(region), columns) for region in maps.argmax(axis=1))


def _in_words_of(text: str, caption: Caption) -> Caption:
    """Put the words of the text in place of unknown tokens, if the caption has one word for each."""
    words: list[str] = []
    for word in split_words(text):
        if words and word.startswith("'"):  # a clitic is shown with the word before it
            words[-1] += word
        else:
            words.append(word)
    if len(words) != len(caption.words):
        return caption
    renamed = (replace(word, text=text) for word, text in zip(caption.words, words, strict=True))
    return replace(caption, text=join_words(words), words=tuple(renamed))


def _firsts(results: Iterator[list[Caption] | Failure]) -> Iterator[Caption | Failure]:
    for result in results:
        yield result if isinstance(result, Failure) else result[0]


def _name(image: Photo) -> str | None:
    if isinstance(image, EncodedPhoto):
        return image.image
    return name_of(image)
