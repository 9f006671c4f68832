"""Who may ask, what every answer has, and what the log says."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from serving import Client, error_of, in_base64, make_app, picture

from seesay.serve.guard import Access
from seesay.serve.limits import Limits
from seesay.serve.monitor import AsJson, AsText

PHOTO = {"photos": [in_base64(picture())]}


@pytest.fixture(scope="module")
def client(tiny_bundle: Path) -> Client:
    return Client(make_app(tiny_bundle))


@pytest.fixture(scope="module")
def guarded(tiny_bundle: Path) -> Client:
    access = Access("s3cret", ("photos.lan",), ("https://example.org",))
    return Client(make_app(tiny_bundle, access))


HOSTS = {
    "localhost": True,
    "localhost:8000": True,
    "127.0.0.1:8000": True,
    "[::1]:8000": True,
    "192.168.1.7": True,
    "photos.lan:8000": True,
    "PHOTOS.lan": True,
    "evil.example": False,
    "localhost.evil.example": False,
    "127.0.0.1.evil.example": False,
    "localhost@evil.example": False,
    "evil.example#localhost": False,
    "": False,
    "[": False,
}


@pytest.mark.parametrize("host", HOSTS)
def test_only_names_of_this_server_are_answered(guarded: Client, host: str) -> None:
    """A page of evil.example whose name leads here (DNS rebinding) sends its own name."""
    answer = guarded.get("/health", headers={"host": host})
    assert (answer.status_code == 200) == HOSTS[host]
    if not HOSTS[host]:
        assert error_of(answer)[:2] == (421, "host")


def test_any_name_where_the_owner_says_so(tiny_bundle: Path) -> None:
    client = Client(make_app(tiny_bundle, Access(hosts=("*",))))
    assert client.get("/health", headers={"host": "anything.example"}).status_code == 200


def test_pages_of_other_origins_may_not_ask(client: Client, guarded: Client) -> None:
    own = {"origin": "http://localhost:8000", "host": "localhost:8000"}
    assert client.post("/v1/captions", json=PHOTO, headers=own).status_code == 200
    for origin in ("http://evil.example", "null", "http://localhost:3000", "http://[::1", "localhost:8000", ""):
        answer = client.post("/v1/captions", json=PHOTO, headers={**own, "origin": origin})
        assert error_of(answer)[:2] == (403, "origin")
    assert "access-control-allow-origin" not in client.get("/health", headers=own).headers

    friend = {"origin": "https://example.org", "authorization": "Bearer s3cret"}
    answer = guarded.post("/v1/captions", json=PHOTO, headers=friend)
    assert answer.headers["access-control-allow-origin"] == "https://example.org"
    asked = {"origin": "https://example.org", "access-control-request-method": "POST"}
    asked["access-control-request-headers"] = "authorization"
    preflight = guarded("OPTIONS", "/v1/captions", headers=asked)
    assert preflight.status_code == 200
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()


def test_the_token(guarded: Client) -> None:
    for path in ("/v1/models", "/metrics"):
        refused = guarded.get(path)
        assert error_of(refused)[:2] == (401, "token")
        assert refused.headers["www-authenticate"] == "Bearer"
        wrong = guarded.get(path, headers={"authorization": "Bearer s3cre"})
        assert error_of(wrong)[:2] == (401, "token")
        assert guarded.get(path, headers={"authorization": "bearer s3cret"}).status_code == 200
    asked = guarded.post("/v1/captions", json=PHOTO, headers={"authorization": "Basic s3cret"})
    assert error_of(asked)[:2] == (401, "token")
    for path in ("/", "/app.js", "/health", "/ready", "/docs", "/openapi.json"):
        assert guarded.get(path).status_code == 200
    assert "securitySchemes" in guarded.get("/openapi.json").json()["components"]  # Swagger UI asks


def test_every_answer_has_the_security_headers(client: Client) -> None:
    for path in ("/", "/health", "/nothing", "/v1/captions", "/docs"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self';" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] in ("no-store", "no-cache")


def test_a_failure_of_the_server_shows_nothing(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a secret of the server")

    app = make_app(tiny_bundle)
    monkeypatch.setattr("seesay.serve.batcher.Ask.of", fail)
    answer = Client(app).post("/v1/captions", json=PHOTO)
    assert error_of(answer)[:2] == (500, "internal")
    assert "secret" not in answer.text
    assert "a secret of the server" in caplog.text


def test_too_many_requests_at_once(tiny_bundle: Path) -> None:
    client = Client(make_app(tiny_bundle, limits=Limits(requests=0)))
    answer = client.get("/health")
    assert error_of(answer)[:2] == (503, "busy") and int(answer.headers["retry-after"]) > 0


def test_the_log_has_no_photo_and_no_caption(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "seesay.test")
    files = {"photos": ("holiday of a friend.jpg", picture())}
    answer = client.post("/v1/captions?secret=1", files=files)
    [record] = caplog.records
    details = vars(record)["details"]
    assert details["path"] == "/v1/captions" and details["status"] == 200
    for lines in (AsText().format(record), AsJson().format(record)):
        assert "\n" not in lines
        assert "holiday" not in lines and "secret" not in lines
        assert answer.json()["results"][0]["caption"] not in lines
    assert json.loads(AsJson().format(record))["status"] == 200


def test_a_path_cannot_forge_a_line_of_the_log(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "seesay.test")
    client.get("/a%0Arequest%20status=200%1b[2J")
    assert "\n" not in AsText().format(caplog.records[0])
    assert "\x1b" not in AsText().format(caplog.records[0])
