"""Requests and answers in the format of OpenAI's API."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from seesay.caption import Caption, Word
from seesay.serve.answers import ResultJson
from seesay.serve.batcher import Answer
from seesay.serve.schemas import filled

NO_PHOTO = "This model describes photos: send one as a data URL (image_url)."


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
    min_confidence: float | None = Field(None, ge=0, le=1, description="withhold captions below this confidence")
    cautious: bool | None = Field(None, description="prefer plainer words where the model is not sure of a thing")


class Choice(BaseModel):
    """One caption of each photo."""

    model_config = ConfigDict(extra="allow")
    index: int
    message: dict[str, Any]
    finish_reason: str
    captions: list[ResultJson] = Field(description="each photo's caption as in /v1/captions, without its words")


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
        "captions": [_without_words(caption) for caption in captions],
    }
    if asked.logprobs:
        choice["logprobs"] = {"content": [_word(word) for c in captions for word in c.words]}
    return choice


def _without_words(caption: Caption) -> dict[str, Any]:
    return {name: value for name, value in caption.to_dict().items() if name != "words"}


def _word(word: Word) -> dict[str, Any]:
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
        yield _event({**shared, "choices": [{**one, **{name: choice[name] for name in ("logprobs", "captions")}}]})
        last = {"index": choice["index"], "delta": {}, "finish_reason": "stop"}
        yield _event({**shared, "choices": [last]})
    yield _event({**shared, "choices": [], "usage": usage})
    yield "data: [DONE]\n\n"


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"
