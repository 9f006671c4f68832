"""Behaviour under load: batches, full queues, clients that are slow, leave, or mean harm."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from serving import Client, error_of, in_base64, listening, make_app, picture

import seesay
from seesay.data.images import transform
from seesay.runtime import CaptionModel
from seesay.serve.batcher import Answer, Ask, BadPhoto, Batcher, Upload
from seesay.serve.guard import Access, Guard
from seesay.serve.limits import MIB, Limits, RefusedError

PHOTO = {"photos": [in_base64(picture())]}


class Gate:
    """Holds the workers until it is opened, and counts what they do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.entered, self.taken, self.asked = threading.Event(), threading.Event(), 0, 0
        of = Ask.of

        def wait(ask: Ask, model: CaptionModel, photos: list) -> list:
            self.taken += len(photos)
            self.entered.set()
            assert self.open.wait(30)
            self.asked += len(photos)
            return of(ask, model, photos)

        monkeypatch.setattr(Ask, "of", wait)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def uploads(number: int) -> list[Upload]:
    return [Upload(picture(seed), f"{seed}.jpg") for seed in range(number)]


def results_of(futures: list[Future[Answer | BadPhoto]]) -> list[str]:
    found = [future.result(30) for future in futures]
    return [each.captions[0].text for each in found if isinstance(each, Answer)]


def until(true: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_is_queued_is_captioned_in_batches(tiny_bundle: Path, gate: Gate) -> None:
    model, sizes = seesay.load(tiny_bundle, threads=1), []
    batcher = Batcher(model, 1, 100, sizes.append)
    first = batcher.submit(uploads(1), Ask())
    gate.entered.wait(30)
    others = [batcher.submit(uploads(3), Ask(beam=beam)) for beam in (1, 2) for _ in range(3)]
    gate.open.set()
    found = results_of([*first, *(future for each in others for future in each)])
    batcher.close()
    assert sizes[0] == 1 and max(sizes) == 16 and sum(sizes) == 19
    assert found[:1] + found[1:4] == [model.caption(picture(0)).text] + [
        model.caption(picture(seed), beam=1).text for seed in range(3)
    ]


def test_workers_share_what_is_queued(tiny_bundle: Path, gate: Gate) -> None:
    sizes: list[int] = []
    batcher = Batcher(seesay.load(tiny_bundle, threads=1), 2, 100, sizes.append)
    gate.open.set()
    until(lambda: batcher.idle == 2)
    results_of(batcher.submit(uploads(8), Ask()))
    batcher.close()
    assert len(sizes) >= 2 and max(sizes) <= 4


def test_a_full_queue_takes_all_photos_of_a_request_or_none(tiny_bundle: Path, gate: Gate) -> None:
    batcher = Batcher(seesay.load(tiny_bundle, threads=1), 1, 4)
    first = batcher.submit(uploads(1), Ask())
    gate.entered.wait(30)
    second = batcher.submit(uploads(3), Ask())
    with pytest.raises(RefusedError) as refused:
        batcher.submit(uploads(2), Ask())
    assert (refused.value.status, refused.value.code) == (429, "queue_full")
    assert refused.value.retry_after
    assert batcher.waiting == 3
    gate.open.set()
    assert len(results_of([*first, *second])) == 4
    batcher.close()


def test_what_is_queued_is_done_before_the_end(tiny_bundle: Path, gate: Gate) -> None:
    batcher = Batcher(seesay.load(tiny_bundle, threads=1), 1, 100)
    futures = batcher.submit(uploads(20), Ask())
    gate.open.set()
    batcher.close()
    assert all(future.done() for future in futures) and len(results_of(futures)) == 20
    with pytest.raises(RefusedError) as refused:
        batcher.submit(uploads(1), Ask())
    assert (refused.value.status, refused.value.code) == (503, "stopping")


def test_photos_that_nobody_waits_for_are_not_read(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that gives up on 16 huge photos would keep a worker busy for minutes."""
    opened: list[str | None] = []
    go_on = threading.Event()

    def wait(source: Any, **options: Any) -> Any:
        assert go_on.wait(30)
        picture = open_photo(source, **options)
        opened.append(source.name)
        return picture

    open_photo = transform.open_photo
    monkeypatch.setattr(transform, "open_photo", wait)
    batcher = Batcher(seesay.load(tiny_bundle, threads=1), 1, 100)
    futures = batcher.submit(uploads(8), Ask())
    until(lambda: not batcher.waiting)
    assert all(future.cancel() for future in futures[1:])
    go_on.set()
    assert results_of(futures[:1])
    batcher.close()
    assert opened == ["0.jpg"]


def test_one_request_cannot_spoil_the_batch_of_others(tiny_bundle: Path, gate: Gate) -> None:
    batcher = Batcher(seesay.load(tiny_bundle, threads=1), 1, 100)
    futures = batcher.submit(uploads(1), Ask(prefix="xylophone"))
    futures += batcher.submit([Upload(b"no photo", "x")], Ask())
    futures += batcher.submit(uploads(1), Ask())
    gate.open.set()
    with pytest.raises(ValueError, match="xylophone"):
        futures[0].result(30)
    bad = futures[1].result(30)
    assert isinstance(bad, BadPhoto) and bad.status == 415 and bad.image == "x"
    assert results_of(futures[2:])
    batcher.close()


def test_a_request_that_takes_too_long_is_given_up(tiny_bundle: Path, gate: Gate) -> None:
    app = make_app(tiny_bundle, limits=Limits(seconds=0.2))
    answer = Client(app).post("/v1/captions", json=PHOTO)
    assert error_of(answer)[:2] == (503, "timeout") and int(answer.headers["retry-after"]) > 0
    gate.open.set()


def test_a_full_queue_is_429(tiny_bundle: Path, gate: Gate) -> None:
    app = make_app(tiny_bundle, limits=Limits(waiting=1))
    answer = Client(app).post("/v1/captions", json={"photos": PHOTO["photos"] * 2})
    assert error_of(answer)[:2] == (429, "queue_full") and int(answer.headers["retry-after"]) > 0
    gate.open.set()


def test_the_bodies_of_all_requests_together_are_limited(tiny_bundle: Path) -> None:
    app = make_app(tiny_bundle, limits=Limits(memory_bytes=1000))
    answer = Client(app).post("/v1/captions", json=PHOTO)
    assert error_of(answer)[:2] == (503, "busy")
    assert app.memory.used == 0


class Raw:
    """A connection that sends bytes as it likes."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname and parts.port
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=30)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def close(self) -> None:
        self.socket.close()

    def answer(self) -> tuple[int, str]:
        """Status and body, until the server closes."""
        received = b""
        with self.socket:
            while block := self.socket.recv(2**16):
                received += block
        head, _, body = received.partition(b"\r\n\r\n")
        return int(head.split()[1]) if head else 0, body.decode()


HEAD = b"POST /v1/captions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


def test_a_client_that_leaves_costs_nothing_more(tiny_bundle: Path, gate: Gate) -> None:
    app = make_app(tiny_bundle)
    body = json.dumps(PHOTO).encode()
    request = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with listening(app) as url:
        busy = [Raw(url) for _ in range(2)]
        for number, connection in enumerate(busy, 1):
            connection.send(request)
            until(lambda number=number: gate.taken == number)  # by a worker each
        left = [Raw(url) for _ in range(4)]
        for connection in left:
            connection.send(request)
        until(lambda: app.open == 6)
        for connection in left:
            connection.close()
        until(lambda: app.open == 2)
        gate.open.set()
        until(lambda: app.open == 0)
        for connection in busy:
            connection.close()
    assert gate.asked == 2
    assert app.memory.used == 0


def test_slow_bodies_are_given_up(tiny_bundle: Path) -> None:
    with listening(make_app(tiny_bundle, limits=Limits(body_seconds=0.3))) as url:
        slow = Raw(url)
        slow.send(HEAD + b"Content-Length: 1000\r\n\r\n{")
        status, body = slow.answer()
    assert status == 408 and json.loads(body)["error"]["code"] == "too_slow"


def test_connections_that_send_no_whole_request_are_closed(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seesay.serve.run.HEADER_SECONDS", 0.3)
    with listening(make_app(tiny_bundle)) as url:
        silent, dripping, second = Raw(url), Raw(url), Raw(url)
        dripping.send(b"GET / HTTP/1.1\r\nHost: local")
        second.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /health HTTP/1.1\r\nHost: local")
        assert silent.answer() == (0, "") and dripping.answer() == (0, "")
        assert second.answer() == (200, '{"status":"ok"}')


def test_clients_that_do_not_read_their_answer_are_cut_off(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seesay.serve.run.READ_SECONDS", 0.3)
    app = make_app(tiny_bundle)
    with listening(app) as url:
        deaf = Raw(url)
        deaf.send(b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20)  # 1.5 MB each
        until(lambda: app.open > 0)
        until(lambda: app.open == 0)
        with deaf.socket:
            deaf.socket.settimeout(30)
            with pytest.raises(ConnectionResetError):
                while deaf.socket.recv(2**20):
                    pass
                raise ConnectionResetError  # closed before all was sent
        assert httpx.get(f"{url}/health").status_code == 200


def test_more_connections_than_it_has_room_for_are_closed(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seesay.serve.run.CONNECTIONS", 3)
    with listening(make_app(tiny_bundle)) as url:
        kept = [Raw(url) for _ in range(3)]
        assert Raw(url).answer() == (0, "")
        kept[0].send(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert kept[0].answer()[0] == 200
        for connection in kept[1:]:
            connection.close()


def test_what_is_not_http_is_refused_in_json(tiny_bundle: Path) -> None:
    with listening(make_app(tiny_bundle)) as url:
        tls = Raw(url)
        tls.send(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
        status, body = tls.answer()
    assert status == 400 and json.loads(body)["error"]["code"] == "bad_http"


def test_floods_of_headers_are_refused(tiny_bundle: Path) -> None:
    with listening(make_app(tiny_bundle)) as url:
        flood = Raw(url)
        try:
            flood.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X-A: b\r\n" * 100_000)
            status, body = flood.answer()
        except ConnectionError:  # closed while we send
            flood.close()
            return
    assert status == 400 and "Traceback" not in body


def test_a_huge_body_is_refused_in_words_and_takes_no_memory(tiny_bundle: Path) -> None:
    app = make_app(tiny_bundle, limits=Limits(body_bytes=MIB))

    async def ask(url: str) -> list[httpx.Response]:
        def body(blocks: int):
            async def send():
                for _ in range(blocks):
                    yield b"\0" * 2**18

            return send()

        async with httpx.AsyncClient() as client:
            told = {"content-length": str(3 * MIB), "content-type": "application/json"}
            untold = {"content-type": "application/json"}
            return [
                await client.post(f"{url}/v1/captions", content=body(12), headers=headers) for headers in (told, untold)
            ]

    with listening(app) as url:
        for answer in asyncio.run(ask(url)):
            assert error_of(answer)[:2] == (413, "too_large")
    assert app.memory.used == 0


def test_large_photos_never_touch_the_disk(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A form's file of more than a megabyte would go to a temporary file by default."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a temporary file")

    monkeypatch.setattr("tempfile.TemporaryFile", fail)
    photo = picture(size=(900, 700), kind="BMP")
    assert len(photo) > MIB
    answer = Client(make_app(tiny_bundle)).post("/v1/captions", files={"photos": ("a", photo)})
    assert answer.status_code == 200


def test_the_server_finishes_what_it_has(tiny_bundle: Path, gate: Gate) -> None:
    app: Guard = make_app(tiny_bundle, Access())
    answers: list[httpx.Response] = []
    with listening(app) as url:

        def ask() -> None:
            answers.append(httpx.post(f"{url}/v1/captions", json=PHOTO, timeout=30))

        asking = threading.Thread(target=ask)
        asking.start()
        assert gate.entered.wait(30)
        threading.Timer(0.3, gate.open.set).start()  # after the server was told to stop
    asking.join()
    assert [answer.status_code for answer in answers] == [200]
