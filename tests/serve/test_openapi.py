"""The OpenAPI document, and the server asked whatever it allows and forbids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from serving import Client, in_base64, make_app, picture

from seesay.serve.guard import Access

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
from hypothesis import HealthCheck, settings, strategies  # noqa: E402

EXAMPLES = 15
SLOW_AND_LARGE: Any = list(HealthCheck)  # as requests with photos are


@pytest.fixture(scope="module")
def client(tiny_bundle: Path) -> Client:
    return Client(make_app(tiny_bundle, Access(hosts=("*",))))  # schemathesis calls it by names of its own


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


PHOTOS = [in_base64(picture(seed)) for seed in range(2)]
schemathesis.openapi.format("byte", strategies.sampled_from(PHOTOS) | strategies.binary(max_size=20).map(in_base64))


@pytest.fixture(scope="module")
def schema(client: Client) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", client.app)


served = schemathesis.pytest.from_fixture("schema")


@pytest.mark.slow
@served.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=SLOW_AND_LARGE,
)
def test_no_request_finds_a_failure(case: Any) -> None:
    """Whatever comes, the status, the type and the form of the answer are those documented."""
    refused = schemathesis.checks.positive_data_acceptance  # random bytes are no photos
    unsupported = schemathesis.checks.unsupported_method
    case.call_and_validate(excluded_checks=[refused, unsupported])
