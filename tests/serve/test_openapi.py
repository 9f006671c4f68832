"""The OpenAPI document, and the server asked whatever it allows and forbids."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from serving import Client, listening, make_app


@pytest.fixture(scope="module")
def client(tiny_bundle: Path) -> Client:
    return Client(make_app(tiny_bundle))


@pytest.fixture(scope="module")
def document(client: Client) -> dict[str, Any]:
    return client.get("/openapi.json").json()


def test_every_path_and_refusal_is_documented(document: dict[str, Any]) -> None:
    paths = set(document["paths"])
    assert {"/v1/captions", "/v1/scores", "/v1/models", "/health", "/ready", "/metrics"} <= paths
    assert {"/v1/chat/completions", "/api/v1/vision/caption"} <= paths
    captions = document["paths"]["/v1/captions"]["post"]
    assert {"413", "415", "422", "429", "503"} <= set(captions["responses"])
    assert set(captions["requestBody"]["content"]) == {"application/json", "multipart/form-data"}


HOOKS = """
import schemathesis
from hypothesis import strategies
from serving import in_base64, picture

photos = strategies.sampled_from([in_base64(picture(seed)) for seed in range(2)])
schemathesis.openapi.format("byte", photos | strategies.binary(max_size=20).map(in_base64))
"""
# random bytes are no photos, so that many requests which the document allows are refused
EXCLUDED = "positive_data_acceptance"


@pytest.mark.slow
def test_no_request_finds_a_failure(client: Client, tmp_path: Path) -> None:
    """Whatever comes, the status, the type and the form of the answer are those documented."""
    pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    (tmp_path / "photo_hooks.py").write_text(HOOKS, encoding="utf-8")
    paths = [str(tmp_path), str(Path(__file__).parent), *sys.path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "SCHEMATHESIS_HOOKS": "photo_hooks"}
    with listening(client.app) as url:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--seed", "1"]
        command += ["--max-examples", "10", "--exclude-checks", EXCLUDED, "--no-color"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
