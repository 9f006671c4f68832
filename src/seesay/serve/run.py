"""A server that runs until it is told to stop."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from seesay.errors import SeesayError, shown
from seesay.runtime import CaptionModel
from seesay.serve.app import Settings, create_app
from seesay.serve.monitor import logger

HEADER_SECONDS = 15.0  # within which a new connection has sent its first request's headers
CONNECTIONS = 1024


@dataclass(frozen=True)
class Place:
    """Where a server listens.

    Attributes:
        host: a name or an address.
        port: 0 picks a free one.
    """

    host: str = "127.0.0.1"
    port: int = 8000

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. Raises SeesayError: there is no such host."""
        return all(address[4][0].startswith(("127.", "::1")) for address in self._addresses())

    def listen(self) -> socket.socket:
        """A listening socket. Raises SeesayError: the port is taken or not allowed."""
        family, kind, protocol, _, address = self._addresses()[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            listener.close()
            hint = "; --port 0 picks a free one" if error.errno == errno.EADDRINUSE else ""
            where = f"{self.host}:{self.port}"
            raise SeesayError(f"{where}: cannot listen there: {error.strerror}{hint}") from None
        return listener

    def _addresses(self) -> list[Any]:
        try:
            return socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "not a name"
            raise SeesayError(f"--host {shown(self.host)}: no such host ({reason})") from None


class ImpatientProtocol(H11Protocol):
    """uvicorn's, but a connection that sends no whole request for a while is closed."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEADER_SECONDS, self._close_if_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def _close_if_silent(self) -> None:
        if self.cycle is None:
            self.transport.close()


def serve(
    model: CaptionModel,
    settings: Settings,
    place: Place,
    *,
    log_json: bool = False,
    browser: str | None = None,
) -> None:
    """Serve until Ctrl-C or SIGTERM; what has been asked by then is answered.

    Args:
        model: with one thread.
        settings: of the server.
        place: where it listens.
        log_json: write the log as JSON lines.
        browser: open the page in the browser, at this fragment ("" for none).

    Raises:
        SeesayError: it cannot listen there.
    """
    with place.listen() as listener:
        app = create_app(model, settings, logger(log_json))
        model.caption(np.zeros((64, 64, 3), np.uint8))  # the first call is slower than the others
        config = uvicorn.Config(
            app,
            http=ImpatientProtocol,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=int(settings.limits.seconds) + 1,
        )
        url = address_of(place, listener.getsockname()[1], settings.access.token)
        print(f"seesay: {url}\nCtrl-C stops it", file=sys.stderr, flush=True)
        if browser is not None:
            joined = f"{url}&{browser}" if "#" in url else f"{url}#{browser}"
            threading.Timer(0.5, webbrowser.open, (joined.rstrip("#"),)).start()
        with _quiet_end():
            uvicorn.Server(config).run(sockets=[listener])


def address_of(place: Place, port: int, token: str | None) -> str:
    """What to open in a browser. The token stands behind the #, which browsers do not send."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(place.host, place.host)
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"http://{host}:{port}/" + (f"#token={token}" if token else "")


@contextmanager
def _quiet_end() -> Iterator[None]:
    """uvicorn repeats the signal that ended it; to end when told is no failure."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
