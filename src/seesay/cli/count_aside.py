"""Counting photos on another thread, for the estimate of the time that is left."""

from __future__ import annotations

import threading
from collections.abc import Callable


def counted_aside(count: Callable[[], int | None]) -> Callable[[], int | None]:
    """A function that returns the count, or None until it is known; its first call starts the counting."""
    found: list[int | None] = []
    thread = threading.Thread(target=lambda: found.append(count()), name="seesay-count", daemon=True)

    def total() -> int | None:
        if not found and not thread.is_alive() and thread.ident is None:
            thread.start()
        return found[0] if found else None

    return total
