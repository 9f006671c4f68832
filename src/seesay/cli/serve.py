"""`seesay serve`: the options, checked, and the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from seesay.cli.load_model import load_model
from seesay.errors import SeesayError, shown
from seesay.serve.app import Settings
from seesay.serve.guard import Access
from seesay.serve.limits import MIB, Limits
from seesay.serve.run import Place, serve

if TYPE_CHECKING:
    from seesay.runtime.device import Wanted
    from seesay.runtime.sessions import Precision


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """The options of `seesay serve`.

    Attributes:
        host, port: where to listen; port 0 picks a free one.
        model: bundle folder, packaged name, or None for the packaged default.
        token: that clients must send, if any.
        insecure: let other machines connect without a token.
        hosts: names of this server beside localhost, `host` and IP addresses.
        origins: sites whose pages may use this server.
        max_mb, max_photos: of one request.
        queue: the most photos in the queue.
        timeout: seconds after which a request is given up.
        min_confidence: captions below it are withheld, unless a request gives its own; None: none are.
        log_json: write the log as JSON lines.
        browser: fragment of the page to open, "" for none; None opens nothing.
        precision, threads, device: as for `seesay.load`.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    model: str | None = None
    token: str | None = None
    insecure: bool = False
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    max_mb: int = 64
    max_photos: int = 32
    queue: int = 256
    timeout: float = 30
    min_confidence: float | None = None
    log_json: bool = False
    browser: str | None = None
    precision: Precision = "auto"
    threads: int | None = None
    device: Wanted = "cpu"


def run_server(options: ServeOptions) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Raises:
        SeesayError: the options are not safe, or it cannot listen there.
        BundleError: no such model, or with `min_confidence` one that was not calibrated.
    """
    place = Place(options.host, options.port)
    check_safe(options, place)
    limits = Limits(
        body_bytes=options.max_mb * MIB,
        memory_bytes=max(Limits.memory_bytes, 4 * options.max_mb * MIB),
        photos=options.max_photos,
        waiting=max(options.queue, options.max_photos),
        seconds=options.timeout,
    )
    access = Access(options.token, (*options.hosts, options.host), options.origins)
    model = load_model(options.model, 1, options.precision, options.device)
    if options.min_confidence is not None:
        model.require_confidence()
    settings = Settings(access, limits, options.threads, options.min_confidence)
    serve(model, settings, place, log_json=options.log_json, browser=options.browser)


def check_safe(options: ServeOptions, place: Place) -> None:
    """Raise SeesayError if other machines could connect without a token, or for invalid options."""
    token = options.token
    if token is not None and not (token and token.isascii() and token.isprintable() and " " not in token):
        raise SeesayError("--token: expected ASCII letters, digits and punctuation without spaces")
    if token is None and not options.insecure and not place.is_loopback:
        raise SeesayError(
            f"--host {options.host}: other machines could use this server; set a --token, or give --insecure "
            "if everyone who can reach it may use it"
        )
    for origin in options.origins:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path:
            raise SeesayError(f"--allow-origin {shown(origin)}: expected a site such as https://example.org")
