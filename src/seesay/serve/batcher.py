"""The queue of photos, and the workers that caption whatever is queued when they are free."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import NamedTuple

from seesay.caption import Caption, Failure
from seesay.data.images import ImageSource, photo_formats
from seesay.data.images.formats import formats_by_signature
from seesay.errors import PhotoError
from seesay.runtime import CaptionModel, SampleOptions
from seesay.serve.limits import RefusedError

BATCH = 16  # photos whose words are searched together


class Upload(NamedTuple):
    """One photo of a request: the bytes of its file, and the name that the client gave."""

    data: bytes
    name: str | None


@dataclass(frozen=True)
class Ask:
    """What to do with a photo; the attributes are arguments of `CaptionModel`'s methods and of `Caption.withhold`.

    If `text` is given, that sentence is scored and the other attributes are ignored.
    """

    beam: int | None = None
    alternatives: int | None = None
    likeliest: bool = False
    sample: SampleOptions | None = None
    prefix: str | None = None
    max_words: int | None = None
    forbid: tuple[str, ...] = ()
    min_confidence: float | None = None
    cautious: bool = False
    text: str | None = None

    @property
    def needs_confidence(self) -> bool:
        """Whether only a calibrated model can do this."""
        return self.text is None and (self.cautious or self.min_confidence is not None)

    def of(self, model: CaptionModel, photos: Sequence[ImageSource]) -> list[list[Caption] | Failure]:
        """The captions of each photo, best first (samples in the order drawn), or why there are none.

        Raises:
            TextError: the text or the prefix has words that are not in the vocabulary.
        """
        found = self._captions(model, photos)
        least = self.min_confidence
        if least is None or self.text is not None:
            return found
        return [each if isinstance(each, Failure) else [one.withhold(least) for one in each] for each in found]

    def _captions(self, model: CaptionModel, photos: Sequence[ImageSource]) -> list[list[Caption] | Failure]:
        size = len(photos)
        if self.text is not None:
            return _in_lists(model.score_many(photos, self.text, size))
        rules = {"prefix": self.prefix, "max_words": self.max_words, "forbid": self.forbid}
        if self.sample is not None:
            return list(model.caption_many(photos, size, sample=self.sample, **rules))
        if self.cautious:
            return _in_lists(model.caption_many(photos, size, self.beam, cautious=True, **rules))
        number = self.alternatives or 1
        return list(model.caption_many(photos, size, self.beam, alternatives=number, likeliest=self.likeliest, **rules))


def _in_lists(results: Iterable[Caption | Failure]) -> list[list[Caption] | Failure]:
    return [each if isinstance(each, Failure) else [each] for each in results]


class Answer(NamedTuple):
    """The captions of one photo, as many as were asked for."""

    upload: Upload
    captions: list[Caption]


@dataclass(frozen=True)
class BadPhoto(Failure):
    """A photo that could not be read, with the HTTP status that fits the reason."""

    status: int = 422


@dataclass
class _Job:
    upload: Upload
    ask: Ask
    future: Future[Answer | BadPhoto]


class _Photo:
    """A job's photo as a file, which cannot be read any more once the job is cancelled."""

    def __init__(self, job: _Job) -> None:
        self._job = job
        self.name = job.upload.name or "photo"  # without one, failures would say "the bytes given"

    def read(self, size: int = -1, /) -> bytes:
        if self._job.future.cancelled():
            raise PhotoError("given up")
        return self._job.upload.data[: size if size >= 0 else None]


class Batcher:
    """Worker threads that caption queued photos in batches.

    A batch is whatever is queued when a worker becomes free: nobody waits for a batch to fill up.
    Each worker uses one core, the way `caption_many` captions a folder.

    Args:
        model: opened with one thread; several threads may call it.
        workers: number of threads.
        room: the largest number of photos in the queue.
        on_batch: called with the size of each batch.

    Attributes:
        idle: number of workers that wait for photos.
    """

    def __init__(
        self,
        model: CaptionModel,
        workers: int,
        room: int,
        on_batch: Callable[[int], None] = lambda size: None,
    ) -> None:
        self.model, self.room, self._on_batch = model, room, on_batch
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()
        self.idle = 0
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"seesay-worker-{n}", daemon=True) for n in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Number of photos in the queue."""
        return len(self._waiting)

    def submit(self, uploads: Sequence[Upload], ask: Ask) -> list[Future[Answer | BadPhoto]]:
        """Queue photos, all of them or none. Returns a future for each.

        Cancelling a future takes its photo off the queue, or out of its batch if it is not read yet.

        Raises:
            RefusedError: the queue is full, or the server is stopping.
        """
        jobs = [_Job(upload, ask, Future()) for upload in uploads]
        with self._changed:
            if self._closed:
                raise RefusedError(503, "stopping", "the server is stopping", retry_after=5)
            if len(self._waiting) + len(jobs) > self.room:
                full = f"{len(self._waiting)} photos are queued, of at most {self.room}: try later"
                raise RefusedError(429, "queue_full", full, retry_after=1)
            self._waiting.extend(jobs)
            self._changed.notify(len(jobs))
        return [job.future for job in jobs]

    def close(self) -> None:
        """Finish the queued photos, then end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while batch := self._take():
            self._on_batch(len(batch))
            self._caption(batch)
            del batch  # or its photos stay in memory until the next ones come

    def _take(self) -> list[_Job]:
        """The next batch: this worker's share of the queue; [] once the batcher is closed."""
        with self._changed:
            self.idle += 1
            self._changed.wait_for(lambda: self._waiting or self._closed)
            share = -(-len(self._waiting) // self.idle)
            self.idle -= 1
            return [self._waiting.popleft() for _ in range(min(share, BATCH))]

    def _caption(self, batch: Sequence[_Job]) -> None:
        jobs: dict[Ask, list[_Job]] = {}
        for job in batch:
            if not job.future.cancelled():
                jobs.setdefault(job.ask, []).append(job)
        for ask, alike in jobs.items():
            self._answer(ask, alike)

    def _answer(self, ask: Ask, jobs: Sequence[_Job]) -> None:
        try:
            results = ask.of(self.model, [_Photo(job) for job in jobs])
        except Exception as error:
            for job in jobs:
                if job.future.set_running_or_notify_cancel():
                    job.future.set_exception(error)
            return
        for job, result in zip(jobs, results, strict=True):
            if job.future.set_running_or_notify_cancel():
                job.future.set_result(_answer_of(job.upload, result))


def _answer_of(upload: Upload, result: list[Caption] | Failure) -> Answer | BadPhoto:
    if isinstance(result, Failure):
        return bad_photo(result.reason, upload)
    return Answer(upload, [replace(caption, image=upload.name) for caption in result])


def bad_photo(reason: str, upload: Upload) -> BadPhoto:
    """The failure of a photo: 415 if it is not a photo, 413 if it is too large, else 422."""
    kinds = set(formats_by_signature(upload.data[:16])) & set(photo_formats())
    status = 415 if not kinds else 413 if reason.startswith("too ") else 422
    return BadPhoto(upload.name, reason, status)
