"""From photos of a request to their captions, on the event loop's side of the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fastapi import Request
from starlette.types import Receive

from seesay.errors import TextError
from seesay.runtime import CaptionModel
from seesay.serve.batcher import Answer, Ask, Batcher, Unreadable, Upload
from seesay.serve.limits import ClientGoneError, Limits, RefusedError
from seesay.serve.monitor import Metrics
from seesay.serve.options import invalid


class Service:
    """A model, its workers, and what requests need of both.

    Args:
        model: with one thread.
        workers: photos that are read and encoded at the same time.
        limits: of requests.
        metrics: counts.
    """

    def __init__(self, model: CaptionModel, workers: int, limits: Limits, metrics: Metrics) -> None:
        self.model, self.limits, self.metrics = model, limits, metrics
        self.batcher = Batcher(model, workers, limits.waiting, metrics.batches.observe)
        metrics.waiting.set_function(lambda: self.batcher.waiting)

    @property
    def name(self) -> str:
        """The model's."""
        return self.model.bundle.name

    async def ask(self, request: Request, uploads: Sequence[Upload], ask: Ask) -> list[Answer | Unreadable]:
        """What is asked about each photo.

        Raises:
            RefusedError: the queue is full, the time is over, or the ask cannot be answered.
            ClientGoneError: the client did not wait; what it asked for is taken off the queue.
        """
        if not uploads:
            raise RefusedError(422, "no_photos", "the request has no photo: expected `photos`")
        try:
            found = await self._wait(request.receive, uploads, ask)
        except (TextError, ValueError) as error:
            raise invalid(str(error)) from None
        for each in found:
            self.metrics.photos.labels("unreadable" if isinstance(each, Unreadable) else "captioned").inc()
        return found

    async def _wait(self, receive: Receive, uploads: Sequence[Upload], ask: Ask) -> list[Answer | Unreadable]:
        futures = self.batcher.submit(uploads, ask)
        work = asyncio.gather(*map(asyncio.wrap_future, futures))
        work.add_done_callback(_look_at)
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({work, gone}, timeout=self.limits.seconds, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if gone.done():
                raise ClientGoneError
            seconds = f"{self.limits.seconds:g} seconds"
            message = f"not answered within {seconds}: try later, or fewer photos"
            raise RefusedError(503, "timeout", message, retry_after=5)
        finally:
            gone.cancel()
            work.cancel()


def _look_at(work: asyncio.Future[list[Answer | Unreadable]]) -> None:
    """asyncio complains of what failed, or was cancelled, after nobody waited any more."""
    if not work.cancelled():
        work.exception()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
