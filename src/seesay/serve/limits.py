"""Limits of requests, and how they are refused."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """Requests beyond these limits are refused; the others go on.

    Attributes:
        body_bytes: of one request's body.
        memory_bytes: of the bodies of all requests being read or answered.
        photos: in one request.
        waiting: photos in the queue.
        requests: being read or answered at a time.
        seconds: from the last byte of a request to its answer.
        body_seconds: from the head of a request to its last byte.
    """

    body_bytes: int = 64 * MIB
    memory_bytes: int = 512 * MIB
    photos: int = 32
    waiting: int = 256
    requests: int = 512
    seconds: float = 30.0
    body_seconds: float = 30.0


class RefusedError(Exception):
    """A request that is answered with an error.

    Attributes:
        status: HTTP status.
        code: for programs, such as "too_large"; codes never change.
        message: for people, one line: what is wrong, and what to do.
        retry_after: seconds after which the same request may succeed.
    """

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.retry_after = retry_after


class ClientGoneError(Exception):
    """The client disconnected."""
