"""Many photos: batches of them, on as many threads as there are cores, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def batches_of(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items, the last one of what is left; taken when they are asked for."""
    taken = iter(items)
    while batch := list(islice(taken, size)):
        yield batch


def on_threads(
    batches: Iterable[list[Item]], work: Callable[[list[Item]], list[Result]], threads: int
) -> Iterator[Result]:
    """`work(batch)` of each batch, in order; `threads` and one more batches at most are taken ahead."""
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
