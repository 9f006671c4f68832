"""seesay's own API: captions, scores, figures, pages and alt text of photos."""

from __future__ import annotations

import io
from collections.abc import Sequence
from threading import Lock
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from PIL import Image
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from seesay import explain
from seesay.data.images import open_photo
from seesay.outputs.alt_text import MetadataError, with_alt_text
from seesay.outputs.alt_text.files import media_type_of, packet_of
from seesay.serve.answers import ErrorJson, ResultsJson, bad_photo_error, results_of
from seesay.serve.batcher import Answer, BadPhoto, Upload
from seesay.serve.bodies import media_type, photo_of, read_form, read_json, too_many
from seesay.serve.limits import RefusedError
from seesay.serve.options import (
    CaptionOptions,
    CaptionRequest,
    DrawOptions,
    DrawRequest,
    PhotoJson,
    Photos,
    ScoreOptions,
    ScoreRequest,
    checked,
    invalid,
)
from seesay.serve.service import Service

Kind = TypeVar("Kind", bound=BaseModel)

MOST_XMP = 2**16  # bytes in a photo that is to be changed, as many as a JPEG can have
ONE_AT_A_TIME = Lock()

REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorJson, "description": what}
    for status, what in {
        400: "the body is not JSON or not a form",
        401: "the token is missing or wrong",
        403: "the request comes from a page of another origin",
        408: "the body arrived too slowly",
        413: "too many bytes, photos or pixels",
        415: "not a photo, or a body of another type",
        421: "the server does not have this name",
        422: "the options or the photo cannot be used",
        429: "the queue is full: try again after Retry-After seconds",
        503: "out of time or memory: try again after Retry-After seconds",
    }.items()
}


def body_of(options: type[BaseModel], in_json: type[BaseModel]) -> dict[str, Any]:
    """The OpenAPI description of a body that is a form or JSON."""
    form = options.model_json_schema()
    file = {"type": "string", "format": "binary"}
    form["properties"] = {
        "photos": {"type": "array", "items": file, "minItems": 1},
        **form.get("properties", {}),
    }
    form["required"] = ["photos", *form.get("required", ())]
    content = {"multipart/form-data": form, "application/json": _inlined(in_json)}
    described = {kind: {"schema": schema} for kind, schema in content.items()}
    return {"requestBody": {"required": True, "content": described}}


def _inlined(model: type[BaseModel]) -> dict[str, Any]:
    """A model's JSON schema without references, as it stands outside the document's components."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def inline(value: Any) -> Any:
        if isinstance(value, list):
            return [inline(each) for each in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return inline(definitions[value["$ref"].rsplit("/", 1)[-1]])
        return {name: inline(each) for name, each in value.items()}

    return inline(schema)


async def read_photos(
    service: Service, request: Request, options: type[Kind], in_json: type[BaseModel]
) -> tuple[list[Upload], Kind]:
    """The photos and options of a body, which is a form or JSON.

    Raises:
        RefusedError: it is neither, or has other contents.
    """
    kind = media_type(request)
    if kind == "multipart/form-data":
        uploads, fields = await read_form(request, service.limits)
        return uploads, checked(options, fields, strict=False)
    if kind == "application/json":
        body = checked(in_json, await read_json(request))
        assert isinstance(body, Photos)
        if len(body.photos) > service.limits.photos:
            raise too_many(service.limits)
        uploads = [_upload(photo, n) for n, photo in enumerate(body.photos)]
        return uploads, options.model_validate(body.model_dump(exclude={"photos"}))
    message = "expected a body of type multipart/form-data or application/json"
    raise RefusedError(415, "unsupported_media_type", message)


def _upload(photo: str | PhotoJson, place: int) -> Upload:
    where = f"photos.{place}"
    if isinstance(photo, PhotoJson):
        return photo_of(photo.data, photo.name, where)
    return photo_of(photo, None, where)


def routes(service: Service) -> APIRouter:
    """The paths that take photos."""
    router = APIRouter()

    @router.post(
        "/v1/captions",
        response_model=ResultsJson,
        responses=REFUSALS,
        openapi_extra=body_of(CaptionOptions, CaptionRequest),
        summary="Caption photos",
        tags=["photos"],
    )
    async def captions(request: Request) -> Response:
        """One result for each photo, in order: its caption, or why there is none.

        If none of the photos can be read, the answer is the error of the first.
        """
        uploads, options = await read_photos(service, request, CaptionOptions, CaptionRequest)
        found = await service.ask(request, uploads, options.ask())
        return JSONResponse({"model": service.name, "results": results_of(found, options)})

    @router.post(
        "/v1/scores",
        response_model=ResultsJson,
        responses=REFUSALS,
        openapi_extra=body_of(ScoreOptions, ScoreRequest),
        summary="Score a given sentence",
        tags=["photos"],
    )
    async def scores(request: Request) -> Response:
        """How likely the model finds the sentence for each photo, word by word."""
        uploads, options = await read_photos(service, request, ScoreOptions, ScoreRequest)
        found = await service.ask(request, uploads, options.ask())
        return JSONResponse({"model": service.name, "results": results_of(found, options)})

    @router.post(
        "/v1/figures",
        response_class=Response,
        responses={**REFUSALS, 200: {"content": {"image/png": {}}, "description": "a PNG"}},
        openapi_extra=body_of(DrawOptions, DrawRequest),
        summary="Draw a caption word by word",
        tags=["photos"],
    )
    async def figures(request: Request) -> Response:
        """A picture of the first photo and its attention for each word."""
        uploads, options = await read_photos(service, request, DrawOptions, DrawRequest)
        found = await service.ask(request, uploads[:1], options.ask())
        figure = await service.in_time(_figure, _read(found)[0])
        return Response(figure, media_type="image/png")

    @router.post(
        "/v1/pages",
        response_class=Response,
        responses={**REFUSALS, 200: {"content": {"text/html": {}}, "description": "a page"}},
        openapi_extra=body_of(DrawOptions, DrawRequest),
        summary="Make a self-contained page",
        tags=["photos"],
    )
    async def pages(request: Request) -> Response:
        """The photos with their captions in one HTML file, as `seesay caption --page` writes it."""
        uploads, options = await read_photos(service, request, DrawOptions, DrawRequest)
        found = _read(await service.ask(request, uploads, options.ask()))
        several = "samples" if options.sample else "alternatives"
        page = await service.in_time(_page, found, several)
        # for saving: if the browser showed it, the server's policy would block its script
        headers = {"content-disposition": 'attachment; filename="captions.html"'}
        return Response(page, media_type="text/html", headers=headers)

    @router.post(
        "/v1/alt-text",
        response_class=Response,
        responses={**REFUSALS, 200: {"content": {"image/*": {}}, "description": "the photo"}},
        openapi_extra=body_of(DrawOptions, DrawRequest),
        summary="Write a caption into a photo's metadata",
        tags=["photos"],
    )
    async def alt_text(request: Request) -> Response:
        """A copy of the first photo with its caption, or `text` as it is, as alt text; the picture stays.

        The photo is captioned in any case, so that the limits of photos hold.
        """
        uploads, options = await read_photos(service, request, DrawOptions, DrawRequest)
        [answer] = _read(await service.ask(request, uploads[:1], CaptionOptions.ask(options)))
        copy = await service.in_time(_with_alt_text, answer, options.text, service.name)
        return Response(copy, media_type=media_type_of(copy), headers={"content-disposition": "attachment"})

    return router


def _with_alt_text(answer: Answer, text: str | None, model: str) -> bytes:
    """The photo with alt text, one at a time: metadata take many times their size in memory."""
    photo, caption = answer.upload, answer.captions[0]
    name = photo.name or "the photo"
    if text is None and caption.withheld:
        raise RefusedError(422, "withheld", f"{name}: {caption.shown}, so no alt text; send `text` to write your own")
    try:
        if caption.warning:
            raise MetadataError(caption.warning)
        with ONE_AT_A_TIME:
            if len(packet_of(photo.data) or b"") > MOST_XMP:
                raise MetadataError(f"it has more than {MOST_XMP:,} bytes of XMP")
            return with_alt_text(photo.data, caption if text is None else text, model)
    except MetadataError as error:
        reason = str(error).partition(";")[0]  # what follows is for the command line
        raise RefusedError(422, "no_metadata", f"{name}: no alt text written: {reason}") from None
    except ValueError as error:
        raise invalid(str(error)) from None


def _read(found: Sequence[Answer | BadPhoto]) -> list[Answer]:
    """All of them, or RefusedError for the first photo that could not be read."""
    for each in found:
        if isinstance(each, BadPhoto):
            raise bad_photo_error(each)
    return [each for each in found if isinstance(each, Answer)]


def _figure(answer: Answer) -> bytes:
    file = io.BytesIO()
    explain.draw_figure(_picture(answer), answer.captions[0]).save(file, "PNG")
    return file.getvalue()


def _page(answers: Sequence[Answer], several: str) -> str:
    items = [explain.item_html(_picture(answer), answer.captions, several=several) for answer in answers]
    return explain.fill_page("seesay", "\n".join(items))


def _picture(answer: Answer) -> Image.Image:
    """The photo, opened again: pictures of all photos of a request at once would fill the memory."""
    return open_photo(answer.upload.data, enough=explain.LONG_SIDE)
