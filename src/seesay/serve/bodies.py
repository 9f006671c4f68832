"""Reads and parses the bodies of requests, within the limits and in memory only."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncGenerator, Mapping
from typing import Any, NoReturn

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from seesay.serve.batcher import Upload
from seesay.serve.limits import MIB, ClientGoneError, Limits, RefusedError

FIELDS, FIELD_BYTES = 64, 64 * 1024  # of a form, beside its photos
IN_LOOP = 256 * 1024  # bytes of JSON that are parsed without a thread
DATA_URL = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)
OTHER_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]{1,20}:")


class Memory:
    """The bytes of the bodies of all requests being read or answered."""

    def __init__(self, most: int) -> None:
        self.most, self.used = most, 0


class MeteredBody:
    """The `receive` of one request, which enforces the limits.

    Args:
        receive: of the server.
        limits: of the body.
        memory: shared by all requests; `release` returns this request's part.
    """

    def __init__(self, receive: Receive, limits: Limits, memory: Memory) -> None:
        self._receive, self._limits, self._memory = receive, limits, memory
        self._deadline = asyncio.get_running_loop().time() + limits.body_seconds
        self.bytes = 0
        self.complete = False

    async def __call__(self) -> Message:
        """The next message. Raises RefusedError: too much, too slow, or out of memory."""
        if self.complete:
            return await self._receive()
        message = await self._in_time()
        size = len(message.get("body", b""))
        self.bytes += size
        self._memory.used += size
        self.complete = not message.get("more_body", False)
        if self.bytes > self._limits.body_bytes:
            raise too_large(self._limits)
        if self._memory.used > self._memory.most:
            raise RefusedError(503, "busy", "too many photos at a time: try later", retry_after=2)
        return message

    async def drain(self) -> None:
        """Discard the rest, up to a point: most clients read an answer only when they have sent everything."""
        left = 4 * self._limits.body_bytes
        while not self.complete and left > 0:
            message = await self._in_time()
            left -= len(message.get("body", b""))
            self.complete = not message.get("more_body", False)

    def release(self) -> None:
        """Return the memory, once the body is no longer needed."""
        self._memory.used -= self.bytes

    async def _in_time(self) -> Message:
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._receive()
        except TimeoutError:
            seconds = f"{self._limits.body_seconds:g} seconds"
            message = f"the body did not arrive within {seconds}"
            raise RefusedError(408, "too_slow", message) from None


def too_large(limits: Limits) -> RefusedError:
    """The error for a body beyond the limit."""
    most = f"{limits.body_bytes / MIB:g} MiB"
    return RefusedError(413, "too_large", f"the request is larger than {most}: send fewer photos")


class _Form(MultiPartParser):
    """Starlette's parser with all files in memory; a form that ends early is refused, not cut short."""

    spool_max_size = 2**62  # bytes from which on a file would go to the disk
    complete = False

    def on_end(self) -> None:
        self.complete = True

    async def parse(self) -> FormData:
        self.stream = self._to_its_end(self.stream)
        return await super().parse()

    async def _to_its_end(self, stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async for chunk in stream:
            yield chunk
        if not self.complete:
            raise MultiPartException("it ends before its last boundary")


def media_type(request: Request) -> str:
    """The body's type without parameters, in lower case."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def read_form(request: Request, limits: Limits) -> tuple[list[Upload], dict[str, Any]]:
    """The files of the field `photos`, and the other fields; a repeated field has a list of its values.

    Raises:
        RefusedError: it is not a form, is cut short, or has too many parts or other files.
    """
    parser = _Form(
        request.headers,
        request.stream(),
        max_files=limits.photos,
        max_fields=FIELDS,
        max_part_size=FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        if error.message.startswith("Too many files"):
            raise too_many(limits) from None
        raise RefusedError(400, "bad_form", f"not a valid form: {error.message}") from None
    except ClientDisconnect:
        raise ClientGoneError from None
    try:
        return _files_and_fields(form)
    finally:
        await form.close()


def _files_and_fields(form: FormData) -> tuple[list[Upload], dict[str, Any]]:
    uploads: list[Upload] = []
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        is_file = isinstance(value, UploadFile)
        if is_file != (name == "photos"):
            problem = "expected files" if name == "photos" else "expected text, got a file; files belong in `photos`"
            raise RefusedError(422, "invalid", f"{name[:40]}: {problem}")
        if isinstance(value, UploadFile):
            uploads.append(Upload(value.file.read(), value.filename or None))
        elif name in fields:
            before = fields[name]
            fields[name] = [*(before if isinstance(before, list) else [before]), value]
        else:
            fields[name] = value
    return uploads, fields


async def read_json(request: Request) -> Any:
    """The value of the body's JSON.

    Raises:
        RefusedError: it is not JSON.
    """
    try:
        body = await request.body()
    except ClientDisconnect:
        raise ClientGoneError from None
    try:
        if len(body) <= IN_LOOP:
            return _parsed(body)
        return await asyncio.to_thread(_parsed, body)
    except (ValueError, RecursionError):
        raise RefusedError(400, "bad_json", "the body is not JSON") from None


def _parsed(body: bytes) -> Any:
    """Parse JSON in UTF-8; `NaN` and `Infinity`, which Python would accept, are errors."""
    return json.loads(body.decode(), parse_constant=_refuse)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def photo_of(text: str, name: str | None = None, where: str = "photos") -> Upload:
    """A photo given as base64, plain or as a data URL.

    Nothing else is accepted: if clients could name paths and URLs, they could read the server's files
    and reach machines behind its firewall.

    Raises:
        RefusedError: it is another URL, or not base64.
    """
    found = DATA_URL.match(text)
    if not found and (other := OTHER_URL.match(text)) and other[0].lower() != "data:":
        message = f"{where}: a URL ({other[0]}...) is not fetched; send the photo as a data URL"
        raise RefusedError(422, "url_refused", message)
    encoded = text[found.end() :] if found else text
    try:
        return Upload(_decoded(encoded), name)
    except ValueError:
        message = f"{where}: expected a photo in base64, plain or as a data URL (data:image/jpeg;base64,...)"
        raise RefusedError(422, "bad_base64", message) from None


def _decoded(encoded: str) -> bytes:
    """The bytes, also of base64 with line breaks (MIME), in the alphabet for URLs, or without padding.

    Raises:
        ValueError: it is not base64.
    """
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError:  # slower, which tells for large photos: a second for 64 MiB
        plain = encoded.translate(_TO_PLAIN)
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)


_TO_PLAIN: Mapping[int, int | None] = {
    ord("-"): ord("+"),
    ord("_"): ord("/"),
    ord("\n"): None,
    ord("\r"): None,
    ord("="): None,
}


def too_many(limits: Limits) -> RefusedError:
    """The error for more photos than a request may have."""
    most = f"at most {limits.photos}"
    return RefusedError(413, "too_many_photos", f"too many photos in one request: {most}")
