"""Several processes that train together: means over all of them, and what becomes of the others if one ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, distributed

from seesay.errors import SeesayError, first_line

Item = TypeVar("Item")
LOST = ("gloo", "nccl", "connection closed by peer", "connection reset", "connection refused", "broken pipe", "socket")


def rank_and_count() -> tuple[int, int]:
    """This process' number from 0, and the number of processes."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def global_mean(mean: Tensor, count: Tensor | int) -> Tensor:
    """Scale the mean over this process' items so that the processes' average is the mean over all items.

    Gradients are averaged over processes with equal weights, but a process whose captions are longer has more words.
    Every process has to call it equally often.

    Args:
        mean: a scalar; anything where `count` is 0.
        count: number of items that it is the mean of.
    """
    _, processes = rank_and_count()
    if processes == 1:
        return mean
    here = torch.as_tensor(count, dtype=torch.float32).detach().to(mean.device)
    total = here.clone()
    distributed.all_reduce(total)
    return mean * (here * processes / total.clamp_min(1.0))


def process_average(value: Tensor) -> Tensor:
    """The average of a value over the processes, without a gradient."""
    _, processes = rank_and_count()
    if processes == 1:
        return value
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total / processes


def all_items(items: list[Item]) -> list[Item]:
    """The items of all processes, which took turns: the first of each process, the second of each, ..."""
    _, processes = rank_and_count()
    if processes == 1:
        return items
    gathered: list[list[Item]] = [[] for _ in range(processes)]
    distributed.all_gather_object(gathered, items)
    return [theirs[i] for i in range(max(map(len, gathered))) for theirs in gathered if i < len(theirs)]


@contextmanager
def ending_together() -> Iterator[None]:
    """Turn the error of a lost connection within the block into one line.

    Raises:
        SeesayError: another process ended.
    """
    try:
        yield
    except RuntimeError as error:
        rank, processes = rank_and_count()
        if processes == 1 or not any(word in str(error).lower() for word in LOST):
            raise
        raise SeesayError(
            f"process {rank + 1} of {processes}: another one ended, by a kill, an error or for lack of memory, so this "
            f"one ends too; --resume goes on from the last checkpoint ({first_line(error)})"
        ) from None
