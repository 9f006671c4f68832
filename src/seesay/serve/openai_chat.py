"""OpenAI's chat completions, for programs that send a photo and expect a sentence.

The answer is the caption, whatever the prompt says: the model does not follow instructions. Options
without effect are listed in the answer's `ignored` and in the header X-Seesay-Ignored.
"""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from seesay.serve.answers import bad_photo_error
from seesay.serve.api import REFUSALS
from seesay.serve.batcher import Answer, Ask, BadPhoto, Upload
from seesay.serve.bodies import photo_of, read_json, too_many
from seesay.serve.limits import RefusedError
from seesay.serve.openai_format import ChatRequest, Completion, ModelJson, ModelsJson, chunks, completion
from seesay.serve.options import checked, invalid
from seesay.serve.service import Service

PATH = "/v1/chat/completions"
NAME = re.compile(r"[\w.-]{1,40}", re.ASCII)
HARMLESS = {"store", "user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key"}


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
        found = await service.ask(request, uploads, ask_of(asked)) if uploads else []
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


def ask_of(asked: ChatRequest) -> Ask:
    """What to ask the model.

    Raises:
        RefusedError: several cautious captions were asked for.
    """
    number = asked.n or 1
    if not asked.cautious:
        return Ask(alternatives=number, min_confidence=asked.min_confidence)
    if number > 1:
        raise invalid(f"cautious: gives one caption, expected n=1, got {number}")
    return Ask(cautious=True, min_confidence=asked.min_confidence)


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
