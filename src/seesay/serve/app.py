"""The server as an ASGI app."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from seesay.runtime import CaptionModel
from seesay.runtime.device import cores
from seesay.serve import api, openai_chat, photoprism, site
from seesay.serve.guard import Access, Guard, broken, refusal
from seesay.serve.limits import ClientGoneError, Limits, RefusedError
from seesay.serve.monitor import Metrics
from seesay.serve.service import Service
from seesay.version import __version__

ABOUT = """Captions photos, and says for each word how certain the model was and where it looked.

Photos stay in memory and are forgotten once they are answered. Send them as files of a form, as base64,
or as data URLs; the server never opens a path or a URL."""
CODES = {404: "not_found", 405: "method_not_allowed"}


@dataclass(frozen=True)
class Settings:
    """The settings of a server.

    Attributes:
        access: who may use it.
        limits: of requests.
        workers: number of worker threads; None: one for each core.
        min_confidence: captions below it are withheld, unless a request gives its own; needs a calibrated model.
    """

    access: Access = field(default_factory=Access)
    limits: Limits = field(default_factory=Limits)
    workers: int | None = None
    min_confidence: float | None = None


def create_app(model: CaptionModel, settings: Settings, log: logging.Logger) -> Guard:
    """The app. Its workers start now and end with its lifespan.

    Args:
        model: opened with one thread (`seesay.load(threads=1)`).
        settings: of the server.
        log: gets a line for each request.
    """
    metrics = Metrics()
    service = Service(model, settings.workers or cores(), settings.limits, metrics, settings.min_confidence)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.batcher.close()

    app = FastAPI(
        title="seesay",
        version=__version__,
        description=ABOUT,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        # only documents the token, so that Swagger UI asks for it; `Guard` checks it
        dependencies=[Depends(HTTPBearer(auto_error=False))] if settings.access.token else [],
    )
    for module in (api, openai_chat, photoprism, site):
        app.include_router(module.routes(service))
    _answer_errors(app)
    guarded: ASGIApp = app
    if settings.access.origins:
        guarded = CORSMiddleware(
            app,
            allow_origins=settings.access.origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    return Guard(guarded, settings.access, settings.limits, metrics, log)


def _answer_errors(app: FastAPI) -> None:
    """Give all errors the same form; a failure of the server itself reveals nothing but that it happened."""

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> Response:
        return await refusal(error, request.scope)

    @app.exception_handler(ClientGoneError)
    async def gone(request: Request, error: ClientGoneError) -> Response:
        return Response(status_code=499)  # as nginx calls it; nobody reads it

    @app.exception_handler(HTTPException)
    async def no_such_path(request: Request, error: HTTPException) -> Response:
        code = CODES.get(error.status_code, "bad_request")
        refused = RefusedError(error.status_code, code, str(error.detail))
        response = await refusal(refused, request.scope)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(RequestValidationError)
    async def unexpected(request: Request, error: RequestValidationError) -> Response:
        return await refusal(RefusedError(422, "invalid", "the path is not valid"), request.scope)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return broken(request.scope)
