"""The speed of `seesay serve`, next to the same photos captioned as a folder in the same run."""

from __future__ import annotations

import http.client
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO

from seesay.bench.timing import Figure, figure, interleaved, rates
from seesay.errors import SeesayError
from seesay.runtime import CaptionModel
from seesay.runtime.device import Wanted
from seesay.runtime.sessions import Precision

CLIENTS = (1, 8, 32)  # each sends its next photo when it has the answer to the last
BOUNDARY = "seesay-bench"
START_SECONDS = 60


def serving(
    model: CaptionModel,
    photos: Sequence[Path],
    repeats: int,
    name: str | None = None,
    precision: Precision = "auto",
    device: Wanted = "cpu",
) -> Iterator[Figure]:
    """Requests a second, and their latency, for several numbers of clients; each request has one photo.

    Server and clients share the cores that the folder run has for itself.

    Raises:
        SeesayError: the server does not start, or answers with an error.
    """
    bodies = [_form(photo) for photo in photos]
    taken: dict[int, list[list[float]]] = {clients: [] for clients in CLIENTS}
    with _server(name, precision, device) as port:

        def run(clients: int) -> Callable[[], object]:
            return lambda: taken[clients].append(ask_all(port, bodies, clients))

        tasks = {f"clients_{clients}": run(clients) for clients in CLIENTS}
        tasks["folder"] = lambda: list(model.caption_many(photos))
        interleaved(1, **tasks)  # the first run allocates
        for each in taken.values():
            each.clear()
        seconds = interleaved(repeats, **tasks)
    folder = rates(len(photos), seconds["folder"])
    for clients in CLIENTS:
        speeds = rates(len(photos), seconds[f"clients_{clients}"])
        what = f"{clients} client{'s' if clients > 1 else ''}"
        against = "photos/s of a folder"
        yield figure(f"serve.clients_{clients}", what, "requests/s", speeds, folder, against)
        for share, key in ((50, "p50"), (95, "p95")):
            values = [1000 * _percentile(each, share) for each in taken[clients]]
            yield figure(f"serve.clients_{clients}_{key}", f"{what}, {key}", "ms", values)


def ask_all(port: int, bodies: Sequence[bytes], clients: int) -> list[float]:
    """The seconds that each request took; the clients share the requests."""
    numbers = count()
    seconds: list[float] = []
    failed: list[str] = []

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        while (number := next(numbers)) < len(bodies) and not failed:
            started = time.perf_counter()
            connection.request("POST", "/v1/captions", bodies[number], headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status == 200:
                seconds.append(time.perf_counter() - started)
            else:
                failed.append(f"the server answered {answer.status}: {text[:200].decode()}")
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise SeesayError(failed[0])
    return seconds


@contextmanager
def _server(name: str | None, precision: Precision, device: Wanted) -> Iterator[int]:
    """A server in another process, on a free port."""
    command = [sys.executable, "-m", "seesay", "serve", "--port", "0"]
    command += ["--precision", precision, "--device", device, *(["--model", name] if name else [])]
    environment = {name: value for name, value in os.environ.items() if name != "SEESAY_TOKEN"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stderr
        log = threading.Thread(target=server.stderr.read)  # or its pipe fills up
        try:
            port = _port(server.stderr)
            log.start()
            _wait(port)
            yield port
        finally:
            server.terminate()
            if log.ident:
                log.join()


def _port(output: IO[str]) -> int:
    """The port in the address that the server prints."""
    for line in output:
        if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
            return int(found[1])
    raise SeesayError("the server did not start; run `seesay serve` to see why")


def _wait(port: int) -> None:
    """Wait until the server answers."""
    end = time.monotonic() + START_SECONDS
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
        try:
            connection.request("GET", "/ready")
            connection.getresponse().read()
            return
        except OSError:
            if time.monotonic() > end:
                raise SeesayError("the server does not answer") from None
            time.sleep(0.05)
        finally:
            connection.close()


def _form(photo: Path) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="photos"; filename="{photo.name}"'
    return f"{head}\r\n\r\n".encode() + photo.read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode()


def _percentile(values: Sequence[float], share: int) -> float:
    return statistics.quantiles(values, n=100)[share - 1] if len(values) > 1 else values[0]
