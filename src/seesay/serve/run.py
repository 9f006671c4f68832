"""Runs the server until Ctrl-C or SIGTERM."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import json
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import h11
import numpy as np
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from seesay.errors import SeesayError, shown
from seesay.runtime import CaptionModel
from seesay.serve.app import Settings, create_app
from seesay.serve.monitor import logger

HEADER_SECONDS = 15.0
READ_SECONDS = 30.0
CONNECTIONS = 768  # below 1024, the usual limit of open files


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
        """Whether only this machine can connect. Raises SeesayError: there is no such host."""
        hosts = (address[4][0].partition("%")[0] for address in self._addresses())
        return all(ipaddress.ip_address(host).is_loopback for host in hosts)

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
    """uvicorn's protocol with limits on clients that stall, and with errors in JSON.

    Closes connections beyond `CONNECTIONS`, those that have not sent the head of a request
    `HEADER_SECONDS` after they opened or after the last answer, and those that do not read an answer
    for `READ_SECONDS`. uvicorn itself waits forever for the rest of a request's head, and for readers.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.close()
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head_timer, self._read_timer):
            if timer:
                timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._await_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._read_timer = self.loop.call_later(READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._read_timer:
            self._read_timer.cancel()

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # an answer is on its way
            self.transport.close()
            return
        error = {"message": msg, "type": "invalid_request_error", "code": "bad_http", "param": None}
        headers = [("content-type", "application/json"), ("connection", "close")]
        events = [
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=json.dumps({"error": error}).encode()),
            h11.EndOfMessage(),
        ]
        for event in events:
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _await_head(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
        self._head_timer = self.loop.call_later(HEADER_SECONDS, self._close_unless_busy)

    def _close_unless_busy(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


class Server(uvicorn.Server):
    """uvicorn's server, which a second Ctrl-C ends at once and quietly."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit and sig == signal.SIGINT:  # worker threads cannot be interrupted
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        super().handle_exit(sig, frame)


def serve(
    model: CaptionModel,
    settings: Settings,
    place: Place,
    *,
    log_json: bool = False,
    browser: str | None = None,
) -> None:
    """Serve until Ctrl-C or SIGTERM, then finish the requests that are being answered.

    Args:
        model: opened with one thread.
        settings: of the server.
        place: where to listen.
        log_json: write the log as JSON lines.
        browser: fragment of the page to open in the browser, "" for none; None opens nothing.

    Raises:
        SeesayError: it cannot listen there.
    """
    with place.listen() as listener:
        log = logger(log_json)
        app = create_app(model, settings, log)
        model.caption(np.zeros((64, 64, 3), np.uint8))  # the first call is slower than the others
        config = uvicorn.Config(
            app,
            http=ImpatientProtocol,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_graceful_shutdown=int(settings.limits.seconds) + 1,
        )
        url = address_of(place, listener.getsockname()[1])
        private = f"{url}#token={settings.access.token}" if settings.access.token else url
        if log_json:
            log.info("listening", extra={"details": {"address": url}})
        else:  # a log may be read by others than those who have the token
            print(f"seesay: {private if sys.stderr.isatty() else url}\nCtrl-C stops it", file=sys.stderr, flush=True)
        if browser is not None:
            joined = f"{private}{'&' if '#' in private else '#'}{browser}".rstrip("#")
            threading.Timer(0.5, webbrowser.open, (joined,)).start()
        with _quiet_end():
            Server(config).run(sockets=[listener])


def address_of(place: Place, port: int) -> str:
    """The URL to open in a browser on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(place.host, place.host)
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    return f"http://{host}:{port}/"


@contextmanager
def _quiet_end() -> Iterator[None]:
    """uvicorn raises the signal that stopped it again; here that is a normal end."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
