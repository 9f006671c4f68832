"""Access control, limits, security headers and the log, around all requests."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seesay.serve.answers import error_json
from seesay.serve.bodies import Memory, MeteredBody, too_large
from seesay.serve.limits import Limits, RefusedError
from seesay.serve.monitor import Metrics

CONTENT_SECURITY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    b"content-security-policy": CONTENT_SECURITY.encode(),
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
}
BODY = "seesay.body"  # where a request's scope has its `MeteredBody`
GUARDED = ("/v1/", "/api/", "/metrics")  # need the token; the page itself has no secrets


@dataclass(frozen=True)
class Access:
    """Who may use a server.

    Attributes:
        token: the bearer token that clients must send; None: everyone may use it.
        hosts: names of the server beside localhost and IP addresses; "*" for any name.
        origins: of other sites whose pages may use it, such as "https://example.org".
    """

    token: str | None = None
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    def check(self, headers: Headers, path: str, method: str = "GET") -> None:
        """Raise RefusedError unless the request is allowed."""
        self._check_host(headers.get("host", ""))
        self._check_origin(headers.get("origin"), headers.get("host", ""))
        is_preflight = method == "OPTIONS"  # browsers send it without the token
        if self.token is not None and path.startswith(GUARDED) and not is_preflight:
            kind, _, given = headers.get("authorization", "").partition(" ")
            known = hmac.compare_digest(given.strip().encode(), self.token.encode())
            if kind.lower() != "bearer" or not known:
                message = "this server needs its token: Authorization: Bearer TOKEN"
                raise RefusedError(401, "token", message)

    def _check_host(self, host: str) -> None:
        """Refuses DNS rebinding: a web page whose name was made to lead here sends that name."""
        name = (urlsplit(f"//{host}").hostname or "") if _is_host(host) else ""
        if name == "localhost" or name.endswith(".localhost") or _is_address(name):
            return
        if not name or not {name, "*"} & {each.lower() for each in self.hosts}:
            message = "Host: not a name of this server; allow it with --allow-host NAME"
            raise RefusedError(421, "host", message)

    def _check_origin(self, origin: str | None, host: str) -> None:
        if origin is None or origin in self.origins:
            return
        if origin.lower().partition("://")[2] != host.lower():  # "null" has no host
            message = "pages of other origins may not use this server; allow one with --allow-origin URL"
            raise RefusedError(403, "origin", message)


def _is_host(host: str) -> bool:
    try:
        return bool(host) and urlsplit(f"//{host}").netloc == host and "@" not in host
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """An ASGI app around another: checks access and limits, adds headers, logs and counts requests.

    Args:
        app: answers the requests that are allowed.
        access: who may use it.
        limits: of each request and of all together.
        metrics: counts requests.
        log: gets a line for each request, without contents of its photos.

    Attributes:
        open: number of requests being read or answered.
        memory: used by their bodies.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        limits: Limits,
        metrics: Metrics,
        log: logging.Logger,
    ) -> None:
        self.app, self.access, self.limits = app, access, limits
        self.metrics, self.log = metrics, log
        self.memory = Memory(limits.memory_bytes)
        self.open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        body = scope[BODY] = MeteredBody(receive, self.limits, self.memory)
        answer = _Answer(send)
        self.open += 1
        try:
            await self._answer(scope, body, answer)
        finally:
            self.open -= 1
            body.release()
            self._tell(scope, answer.status, body.bytes, time.perf_counter() - started)

    async def _answer(self, scope: Scope, body: MeteredBody, answer: _Answer) -> None:
        headers = Headers(scope=scope)
        try:
            if self.open > self.limits.requests:
                raise RefusedError(503, "busy", "too many requests at a time: try later", 2)
            self.access.check(headers, scope["path"], scope["method"])
            length = headers.get("content-length", "0")
            if not length.isdecimal() or int(length[:20]) > self.limits.body_bytes:
                raise too_large(self.limits)
            await self.app(scope, body, answer)
        except RefusedError as error:
            await (await refusal(error, scope))(scope, body, answer)
        except Exception:
            self.log.exception("failed")  # the client gets no details
            if not answer.status:
                await broken(scope)(scope, body, answer)

    def _tell(self, scope: Scope, status: int, size: int, seconds: float) -> None:
        route = scope.get("route")
        path = getattr(route, "path", "other")
        self.metrics.requests.labels(path, str(status)).inc()
        self.metrics.seconds.labels(path).observe(seconds)
        self.metrics.memory.set(self.memory.used)
        self.metrics.open.set(self.open)
        client = scope.get("client")
        details = {
            "method": scope["method"],
            "path": path if path != "other" else scope["path"][:100],
            "status": status,
            "ms": round(1000 * seconds, 1),
            "bytes": size,
            "client": client[0] if client else "-",
        }
        self.log.info("request", extra={"details": details})


async def refusal(error: RefusedError, scope: Scope) -> JSONResponse:
    """The answer to a refused request, after the rest of its body was read.

    Most clients read an answer only when they have sent everything.
    """
    body: MeteredBody = scope[BODY]
    headers = Headers(scope=scope)
    if error.status != 408 and "expect" not in headers:
        with suppress(RefusedError):  # if the rest is too slow, the first reason still stands
            await body.drain()
    sent: dict[str, str] = {}
    if error.retry_after is not None:
        sent["retry-after"] = str(error.retry_after)
    if error.status == 401:
        sent["www-authenticate"] = "Bearer"
    if not body.complete:
        sent["connection"] = "close"
    return JSONResponse(error_json(error, scope["path"]), error.status, sent)


def broken(scope: Scope) -> JSONResponse:
    """The answer after a failure of the server itself; the reason is in its log."""
    error = RefusedError(500, "internal", "the server failed; the reason is in its log")
    return JSONResponse(error_json(error, scope["path"]), error.status)


class _Answer:
    """`send` that adds the security headers and remembers the status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = {name.lower() for name, _ in message.get("headers", ())}
            added = [pair for pair in SECURITY_HEADERS.items() if pair[0] not in own]
            if b"cache-control" not in own:
                added.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await self._send(message)
