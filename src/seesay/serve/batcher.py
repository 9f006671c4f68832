"""Photos of all requests, batched without waiting: a free worker takes what is queued then."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import NamedTuple

from seesay.caption import Caption, Failure
from seesay.data.images import photo_formats
from seesay.data.images.formats import formats_by_signature
from seesay.errors import PhotoError
from seesay.runtime import CaptionModel, EncodedPhoto, SampleOptions
from seesay.serve.limits import RefusedError

BATCH = 16  # photos whose words are searched together, as for a folder


class Upload(NamedTuple):
    """One photo of a request: the bytes of a file, and what the client calls it."""

    data: bytes
    name: str | None


@dataclass(frozen=True)
class Ask:
    """What is asked about a photo. The attributes are those of `CaptionModel`'s calls.

    With `text` that sentence is scored, and nothing else counts.
    """

    beam: int | None = None
    alternatives: int | None = None
    sample: SampleOptions | None = None
    prefix: str | None = None
    max_words: int | None = None
    forbid: tuple[str, ...] = ()
    text: str | None = None

    def of(self, model: CaptionModel, photos: Sequence[EncodedPhoto]) -> list[list[Caption]]:
        """The captions of each photo, the best or first one first.

        Raises:
            TextError: the text or the prefix has words that the model does not know.
        """
        size = len(photos)
        if self.text is not None:
            return [[scored] for scored in map(_caption, model.score_many(photos, self.text, size))]
        wishes = {"prefix": self.prefix, "max_words": self.max_words, "forbid": self.forbid}
        if self.sample is not None:
            found = model.caption_many(photos, size, sample=self.sample, **wishes)
        else:
            number = self.alternatives or 1
            found = model.caption_many(photos, size, self.beam, alternatives=number, **wishes)
        return [captions for captions in found if not isinstance(captions, Failure)]


def _caption(result: Caption | Failure) -> Caption:
    assert isinstance(result, Caption)  # a photo that is encoded can be read
    return result


@dataclass(frozen=True)
class Answer:
    """One photo's captions.

    Attributes:
        photo: encoded, with its picture.
        captions: one or several, as asked.
    """

    photo: EncodedPhoto
    captions: list[Caption]


@dataclass(frozen=True)
class Unreadable(Failure):
    """A photo that could not be read, with the status of HTTP that says why."""

    status: int = 422


@dataclass
class _Job:
    upload: Upload
    ask: Ask
    future: Future[Answer | Unreadable]


class Batcher:
    """Threads that caption whatever is queued.

    Each worker encodes photo by photo and writes the sentences of a batch together, on a core of
    its own, which is how a folder is captioned fastest.

    Args:
        model: with one thread; several threads may call it.
        workers: threads.
        room: photos that may wait.
        on_batch: told the size of each batch.

    Attributes:
        idle: workers that wait for photos.
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
        """Photos in the queue."""
        return len(self._waiting)

    def submit(self, uploads: Sequence[Upload], ask: Ask) -> list[Future[Answer | Unreadable]]:
        """Queue photos, all of them or none; each future's result is its photo's.

        A future that is cancelled while its photo waits costs nothing more.

        Raises:
            RefusedError: the queue is full, or the server stops.
        """
        jobs = [_Job(upload, ask, Future()) for upload in uploads]
        with self._changed:
            if self._closed:
                raise RefusedError(503, "stopping", "the server stops", retry_after=5)
            if len(self._waiting) + len(jobs) > self.room:
                full = f"{len(self._waiting)} photos wait already, at most {self.room}: try later"
                raise RefusedError(429, "queue_full", full, retry_after=1)
            self._waiting.extend(jobs)
            self._changed.notify(len(jobs))
        return [job.future for job in jobs]

    def close(self) -> None:
        """Finish what is queued and end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while batch := self._take():
            self._on_batch(len(batch))
            self._caption(batch)
            del batch  # photos need not stay until the next ones come

    def _take(self) -> list[_Job]:
        """The next batch, shared with the other idle workers; [] once the batcher is closed."""
        with self._changed:
            self.idle += 1
            self._changed.wait_for(lambda: self._waiting or self._closed)
            share = -(-len(self._waiting) // self.idle)
            self.idle -= 1
            return [self._waiting.popleft() for _ in range(min(share, BATCH))]

    def _caption(self, batch: list[_Job]) -> None:
        asked: dict[Ask, list[tuple[_Job, EncodedPhoto]]] = {}
        for job in batch:
            if not job.future.set_running_or_notify_cancel():
                continue
            try:
                photo = self._encode(job.upload)
            except PhotoError as error:
                job.future.set_result(unreadable(error, job.upload))
            except Exception as error:
                job.future.set_exception(error)
            else:
                asked.setdefault(job.ask, []).append((job, photo))
        for ask, pairs in asked.items():
            self._answer(ask, pairs)

    def _encode(self, upload: Upload) -> EncodedPhoto:
        photo = self.model.encode(upload.data)
        return replace(photo, input=photo.input._replace(image=upload.name))

    def _answer(self, ask: Ask, pairs: list[tuple[_Job, EncodedPhoto]]) -> None:
        try:
            found = ask.of(self.model, [photo for _, photo in pairs])
        except Exception as error:
            for job, _ in pairs:
                job.future.set_exception(error)
            return
        for (job, photo), captions in zip(pairs, found, strict=True):
            job.future.set_result(Answer(photo, captions))


def unreadable(error: PhotoError, upload: Upload) -> Unreadable:
    """Why a photo was not captioned: 415 for what is no photo, 413 for too large ones, else 422."""
    kinds = set(formats_by_signature(upload.data[:16])) & set(photo_formats())
    status = 415 if not kinds else 413 if error.reason.startswith("too ") else 422
    return Unreadable(upload.name, error.reason, status)
