"""The page, its sample photos, Swagger UI, and paths for monitoring."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import HTMLResponse, Response

from seesay.assets import demo_photos
from seesay.explain.page import page_script, read_template
from seesay.serve.answers import ErrorJson
from seesay.serve.limits import RefusedError
from seesay.serve.service import Service

PAGE = Path(__file__).parent / "page"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
SWAGGER = {  # files of Swagger UI, from the package fastapi-swagger
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
}
# Swagger UI has inline styles and pictures
SWAGGER_SECURITY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
CACHED = {"cache-control": "no-cache"}  # revalidated each time, so that an update of seesay shows


@cache
def _page_file(name: str) -> bytes:
    return (PAGE / name).read_bytes()


@cache
def _swagger_file(name: str) -> bytes:
    return (resources.files("fastapi_swagger.resources") / name).read_bytes()


def routes(service: Service) -> APIRouter:
    """The paths that take no photos."""
    router = APIRouter()
    _add_page(router)
    _add_samples(router)
    _add_docs(router)
    _add_figures(router, service)
    return router


def _add_page(router: APIRouter) -> None:
    def add(path: str, name: str) -> None:
        @router.get(path, include_in_schema=False)
        async def file() -> Response:
            return Response(_page_file(name), media_type=TYPES[Path(name).suffix], headers=CACHED)

    @router.get("/look.css", include_in_schema=False)
    async def style() -> Response:
        return Response(read_template("page.css"), media_type=TYPES[".css"], headers=CACHED)

    @router.get("/look.js", include_in_schema=False)
    async def script() -> Response:
        return Response(page_script(), media_type=TYPES[".js"], headers=CACHED)

    add("/", "index.html")
    for name in ("app.css", "app.js", "icon.svg"):
        add(f"/{name}", name)


def _add_samples(router: APIRouter) -> None:
    photos = {photo.name: photo for photo in demo_photos()}

    @router.get("/samples", include_in_schema=False)
    async def samples() -> list[str]:
        return list(photos)

    @router.get("/samples/{name}", include_in_schema=False)
    async def sample(name: str) -> Response:
        if name not in photos:
            raise RefusedError(404, "not_found", "there is no such sample")
        return Response(photos[name].read_bytes(), media_type="image/jpeg", headers=CACHED)


def _add_docs(router: APIRouter) -> None:
    headers = {"content-security-policy": SWAGGER_SECURITY}

    @router.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(_page_file("docs.html"), headers=headers)

    @router.get("/docs/{name}", include_in_schema=False)
    async def docs_file(name: str) -> Response:
        if name == "docs.js":
            return Response(_page_file(name), media_type=TYPES[".js"], headers=CACHED)
        if name not in SWAGGER:
            raise RefusedError(404, "not_found", "there is no such file")
        return Response(_swagger_file(name), media_type=SWAGGER[name], headers=CACHED)


def _add_figures(router: APIRouter, service: Service) -> None:
    busy = {503: {"model": ErrorJson, "description": "the queue is full"}}
    token = {401: {"model": ErrorJson, "description": "the token is missing or wrong"}}

    @router.get("/health", summary="Whether the server runs", tags=["server"])
    async def health() -> dict[str, str]:
        """200 as long as the process answers."""
        return {"status": "ok"}

    @router.get("/ready", summary="Whether it takes photos", tags=["server"], responses={**busy})
    async def ready() -> dict[str, str]:
        """200 while photos are taken, 503 while the queue is full."""
        if service.batcher.waiting >= service.limits.waiting:
            raise RefusedError(503, "busy", "the queue is full: try later", retry_after=1)
        return {"status": "ready"}

    @router.get(
        "/metrics",
        summary="Figures for Prometheus",
        tags=["server"],
        response_class=Response,
        responses={
            **token,
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        },
    )
    async def metrics() -> Response:
        """In Prometheus' text format."""
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)
