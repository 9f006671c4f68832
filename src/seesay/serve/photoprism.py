"""The captions half of PhotoPrism's vision service, `POST /api/v1/vision/caption`.

Requests and answers are ApiRequest and ApiResponse of PhotoPrism's package internal/ai/vision
(github.com/photoprism/photoprism).
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse, Response

from seesay.serve.answers import bad_photo_error, confidence
from seesay.serve.api import REFUSALS
from seesay.serve.batcher import Ask, BadPhoto
from seesay.serve.bodies import photo_of, read_json
from seesay.serve.limits import RefusedError
from seesay.serve.options import Base64, TrustOptions, checked
from seesay.serve.service import Service

PATH = "/api/v1/vision/caption"


class VisionRequest(BaseModel):
    """The parts of a request that have an effect; prompts and options of language models have none."""

    model_config = ConfigDict(extra="allow")
    id: Annotated[str, Field(max_length=200)] = ""
    images: list[Base64] = Field(default=[], description="data URLs; the first is captioned", max_length=100)
    url: str = Field("", description="refused: nothing is fetched")


class CaptionResult(BaseModel):
    """The caption; PhotoPrism sets its source."""

    text: str
    confidence: float = Field(ge=0, le=1)


class Result(BaseModel):
    """Only a caption; this server knows no labels or faces."""

    caption: CaptionResult | None = None


class VisionModel(BaseModel):
    """The model that made the caption."""

    type: str = "caption"
    name: str
    version: str
    resolution: int


class VisionResponse(BaseModel):
    """An answer, or an error."""

    id: str = ""
    code: int
    error: str = ""
    model: VisionModel | None = None
    result: Result


def routes(service: Service) -> APIRouter:
    """The path that PhotoPrism calls."""
    router = APIRouter(tags=["adapters"])
    errors = {status: {**what, "model": VisionResponse} for status, what in REFUSALS.items()}

    @router.post(
        PATH,
        response_model=VisionResponse,
        responses=errors,
        summary="Caption a photo for PhotoPrism",
        openapi_extra={
            "parameters": _parameters(),
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": VisionRequest.model_json_schema()}},
            },
        },
    )
    async def vision_caption(request: Request) -> Response:
        """The caption of the first image and its confidence; a withheld caption is refused with the reason."""
        asked = checked(VisionRequest, await read_json(request))
        if asked.url:
            raise RefusedError(422, "url_refused", "url: nothing is fetched; set FileScheme: data")
        if not asked.images:
            raise RefusedError(422, "no_photos", "images: expected a photo as a data URL")
        trust = checked(TrustOptions, dict(request.query_params), strict=False)
        ask = Ask(min_confidence=trust.min_confidence, cautious=trust.cautious)
        [found] = await service.ask(request, [photo_of(asked.images[0], None, "images.0")], ask)
        if isinstance(found, BadPhoto):
            raise bad_photo_error(found)
        caption = found.captions[0]
        if caption.withheld:  # PhotoPrism would keep the reason as the caption
            raise RefusedError(422, "withheld", caption.shown)
        return JSONResponse(
            {
                "id": asked.id,
                "code": 200,
                "model": _model(service),
                "result": {
                    "caption": {
                        "text": caption.text,
                        "confidence": round(confidence(caption), 4),
                    }
                },
            }
        )

    return router


def _parameters() -> list[dict[str, Any]]:
    """Options in the address, the only place where PhotoPrism's settings can put them."""
    options = TrustOptions.model_json_schema()["properties"]
    return [{"in": "query", "name": name, "schema": schema} for name, schema in options.items()]


def _model(service: Service) -> dict[str, Any]:
    bundle = service.model.bundle
    return {
        "type": "caption",
        "name": bundle.name,
        "version": bundle.digest,
        "resolution": bundle.transform.size,
    }
