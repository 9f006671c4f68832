"""Between the requests and the queue: submits photos and waits for their captions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ParamSpec, TypeVar

from fastapi import Request
from starlette.types import Receive

from seesay.errors import TextError
from seesay.runtime import CaptionModel
from seesay.serve.batcher import Answer, Ask, BadPhoto, Batcher, Upload
from seesay.serve.limits import ClientGoneError, Limits, RefusedError
from seesay.serve.monitor import Metrics
from seesay.serve.options import invalid

Given = ParamSpec("Given")
Made = TypeVar("Made")


class Service:
    """A model with its workers.

    Args:
        model: opened with one thread.
        workers: number of worker threads.
        limits: of requests.
        metrics: counts photos and batches.
        min_confidence: for requests that give none; None: no captions are withheld for their confidence.
    """

    def __init__(
        self, model: CaptionModel, workers: int, limits: Limits, metrics: Metrics, min_confidence: float | None = None
    ) -> None:
        self.model, self.limits, self.metrics, self.min_confidence = model, limits, metrics, min_confidence
        self.batcher = Batcher(model, workers, limits.waiting, metrics.batches.observe)
        metrics.waiting.set_function(lambda: self.batcher.waiting)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.bundle.name

    async def ask(self, request: Request, uploads: Sequence[Upload], ask: Ask) -> list[Answer | BadPhoto]:
        """The answer for each photo, in order.

        Raises:
            RefusedError: no photos, a full queue, a timeout, or options that do not fit the model.
            ClientGoneError: the client disconnected; its photos are taken off the queue.
        """
        if not uploads:
            raise RefusedError(422, "no_photos", "the request has no photo: expected `photos`")
        if ask.min_confidence is None:
            ask = replace(ask, min_confidence=self.min_confidence)
        if ask.needs_confidence and self.model.judge is None:
            raise invalid("min_confidence and cautious: this model was not calibrated, so it knows no confidence")
        try:
            found = await self._wait(request.receive, uploads, ask)
        except (TextError, ValueError) as error:
            raise invalid(str(error)) from None
        for each in found:
            self.metrics.photos.labels("unreadable" if isinstance(each, BadPhoto) else "captioned").inc()
        return found

    async def in_time(self, make: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs) -> Made:
        """`make(...)` on a thread. Raises RefusedError after `limits.seconds`; the thread then ends on its own."""
        try:
            return await asyncio.wait_for(asyncio.to_thread(make, *args, **kwargs), self.limits.seconds)
        except TimeoutError:
            raise self._timeout() from None

    async def _wait(self, receive: Receive, uploads: Sequence[Upload], ask: Ask) -> list[Answer | BadPhoto]:
        futures = self.batcher.submit(uploads, ask)
        work = asyncio.gather(*map(asyncio.wrap_future, futures))
        work.add_done_callback(_retrieve)
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({work, gone}, timeout=self.limits.seconds, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            raise ClientGoneError if gone.done() else self._timeout()
        finally:
            gone.cancel()
            work.cancel()

    def _timeout(self) -> RefusedError:
        message = f"not answered within {self.limits.seconds:g} seconds: try later, or send fewer photos"
        return RefusedError(503, "timeout", message, retry_after=5)


def _retrieve(work: asyncio.Future[list[Answer | BadPhoto]]) -> None:
    """asyncio warns of exceptions that nobody retrieves, as after a timeout."""
    if not work.cancelled():
        work.exception()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
