"""OpenAI's chat completions, for programs that send a photo and expect a sentence.

The answer is the caption, whatever the prompt says: the model does not follow instructions. Options
without effect are listed in the answer's `ignored` and in the header X-Seesay-Ignored.
"""

from __future__ import annotations

import json
import math
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response, StreamingResponse

from seesay.caption import Caption
from seesay.serve.answers import bad_photo_error
from seesay.serve.api import REFUSALS
from seesay.serve.batcher import Answer, Ask, BadPhoto, Upload
from seesay.serve.bodies import photo_of, read_json, too_many
from seesay.serve.limits import RefusedError
from seesay.serve.options import checked
from seesay.serve.schemas import filled
from seesay.serve.service import Service

PATH = "/v1/chat/completions"
NO_PHOTO = "This model describes photos: send one as a data URL (image_url)."
USED = {"messages", "model", "n", "stream", "stream_options", "logprobs", "response_format"}
NAME = re.compile(r"[\w.-]{1,40}", re.ASCII)
HARMLESS = {"store", "user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key"}


class Message(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="allow")
    role: str
    content: str | list[dict[str, Any]] | None = None


class ChatRequest(BaseModel):
    """The parts of a request that have an effect; others are listed in the answer's `ignored`."""

    model_config = ConfigDict(extra="allow")
    messages: list[Message] = Field(min_length=1, max_length=1000)
    model: str = ""
    n: int | None = Field(None, ge=1, le=20, description="the n best captions, as choices")
    stream: bool | None = False
    logprobs: bool | None = Field(None, description="each word's log-probability")
    response_format: dict[str, Any] | None = Field(None, description="a JSON object or schema to put the caption into")


class Choice(BaseModel):
    """One caption."""

    model_config = ConfigDict(extra="allow")
    index: int
    message: dict[str, Any]
    finish_reason: str


class Completion(BaseModel):
    """The answer."""

    model_config = ConfigDict(extra="allow")
    id: str
    object: str
    created: int
    model: str
    choices: list[Choice]
    usage: dict[str, int]
    ignored: list[str] = Field(description="options of the request that had no effect")


class ModelJson(BaseModel):
    """One model."""

    model_config = ConfigDict(extra="allow")
    id: str
    object: str = "model"
    created: int
    owned_by: str


class ModelsJson(BaseModel):
    """The models of this server."""

    object: str = "list"
    data: list[ModelJson]


def routes(service: Service) -> APIRouter:
    """Chat completions, and the list of models that such clients ask for."""
    router = APIRouter()

    @router.get("/v1/models", response_model=ModelsJson, responses=REFUSALS, tags=["server"])
    async def models() -> Response:
        """The model of this server."""
        return JSONResponse({"object": "list", "data": [model_json(service)]})

    @router.get(
        "/v1/models/{name}",
        response_model=ModelJson,
        responses={**REFUSALS, 404: REFUSALS[400]},
        tags=["server"],
    )
    async def model(name: str) -> Response:
        """The model of this name."""
        if name != service.name:
            message = f"there is one model here: {service.name}"
            raise RefusedError(404, "model_not_found", message)
        return JSONResponse(model_json(service))

    @router.post(
        PATH,
        response_model=Completion,
        responses={**REFUSALS, 200: {"content": {"text/event-stream": {}}}},
        summary="Caption photos for clients of OpenAI's API",
        tags=["adapters"],
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": _schema()}},
            }
        },
    )
    async def chat_completions(request: Request) -> Response:
        """The caption of the photos in the last message that has any, one line for each."""
        asked = checked(ChatRequest, await read_json(request))
        uploads, ignored = photos_of(asked), ignored_of(asked, service.name)
        if len(uploads) > service.limits.photos:
            raise too_many(service.limits)
        number = asked.n or 1
        found = await service.ask(request, uploads, Ask(alternatives=number)) if uploads else []
        for each in found:
            if isinstance(each, BadPhoto):
                raise bad_photo_error(each)
        answers = [each for each in found if isinstance(each, Answer)]
        body = completion(asked, service.name, answers, ignored)
        headers = {"x-seesay-ignored": ", ".join(ignored)} if ignored else {}
        if asked.stream:
            return StreamingResponse(chunks(body), headers=headers, media_type="text/event-stream")
        return JSONResponse(body, headers=headers)

    return router


def _schema() -> dict[str, Any]:
    schema = ChatRequest.model_json_schema()
    message = schema.pop("$defs")["Message"]
    schema["properties"]["messages"]["items"] = message
    return schema


def model_json(service: Service) -> dict[str, Any]:
    """The model in OpenAI's format, with seesay's own details."""
    model = service.model
    return {
        "id": service.name,
        "object": "model",
        "created": 0,
        "owned_by": "seesay",
        "digest": model.bundle.digest,
        "grid": list(model.bundle.grid),
        "beam": model.bundle.search.beam,
        "precision": model.precisions,
        "device": str(model.device),
    }


def photos_of(asked: ChatRequest) -> list[Upload]:
    """The photos of the last message that has any.

    Raises:
        RefusedError: a photo is no data URL.
    """
    for message in reversed(asked.messages):
        parts = message.content if isinstance(message.content, list) else []
        images = [part for part in parts if part.get("type") in ("image_url", "input_image")]
        if images:
            return [photo_of(_url(part), None, "image_url") for part in images]
    return []


def _url(part: dict[str, Any]) -> str:
    url = part.get("image_url")
    if isinstance(url, dict):
        url = url.get("url")
    if not isinstance(url, str) or not url.lower().startswith(("data:", "http:", "https:", "file:")):
        raise RefusedError(422, "bad_image_url", "image_url: expected a data URL")
    return url


def ignored_of(asked: ChatRequest, model: str) -> list[str]:
    """The options of the request that have no effect."""
    extra = [name for name, value in (asked.model_extra or {}).items() if value is not None]
    ignored = sorted({*extra} - HARMLESS)
    if any(_has_text(message.content) for message in asked.messages):
        ignored.insert(0, "prompt")
    if asked.model not in ("", model):
        ignored.insert(0, "model")
    return [name for name in ignored if NAME.fullmatch(name)][:20]  # what a header can hold


def _has_text(content: str | list[dict[str, Any]] | None) -> bool:
    if isinstance(content, list):
        return any(part.get("type") == "text" for part in content)
    return bool(content)


def completion(asked: ChatRequest, model: str, answers: Sequence[Answer], ignored: list[str]) -> dict[str, Any]:
    """The answer: `n` choices, each with one line for each photo."""
    number = max((len(answer.captions) for answer in answers), default=1)
    captions = [[_nth(answer, n) for answer in answers] for n in range(number)]
    words = sum(len(caption.words) for choice in captions for caption in choice)
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [_choice(asked, n, each) for n, each in enumerate(captions)],
        "usage": {"prompt_tokens": 0, "completion_tokens": words, "total_tokens": words},
        "ignored": ignored,
    }


def _nth(answer: Answer, n: int) -> Caption:
    return answer.captions[min(n, len(answer.captions) - 1)]


def _choice(asked: ChatRequest, index: int, captions: Sequence[Caption]) -> dict[str, Any]:
    text = "\n".join(caption.shown for caption in captions) or NO_PHOTO
    wanted = asked.response_format or {}
    if wanted.get("type") in ("json_object", "json_schema"):
        schema = (wanted.get("json_schema") or {}).get("schema")
        text = json.dumps(filled(schema if isinstance(schema, dict) else None, text))
    choice: dict[str, Any] = {
        "index": index,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "finish_reason": "stop",
        "logprobs": None,
    }
    if asked.logprobs:
        choice["logprobs"] = {"content": [_word(word) for c in captions for word in c.words]}
    return choice


def _word(word: Any) -> dict[str, Any]:
    logprob = round(float(word.logprob), 5) if math.isfinite(word.logprob) else -9999.0
    return {
        "token": word.text,
        "logprob": logprob,
        "bytes": list(word.text.encode()),
        "top_logprobs": [],
    }


def chunks(body: dict[str, Any]) -> Iterator[str]:
    """The answer as events; each choice comes in one piece, because it is complete already."""
    shared = {**body, "object": "chat.completion.chunk"}
    choices = shared.pop("choices")
    usage = shared.pop("usage")
    for choice in choices:
        delta = {"role": "assistant", "content": choice["message"]["content"]}
        one = {"index": choice["index"], "delta": delta, "finish_reason": None}
        yield _event({**shared, "choices": [{**one, "logprobs": choice["logprobs"]}]})
        last = {"index": choice["index"], "delta": {}, "finish_reason": "stop"}
        yield _event({**shared, "choices": [last]})
    yield _event({**shared, "choices": [], "usage": usage})
    yield "data: [DONE]\n\n"


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"
