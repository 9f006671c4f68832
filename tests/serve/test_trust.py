"""How far to trust captions, in each format that the server answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli
from serving import Client, data_url, error_of, in_base64, make_app, picture

import seesay

CAPTIONS, CHAT, PHOTOPRISM = "/v1/captions", "/v1/chat/completions", "/api/v1/vision/caption"
PHOTO = picture(1)


@pytest.fixture(scope="module")
def client(calibrated_bundle: Path) -> Client:
    return Client(make_app(calibrated_bundle))


def chat(**options: Any) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": data_url(PHOTO)}}]
    return {"model": "tiny", "messages": [{"role": "user", "content": parts}], **options}


def test_unsure_captions_are_withheld_with_their_sentence(client: Client, calibrated_bundle: Path) -> None:
    caption = seesay.load(calibrated_bundle).caption(PHOTO)
    assert caption.confidence is not None
    form = {"files": {"photos": ("p.jpg", PHOTO)}, "data": {"min_confidence": "1"}}
    [by_form] = client.post(CAPTIONS, **form).json()["results"]
    [by_json] = client.post(CAPTIONS, json={"photos": [in_base64(PHOTO)], "min_confidence": 1}).json()["results"]
    for result in (by_form, by_json):
        assert (result["caption"], result["withheld"], result["kind"]) == (caption.text, True, caption.kind)
        assert result["confidence"] == pytest.approx(caption.confidence, abs=1e-3)
        assert 0 <= result["photo_probability"] <= 1
    ask = {"photos": [in_base64(PHOTO)], "min_confidence": 0, "alternatives": 2}
    [result] = client.post(CAPTIONS, json=ask).json()["results"]
    assert [each["withheld"] for each in result["alternatives"]] == [False, False]
    assert result["confidence"] == result["alternatives"][0]["confidence"]


def test_cautious_captions_are_those_of_the_model(client: Client, calibrated_bundle: Path) -> None:
    expected = seesay.load(calibrated_bundle).caption(PHOTO, cautious=True).text
    [result] = client.post(CAPTIONS, json={"photos": [in_base64(PHOTO)], "cautious": True}).json()["results"]
    assert result["caption"] == expected
    said = client.post(CHAT, json=chat(cautious=True)).json()
    assert said["choices"][0]["message"]["content"] == expected
    said = client.post(f"{PHOTOPRISM}?cautious=true", json={"images": [data_url(PHOTO)]}).json()
    assert said["result"]["caption"]["text"] == expected


def test_the_likeliest_sentences(client: Client, calibrated_bundle: Path) -> None:
    model = seesay.load(calibrated_bundle)
    photos = [picture(number) for number in range(6)]
    for likeliest in (False, True):
        ask = {"photos": [*map(in_base64, photos)], "likeliest": likeliest}
        said = [result["caption"] for result in client.post(CAPTIONS, json=ask).json()["results"]]
        assert said == [model.caption(photo, likeliest=likeliest).text for photo in photos]
    for other in ({"cautious": True}, {"sample": 2}):
        refused = client.post(CAPTIONS, json={"photos": [in_base64(PHOTO)], "likeliest": True, **other})
        assert error_of(refused) == (422, "invalid", "likeliest: expected neither cautious nor sample")


def test_chat_completions_say_why_a_caption_is_withheld(client: Client, calibrated_bundle: Path) -> None:
    caption = seesay.load(calibrated_bundle).caption(PHOTO).withhold(1)
    said = client.post(CHAT, json=chat(min_confidence=1)).json()
    [choice] = said["choices"]
    assert choice["message"]["content"] == caption.shown != caption.text
    [known] = choice["captions"]
    assert (known["caption"], known["withheld"], known["kind"]) == (caption.text, True, caption.kind)
    assert said["ignored"] == []
    wanted = {"type": "json_schema", "json_schema": {"schema": {"properties": {"alt_text": {"type": "string"}}}}}
    said = client.post(CHAT, json=chat(min_confidence=1, response_format=wanted)).json()
    assert json.loads(said["choices"][0]["message"]["content"]) == {"alt_text": caption.shown}
    events = client.post(CHAT, json=chat(min_confidence=1, stream=True)).text.split("\n\n")
    [streamed] = json.loads(events[0].removeprefix("data: "))["choices"]
    assert streamed["captions"] == choice["captions"] and streamed["delta"]["content"] == caption.shown


def test_photoprism_gets_no_caption_that_is_withheld(client: Client) -> None:
    refused = client.post(f"{PHOTOPRISM}?min_confidence=1", json={"images": [data_url(PHOTO)]})
    assert (refused.status_code, refused.json()["code"]) == (422, 422)
    assert refused.json()["error"] == "not sure"
    refused = client.post(f"{PHOTOPRISM}?min_confidnce=1", json={"images": [data_url(PHOTO)]})
    assert refused.status_code == 422 and "min_confidnce" in refused.json()["error"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"min_confidence": 1.5}, "min_confidence: input should be less than or equal to 1"),
        ({"min_confidence": "high"}, "min_confidence: input should be a valid number"),
        ({"cautious": "maybe"}, "cautious: input should be a valid boolean"),
        ({"cautious": True, "alternatives": 2}, "cautious: gives one caption"),
        ({"cautious": True, "sample": 2}, "cautious: gives one caption"),
    ],
)
def test_wrong_options(client: Client, options: dict[str, Any], said: str) -> None:
    status, code, message = error_of(client.post(CAPTIONS, json={"photos": [in_base64(PHOTO)], **options}))
    assert (status, code) == (422, "invalid") and said in message


def test_several_cautious_choices_are_refused(client: Client) -> None:
    assert "expected n=1, got 2" in error_of(client.post(CHAT, json=chat(cautious=True, n=2)))[2]


def test_a_model_without_confidence_refuses_what_needs_it(tiny_bundle: Path) -> None:
    client = Client(make_app(tiny_bundle))
    said = "was not calibrated"
    for options in ({"min_confidence": 0.5}, {"cautious": True}):
        status, code, message = error_of(client.post(CAPTIONS, json={"photos": [in_base64(PHOTO)], **options}))
        assert (status, code) == (422, "invalid") and said in message and str(tiny_bundle) not in message
        assert said in error_of(client.post(CHAT, json=chat(**options)))[2]
        refused = client.post(PHOTOPRISM, params=options, json={"images": [data_url(PHOTO)]})
        assert refused.status_code == 422 and said in refused.json()["error"]
    [result] = client.post(CAPTIONS, json={"photos": [in_base64(PHOTO)]}).json()["results"]
    assert "confidence" not in result


def test_the_schema_describes_the_options(client: Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for kind in ("multipart/form-data", "application/json"):
        known = paths[CAPTIONS]["post"]["requestBody"]["content"][kind]["schema"]["properties"]
        assert known["cautious"]["type"] == "boolean" and known["min_confidence"]["description"]
    known = paths[CHAT]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert {"cautious", "min_confidence"} <= known.keys()
    named = [parameter["name"] for parameter in paths[PHOTOPRISM]["post"]["parameters"]]
    assert named == ["min_confidence", "cautious"]


def test_figures_and_pages_take_the_options(client: Client) -> None:
    page = client.post("/v1/pages", json={"photos": [in_base64(PHOTO)], "min_confidence": 1})
    assert page.status_code == 200 and 'alt="not sure"' in page.text and "% sure" in page.text
    figure = client.post("/v1/figures", json={"photos": [in_base64(PHOTO)], "cautious": True})
    assert figure.headers["content-type"] == "image/png"


def test_the_server_has_a_least_confidence_of_its_own(calibrated_bundle: Path) -> None:
    client = Client(make_app(calibrated_bundle, min_confidence=1))
    photo = in_base64(PHOTO)
    for options, withheld in (({}, True), ({"min_confidence": 0}, False)):
        [result] = client.post(CAPTIONS, json={"photos": [photo], **options}).json()["results"]
        assert result["withheld"] is withheld
    assert client.post(CHAT, json=chat()).json()["choices"][0]["captions"][0]["withheld"] is True
    [scored] = client.post("/v1/scores", json={"photos": [photo], "text": "a dog"}).json()["results"]
    assert scored["withheld"] is (scored["kind"] != "photo"), "a given sentence is not withheld for its confidence"


def test_a_server_needs_a_calibrated_model_for_a_least_confidence(tiny_bundle: Path, cli: Cli) -> None:
    done = cli("serve", "--model", tiny_bundle, "--min-confidence", "0.5", "--port", "0")
    assert (done.code, "knows no confidence; `seesay calibrate" in done.err) == (1, True)
