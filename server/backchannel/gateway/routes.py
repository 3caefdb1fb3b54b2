"""The gateway's routes as one Starlette application."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from typing import Final, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Lifespan

from backchannel_protocol import ERROR_CODES, PROTOCOL_VERSION, Limits, Refused

from ..app import App
from ..schema.problem import KEY_HEADER, POSITIONS_HEADER, USER_HEADER
from ..telemetry.metrics import CONTENT_TYPE, exposition
from .asgi import asgi_websocket_endpoint
from .documents import document_routes
from .handshake import WEBSOCKET_PATH
from .http import HttpDoor
from .problem import problem_response
from .transport import Gateway, HttpGateway

__all__ = ["DoorsGateway", "application", "call_routes", "operation_routes", "websocket_routes"]

_NO_STORE: Final = {"cache-control": "no-store"}
_ACCEPTED: Final = ("Authorization", "Content-Type", KEY_HEADER, USER_HEADER)
_EXPOSED: Final = (POSITIONS_HEADER, "Retry-After")


class Operated(Protocol):
    """What operators ask."""

    def readiness(self) -> dict[str, str]:
        """What keeps this process from serving, part by part; empty: it is ready."""


class DoorsGateway(Gateway, HttpGateway, Protocol):
    """What all doors together need of the gateway."""


def application(
    gateway: DoorsGateway,
    app: App,
    *,
    requests: App | None = None,
    limits: Limits | None = None,
    cors_origins: Sequence[str] = (),
    dev: bool = False,
    docs: bool = True,
    lifespan: Lifespan[Starlette] | None = None,
    extra: Sequence[BaseRoute] = (),
) -> Starlette:
    """Everything that this gateway serves over HTTP, and its WebSocket over plain ASGI.

    Args:
        gateway: who answers.
        app: its own HTTP routes, its static files and its contract.
        requests: whose commands and queries are answered, where those are more than the app's.
        limits: the limits of the installation.
        cors_origins: origins, `https://example.org`, whose pages may use the HTTP door. None by default; credentials
            are never asked for, since no cookie is used.
        dev: whether routes exist that are for development only.
        docs: whether the app's contract is served: `/docs`, `/openapi.json`, `/asyncapi.json`.
        lifespan: what starts and stops with it; its state is in `request.state`.
        extra: further routes, before the app's own.
    """
    middleware = []
    if cors_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(cors_origins),
                allow_methods=sorted({"GET", "POST"}.union(*[route.methods for route in app.routes])),
                allow_headers=[*_ACCEPTED, *dict.fromkeys(name for route in app.routes for name in route.accepts)],
                expose_headers=[*_EXPOSED, *dict.fromkeys(name for route in app.routes for name in route.exposes)],
                allow_credentials=False,
                max_age=600,
            )
        )
    return Starlette(
        routes=[
            *operation_routes(gateway),
            *call_routes(HttpDoor(gateway, requests or app, limits=limits)),
            *websocket_routes(gateway),
            *extra,
            *_app_routes(app, dev),
            # An app may have a page of its own at these paths.
            *(document_routes(app) if docs else []),
            *_statics(app),
        ],
        middleware=middleware,
        exception_handlers={HTTPException: _http_exception, Refused: _refused, Exception: _exception},
        lifespan=lifespan,
    )


def operation_routes(gateway: Operated) -> list[BaseRoute]:
    """`/healthz`, `/readyz`, `/version` and `/metrics`, for whoever operates the server."""

    async def healthz(_request: Request) -> Response:
        """The process lives; asks nothing else, so that a broken database restarts nobody."""
        return JSONResponse({"status": "ok"}, headers=_NO_STORE)

    async def readyz(_request: Request) -> Response:
        """Whether traffic should be sent here, and if not, why, part by part."""
        reasons = gateway.readiness()
        if reasons:
            return JSONResponse({"status": "unready", "reasons": reasons}, 503, headers=_NO_STORE)
        return JSONResponse({"status": "ready"}, headers=_NO_STORE)

    async def version_(_request: Request) -> Response:
        return JSONResponse(
            {"name": "backchannel", "version": _version(), "protocol": PROTOCOL_VERSION}, headers=_NO_STORE
        )

    async def metrics_(_request: Request) -> Response:
        return Response(exposition(), headers={"content-type": CONTENT_TYPE, **_NO_STORE})

    return [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/version", version_),
        Route("/metrics", metrics_),
    ]


def call_routes(door: HttpDoor) -> list[BaseRoute]:
    """`/v1/{name}`; the door answers every method itself, so that an unknown name is not found in any."""
    return [Route("/v1/{name}", door)]


def websocket_routes(gateway: Gateway) -> list[BaseRoute]:
    """The WebSocket for servers that do the framing themselves, and what a plain GET of its path is told."""

    async def upgrade_required(_request: Request) -> Response:
        return problem_response(
            Refused("invalid", "This is a WebSocket: send `Connection: Upgrade` and `Upgrade: websocket`."),
            HTTPStatus.UPGRADE_REQUIRED,
            {"upgrade": "websocket", "connection": "upgrade"},
        )

    return [
        WebSocketRoute(WEBSOCKET_PATH, asgi_websocket_endpoint(gateway)),
        Route(WEBSOCKET_PATH, upgrade_required),
    ]


def _app_routes(app: App, dev: bool) -> list[BaseRoute]:
    return [
        Route(route.path, route.endpoint, methods=list(route.methods))
        for route in app.routes
        if dev or not route.dev_only
    ]


def _statics(app: App) -> list[BaseRoute]:
    # A longer path is the more exact one; `/` takes whatever is left.
    statics = sorted(app.statics, key=lambda static: -len(static.path))
    return [Mount(s.path, StaticFiles(directory=s.directory, html=True)) for s in statics]


async def _http_exception(_request: Request, exc: Exception) -> Response:
    """What routing itself refuses, as a problem."""
    assert isinstance(exc, HTTPException)
    status = exc.status_code
    headers: Mapping[str, str] = exc.headers or {}
    if status == HTTPStatus.NOT_FOUND:
        refused = Refused("not_found", "There is nothing here; check the path.")
    elif status == HTTPStatus.METHOD_NOT_ALLOWED:
        refused = Refused("invalid", f"Use {headers.get('Allow', 'another method')} here.")
    else:
        refused = Refused(_code_of(status), exc.detail)
    return problem_response(refused, status, {name.lower(): value for name, value in headers.items()})


async def _refused(_request: Request, exc: Exception) -> Response:
    """What an app's own route refuses."""
    assert isinstance(exc, Refused)
    return problem_response(exc)


async def _exception(_request: Request, _exc: Exception) -> Response:
    """What an app's own route did not catch. The server logs it."""
    return problem_response(Refused("internal", "The server failed; its log has the reason."))


def _code_of(status: int) -> str:
    for info in ERROR_CODES.values():
        if info.status == status:
            return info.code
    return "internal" if status >= 500 else "invalid"


def _version() -> str:
    try:
        return version("backchannel")
    except PackageNotFoundError:
        return "0"
