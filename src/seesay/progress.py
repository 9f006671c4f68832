"""Progress of long work: a bar with an estimate on terminals, occasional lines in logs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance = Callable[..., None]
Total = Callable[[], int | None]
LOG_SECONDS = 30.0


def print_plain(console: Console, text: object) -> None:
    """Print a text as it is: without markup, colours, or line breaks that it does not have."""
    console.print(str(text), highlight=False, markup=False, soft_wrap=True)


@contextmanager
def progress(what: str, total: int | Total, console: Console, done: int = 0) -> Iterator[Advance]:
    """Show how far `what` is.

    Args:
        what: a few words for the left of the bar.
        total: things to do; or a function that returns it, or None while it is not known.
        console: where to show it; a bar only where it is a terminal.
        done: things that an earlier run did.

    Yields:
        `advance(n=1, note="")`, to be called after each piece of work.
    """
    if isinstance(total, int) and total <= 0:
        yield lambda n=1, note="": None
        return
    known = total if callable(total) else lambda: total
    if console.is_terminal:
        yield from _bar(what, known, console, done)
    else:
        yield from _lines(what, known, console, done)


@contextmanager
def counted(what: str, console: Console) -> Iterator[Callable[[int, int | None], None]]:
    """As `progress`, for work that says itself how far it is.

    Args:
        what: a few words for the left of the bar.
        console: where to show it.

    Yields:
        `report(done, total)`; the total is None while it is not known.
    """
    with ExitStack() as stack:
        advance: Advance | None = None
        before, known = 0, None

        def report(done: int, total: int | None) -> None:
            nonlocal advance, before, known
            known = total
            advance = advance or stack.enter_context(progress(what, lambda: known, console))
            advance(done - before)
            before = done

        yield report


def _bar(what: str, total: Total, console: Console, done: int) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total(), completed=done, note="")
        yield lambda n=1, note="": bar.update(task, advance=n, note=note, total=total())


def _lines(what: str, total: Total, console: Console, done: int) -> Iterator[Advance]:
    start = said = time.monotonic()
    first = done

    def advance(n: int = 1, note: str = "") -> None:
        nonlocal done, said
        done += n
        now = time.monotonic()
        if now - said >= LOG_SECONDS:
            said = now
            line = f"{what}: {done:,} so far {note}"
            if (all_ := total()) is not None:
                left = (now - start) / max(done - first, 1) * (all_ - done)
                line = f"{what}: {done:,}/{all_:,}, {left / 60:.1f} min left {note}"
            console.print(line.rstrip(), highlight=False, soft_wrap=True)

    yield advance
