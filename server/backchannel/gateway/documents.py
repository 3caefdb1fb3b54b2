"""The app's contract, for whoever writes against it: `/openapi.json`, `/asyncapi.json`, and `/docs` to browse.

They tell what the app declares and nothing of its data, so they need no token. The page is of this folder alone
(`docs_page/`), loads nothing from elsewhere, and works under its own strict content security policy.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from ..app import App
from ..schema import asyncapi, json_schema, openapi

__all__ = ["document_routes"]

_FOLDER: Final = Path(__file__).parent / "docs_page"

_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "connect-src 'self'",
        "img-src data:",
        "script-src 'self'",
        "style-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

_HEADERS: Final = {
    "cache-control": "no-cache",
    "content-security-policy": _POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

_encode: Final = msgspec.json.Encoder().encode


def document_routes(app: App) -> list[BaseRoute]:
    """The routes of the app's documents. Each document is made when it is first asked for."""

    async def moved(_request: Request) -> Response:
        # The page's links are relative, so that it may be served below any path.
        return RedirectResponse("../docs")

    return [
        Route("/openapi.json", _document(app, openapi)),
        Route("/asyncapi.json", _document(app, asyncapi)),
        Route("/docs", _file("index.html", "text/html")),
        Route("/docs/", moved),
        Route("/docs/contract.json", _document(app, json_schema)),
        Route("/docs/page.css", _file("page.css", "text/css")),
        Route("/docs/page.js", _file("page.js", "text/javascript")),
    ]


def _document(app: App, write: Callable[[App], dict[str, Any]]) -> Callable[[Request], Any]:
    @cache
    def body() -> bytes:
        return _encode(write(app))

    async def document(_request: Request) -> Response:
        return Response(body(), headers={**_HEADERS, "content-type": "application/json"})

    return document


def _file(name: str, media_type: str) -> Callable[[Request], Any]:
    body = (_FOLDER / name).read_bytes()

    async def file(_request: Request) -> Response:
        return Response(body, headers={**_HEADERS, "content-type": f"{media_type}; charset=utf-8"})

    return file
