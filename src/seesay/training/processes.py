"""Training in several processes: means over all of them, and errors when one of them ends."""

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
    """(number of this process, from 0; number of processes)."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def global_mean(mean: Tensor, count: Tensor | int) -> Tensor:
    """Scale a process' mean so that the average over processes is the mean over all items.

    DDP averages gradients over processes with equal weights, although the processes' captions have
    different numbers of words. All processes must call this equally often.

    Args:
        mean: the mean over this process' items, a scalar; ignored where `count` is 0.
        count: the number of this process' items.
    """
    _, processes = rank_and_count()
    if processes == 1:
        return mean
    here = torch.as_tensor(count, dtype=torch.float32).detach().to(mean.device)
    total = here.clone()
    distributed.all_reduce(total)
    return mean * (here * processes / total.clamp_min(1.0))


def process_average(value: Tensor) -> Tensor:
    """The average of `value` over all processes, without a gradient."""
    _, processes = rank_and_count()
    if processes == 1:
        return value
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total / processes


def all_items(items: list[Item]) -> list[Item]:
    """Interleave the items of all processes: the first item of each, the second of each, and so on."""
    _, processes = rank_and_count()
    if processes == 1:
        return items
    gathered: list[list[Item]] = [[] for _ in range(processes)]
    distributed.all_gather_object(gathered, items)
    return [theirs[i] for i in range(max(map(len, gathered))) for theirs in gathered if i < len(theirs)]


@contextmanager
def ending_together() -> Iterator[None]:
    """Replace errors about lost connections by one line that says that another process ended.

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
