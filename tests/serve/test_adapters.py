"""Programs of others: PhotoPrism by its own bytes, OpenAI's API by its own client."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pydantic
import pytest
from serving import Client, data_url, error_of, listening, make_app, picture

import seesay
from seesay.serve.batcher import Ask
from seesay.serve.guard import Access
from seesay.serve.schemas import filled

openai = pytest.importorskip("openai", reason="the client of OpenAI is not installed")


@pytest.fixture(scope="module")
def client(tiny_bundle: Path) -> Client:
    return Client(make_app(tiny_bundle))


# --- PhotoPrism ------------------------------------------------------------------------------------


def photoprism(photo: bytes, **other: Any) -> dict[str, Any]:
    """An ApiRequest as Go's encoding/json writes it: fields without omitempty are always there."""
    request = {
        "id": "b0a1d6f0-0b0f-4a5e-9f43-3f0f8b6fd0f1",
        "model": "seesay:latest",
        "version": "latest",
        "prompt": "Create a caption with exactly one sentence in the active voice.",
        "suffix": "",
        "options": {"temperature": 0.1, "num_ctx": 4096, "stop": ["\n"]},
        "stream": False,
        "images": [data_url(photo)],
    }
    return {**request, **other}


def test_photoprism_gets_its_caption(client: Client, tiny_bundle: Path) -> None:
    photo = picture(1)
    headers = {"content-type": "application/json"}
    body = json.dumps(photoprism(photo), separators=(",", ":"))
    answer = client.post("/api/v1/vision/caption", content=body, headers=headers)
    expected = seesay.load(tiny_bundle).caption(photo)
    mean = sum(word.logprob for word in expected.words) / len(expected.words)
    assert answer.status_code == 200
    said = answer.json()
    assert said["id"] == photoprism(photo)["id"] and said["code"] == 200
    assert said["model"]["name"] == "tiny"
    assert said["result"]["caption"]["text"] == expected.text
    assert said["result"]["caption"]["confidence"] == pytest.approx(math.exp(mean), abs=1e-3)


def test_photoprism_gets_the_confidence_of_a_calibrated_model(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    of = Ask.of

    def trusted(ask: Ask, model: Any, photos: Any) -> Any:
        more = {"confidence": 0.25, "kind": kind, "photo_probability": 0.5, "withheld": kind != "photo"}
        found = of(ask, model, photos)
        return [[replace(each, **more) for each in captions] for captions in found if isinstance(captions, list)]

    monkeypatch.setattr(Ask, "of", trusted)
    kind = "photo"
    answer = client.post("/api/v1/vision/caption", json=photoprism(picture()))
    assert answer.json()["result"]["caption"]["confidence"] == 0.25
    kind = "chart"
    refused = client.post("/api/v1/vision/caption", json=photoprism(picture()))
    assert (refused.status_code, refused.json()["error"]) == (422, "not a photo (chart)")
    said = client.post("/v1/chat/completions", json={"messages": message(picture())}).json()
    assert said["choices"][0]["message"]["content"] == "not a photo (chart)"


BAD_VISION: dict[str, tuple[int, str, dict[str, Any]]] = {
    "a link": (422, "nothing is fetched", {"url": "https://photoprism.lan/api/v1/dl/x"}),
    "a link among the images": (422, "not fetched", {"images": ["https://photoprism.lan/x"]}),
    "no images": (422, "images", {"images": []}),
    "a file that PhotoPrism could not read": (422, "images", {"images": [""]}),
    "no photo": (415, "not a picture", {"images": [data_url(b"x")]}),
    "a number": (422, "images", {"images": 3}),
}


@pytest.mark.parametrize("case", BAD_VISION)
def test_photoprism_gets_errors_that_it_can_read(client: Client, case: str) -> None:
    """Its ApiResponse has the error as a text, and reads the code."""
    status, reason, other = BAD_VISION[case]
    answer = client.post("/api/v1/vision/caption", json=photoprism(picture(), **other))
    said = answer.json()
    assert (answer.status_code, said["code"]) == (status, status)
    assert reason in said["error"] and said["result"] == {}


def test_photoprism_has_a_key(tiny_bundle: Path) -> None:
    client = Client(make_app(tiny_bundle, Access("s3cret")))
    refused = client.post("/api/v1/vision/caption", json=photoprism(picture()))
    assert refused.status_code == 401 and "token" in refused.json()["error"]
    key = {"authorization": "Bearer s3cret"}
    answer = client.post("/api/v1/vision/caption", json=photoprism(picture()), headers=key)
    assert answer.status_code == 200


# --- OpenAI ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ai(tiny_bundle: Path) -> Iterator[Any]:
    with (
        listening(make_app(tiny_bundle, Access("s3cret"))) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="s3cret", max_retries=0) as client,
    ):
        yield client


def message(*photos: bytes, text: str = "What is in this picture?") -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}]
    parts += [{"type": "image_url", "image_url": {"url": data_url(photo)}} for photo in photos]
    return [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": parts},
    ]


def test_the_client_of_openai_gets_the_caption(ai: Any, tiny_bundle: Path) -> None:
    photo = picture(2)
    answer = ai.chat.completions.create(model="gpt-4o-mini", messages=message(photo), temperature=0.7, max_tokens=100)
    [choice] = answer.choices
    assert choice.message.content == seesay.load(tiny_bundle).caption(photo).text
    assert (choice.finish_reason, answer.model) == ("stop", "tiny")
    assert answer.ignored == ["model", "prompt", "max_tokens", "temperature"]
    assert answer.usage.total_tokens == len(choice.message.content.split())


def test_several_choices_photos_and_logprobs(ai: Any, tiny_bundle: Path) -> None:
    model, photos = seesay.load(tiny_bundle), [picture(3), picture(4)]
    answer = ai.chat.completions.create(model="tiny", messages=message(*photos), n=2, logprobs=True)
    best = [model.alternatives(photo, 2) for photo in photos]
    for n, choice in enumerate(answer.choices):
        assert choice.message.content == "\n".join(each[n].text for each in best)
        words = [word for each in best for word in each[n].words]
        assert [token.token for token in choice.logprobs.content] == [word.text for word in words]
        found = [token.logprob for token in choice.logprobs.content]
        assert found == pytest.approx([word.logprob for word in words], abs=1e-3)
    assert answer.ignored == ["prompt"]


def test_a_stream(ai: Any, tiny_bundle: Path) -> None:
    photo = picture(5)
    stream = ai.chat.completions.create(model="tiny", messages=message(photo), stream=True)
    chunks = list(stream)
    said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert said == seesay.load(tiny_bundle).caption(photo).text
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"


def test_json_for_programs_that_read_json(ai: Any, tiny_bundle: Path) -> None:
    """As LrGeniusAI asks for the metadata of a photo."""
    schema = {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "caption": {"type": "string"},
            "keywords": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["title", "caption"],
    }
    wanted = {
        "type": "json_schema",
        "json_schema": {"name": "metadata_response", "schema": schema},
    }
    photo = picture(6)
    answer = ai.chat.completions.create(model="tiny", messages=message(photo), response_format=wanted)
    text = seesay.load(tiny_bundle).caption(photo).text
    found = json.loads(answer.choices[0].message.content)
    assert found == {"title": text, "caption": text, "keywords": []}


class Place(pydantic.BaseModel):
    name: str
    kind: Literal["indoors", "outdoors"]


class Described(pydantic.BaseModel):
    """As programs describe what they want: nested, optional, with choices."""

    alt_text: str | None
    keywords: list[str]
    place: Place
    other: Place | None
    rating: float


def test_an_answer_that_pydantic_reads(ai: Any, tiny_bundle: Path) -> None:
    photo = picture(7)
    answer = ai.chat.completions.parse(model="tiny", messages=message(photo), response_format=Described)
    found = answer.choices[0].message.parsed
    place = Place(name="", kind="indoors")
    text = seesay.load(tiny_bundle).caption(photo).text
    assert found == Described(alt_text=text, keywords=[], place=place, other=place, rating=0)


def test_names_that_no_header_can_hold_are_not_listed(ai: Any) -> None:
    hi = [{"role": "user", "content": "Hi"}]
    odd = {"": 1, " ": 1, "a\r\nb": 1, "é": 1, "x" * 41: 1, "top_k": 1}
    answer = ai.chat.completions.create(model="tiny", messages=hi, extra_body=odd)
    assert answer.ignored == ["prompt", "top_k"]


def test_a_conversation_without_a_photo(ai: Any) -> None:
    """Home Assistant's LLM Vision says "Hi" to see whether the server is there."""
    hi = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    answer = ai.chat.completions.create(model="tiny", messages=hi)
    assert "data URL" in answer.choices[0].message.content


def test_the_models(ai: Any) -> None:
    assert [model.id for model in ai.models.list()] == ["tiny"]
    assert ai.models.retrieve("tiny").owned_by == "seesay"
    with pytest.raises(openai.NotFoundError):
        ai.models.retrieve("gpt-4o")


def test_errors_reach_the_client_as_its_own(ai: Any, tiny_bundle: Path) -> None:
    link = message(picture())
    link[1]["content"][1]["image_url"]["url"] = "https://example.org/a.jpg"
    with pytest.raises(openai.UnprocessableEntityError, match="not fetched"):
        ai.chat.completions.create(model="tiny", messages=link)
    with pytest.raises(openai.AuthenticationError, match="token"):
        ai.with_options(api_key="wrong").models.list()
    with pytest.raises(openai.APIStatusError, match="not a picture"):
        ai.chat.completions.create(model="tiny", messages=message(b"no photo"))


BAD_CHAT: list[Any] = [
    {},
    {"messages": []},
    {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "a.jpg"}]}]},
    {"messages": [{"role": "user", "content": "hi"}], "n": 0},
]


@pytest.mark.parametrize("body", BAD_CHAT)
def test_requests_that_cannot_be(client: Client, body: Any) -> None:
    assert error_of(client.post("/v1/chat/completions", json=body))[0] == 422


def test_any_schema_is_filled() -> None:
    inner = {"type": "object", "properties": {"alt_text": {"type": ["string", "null"]}}}
    schema = {
        "properties": {
            "photo": inner,
            "place": {"type": "string"},
            "kind": {"enum": ["indoor", "outdoor"]},
            "people": {"type": "integer"},
            "odd": True,
        }
    }
    found = filled(schema, "a dog")
    expected = {"photo": {"alt_text": "a dog"}, "place": "", "kind": "indoor", "people": 0}
    assert found == {**expected, "odd": ""}
    assert filled(None, "a dog") == {"caption": "a dog"}
    endless: dict[str, Any] = {"type": "object", "properties": {}}
    endless["properties"]["self"] = endless
    assert json.dumps(filled(endless, "a dog"))
    circle = {"properties": {"text": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}}
    assert filled(circle, "a dog") == {"text": "a dog"}
    wide: dict[str, Any] = {"type": "object"}
    wide["properties"] = {str(n): {"$ref": "#"} for n in range(10)}
    assert len(json.dumps(filled(wide, "a dog"))) < 20_000
