"""Batches of photos, processed on several threads in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

BATCH = 8  # photos of a folder that are searched together: the fastest of 4, 8, 12 and 16 for the packaged model

Item = TypeVar("Item")
Result = TypeVar("Result")


def batches_of(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Split an iterable lazily into lists of `size` items; the last one may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def on_threads(
    batches: Iterable[list[Item]], work: Callable[[list[Item]], list[Result]], threads: int
) -> Iterator[Result]:
    """The results of `work(batch)` for all batches, in order; at most `threads` + 1 batches are read ahead."""
    waiting = iter(batches)
    with ThreadPoolExecutor(threads, "seesay") as pool:

        def start(number: int) -> Iterator[Future[list[Result]]]:
            for batch in islice(waiting, number):
                yield pool.submit(work, batch)

        running = deque(start(threads + 1))
        while running:
            results = running.popleft().result()
            running.extend(start(1))
            yield from results
