"""A server for tests: asked without a socket, or listening on one."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import seesay

pytest.importorskip("fastapi", reason="the extra serve is not installed")

import httpx
import uvicorn

from seesay.serve.app import Settings, create_app
from seesay.serve.guard import Access, Guard
from seesay.serve.limits import Limits
from seesay.serve.run import ImpatientProtocol

HERE = "http://localhost"


class Client:
    """Asks a server in this process; each request has an event loop of its own."""

    def __init__(self, app: Guard) -> None:
        self.app = app

    def __call__(self, method: str, path: str, **request: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url=HERE) as client:
                return await client.request(method, path, **request)

        return asyncio.run(ask())

    def get(self, path: str, **request: Any) -> httpx.Response:
        return self("GET", path, **request)

    def post(self, path: str, **request: Any) -> httpx.Response:
        return self("POST", path, **request)


def make_app(
    bundle: Path | str | None,
    access: Access | None = None,
    limits: Limits | None = None,
    min_confidence: float | None = None,
) -> Guard:
    """A server of a bundle with two workers, whose log nobody reads."""
    model = seesay.load(bundle, threads=1)
    log = logging.getLogger("seesay.test")
    log.setLevel(logging.INFO)
    settings = Settings(access or Access(), limits or Limits(), 2, min_confidence)
    return create_app(model, settings, log)


@contextmanager
def listening(app: Guard) -> Iterator[str]:
    """A real server on a free port; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, http=ImpatientProtocol, ws="none", log_config=None, access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def picture(seed: int = 0, kind: str = "JPEG", size: tuple[int, int] = (67, 53)) -> bytes:
    """The bytes of a small photo of noise."""
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def in_base64(photo: bytes) -> str:
    return base64.b64encode(photo).decode()


def data_url(photo: bytes, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64,{in_base64(photo)}"


def error_of(response: httpx.Response) -> tuple[int, str, str]:
    """Status, code and message of a refusal, which never shows what is inside."""
    assert "Traceback" not in response.text
    error = json.loads(response.text)["error"]
    return response.status_code, error["code"], error["message"]
