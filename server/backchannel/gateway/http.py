"""The HTTP door: every command and query as `POST /v1/{name}`, on the way that a `call` frame takes.

The body is the request's data in JSON, and the answer's body is its reply; where the channels stood is told in
`Backchannel-Positions`. A query is `GET` too, with its data in the query string (`schema/query_string.py`).
Everything else is a problem (RFC 9457) with the code that the WebSocket would tell.
"""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from backchannel_protocol import JSON, Limits, Refused
from backchannel_protocol.limits import KEY_PATTERN, USER_RE
from backchannel_protocol.scan import scan_json

from ..app import App
from ..auth.principal import Principal
from ..relay.relay import Reply
from ..schema.problem import KEY_HEADER, POSITIONS_HEADER, USER_HEADER
from ..schema.query_string import QueryString
from ..telemetry.logs import get_logger
from ..telemetry.metrics import metrics
from .problem import problem_response
from .transport import HttpGateway

__all__ = ["API_KEY_PREFIX", "BODY_TIMEOUT", "HttpDoor", "principal_of"]

_log: Final = get_logger(__name__)

API_KEY_PREFIX: Final = "bk_"
"""How an API key begins, so that it is told from a user's token."""
BODY_TIMEOUT: Final = 10.0
"""Seconds that a request's body may take to come."""

_KEY_RE: Final = re.compile(KEY_PATTERN.replace("$", r"\Z"))
_encode: Final = msgspec.json.Encoder().encode


class _Late(Exception):
    """The body did not come in time."""


class _LongUrl(Exception):
    """The query string is over the limit of a frame."""


class _NotJson(Exception):
    """The body is declared to be something else."""


class HttpDoor:
    """Answers `/v1/{name}` in every method. It is an ASGI application, for a route with that path parameter."""

    def __init__(
        self,
        gateway: HttpGateway,
        app: App,
        *,
        limits: Limits | None = None,
        body_timeout: float = BODY_TIMEOUT,
    ) -> None:
        """
        Args:
            gateway: who authenticates and asks.
            app: whose commands and queries there are.
            limits: `frame` bounds the body, `nesting` its depth, `call` the wait for an answer.
            body_timeout: seconds that a body may take to come.
        """
        self._gateway = gateway
        self._names = frozenset(app.offered())
        self._limits = limits if limits is not None else Limits()
        self._body_timeout = body_timeout
        self._query_strings = {
            name: QueryString(declaration.cls)
            for name, declaration in app.offered().items()
            if declaration.kind == "query"
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        response = await self.call(Request(scope, receive))
        await response(scope, receive, send)

    async def call(self, request: Request) -> Response:
        """Answer one request. Never raises: what fails unforeseen is logged and told as `internal`."""
        try:
            response = await self._call(request)
        except Refused as exc:
            response = problem_response(exc)
        except _NotJson:
            response = problem_response(
                Refused("invalid", "Send the request's data as JSON, with `Content-Type: application/json`."),
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                {"accept-post": "application/json"},
            )
        except _Late:
            response = problem_response(
                Refused("invalid", f"The body did not come within {self._body_timeout:g} seconds; send it at once."),
                HTTPStatus.REQUEST_TIMEOUT,
            )
        except _LongUrl:
            response = problem_response(
                Refused("too_large", f"The query string is longer than {self._limits.frame} bytes; ask with POST."),
                HTTPStatus.REQUEST_URI_TOO_LONG,
            )
        except ClientDisconnect:
            # Nobody is there to read it; servers write 499 for this in their logs.
            response = problem_response(Refused("cancelled", "The client left before the request was there."))
        except Exception:
            _log.exception("a request failed", name=request.path_params.get("name"))
            response = problem_response(Refused("internal", "The server failed; its log has the reason."))
        if response.status_code in (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.REQUEST_TIMEOUT):
            # The rest of the body is not read, so no other request can follow on this connection.
            response.headers["connection"] = "close"
        metrics.http_requests[str(response.status_code)] += 1
        return response

    async def _call(self, request: Request) -> Response:
        name: str = request.path_params["name"]
        if name not in self._names:
            raise Refused("not_found", f"There is no command or query {name[:64]!r}; `backchannel schema` lists them.")
        query_string = self._query_strings.get(name)
        is_read = request.method in ("GET", "HEAD") and query_string is not None
        if not is_read and request.method != "POST":
            allowed = "POST" if query_string is None else "GET, HEAD, POST"
            return problem_response(
                Refused("invalid", f"Ask {name} with {'POST' if query_string is None else 'GET or POST'}."),
                HTTPStatus.METHOD_NOT_ALLOWED,
                {"allow": allowed},
            )
        principal = await principal_of(request, self._gateway, self._limits)
        key = _single(request, KEY_HEADER)
        if key is not None and not _KEY_RE.match(key):
            raise Refused("invalid", f"{KEY_HEADER}: use 8 to 64 printable ASCII characters without spaces.")
        if is_read and query_string is not None:
            data = self._parameters(request, query_string)
        else:
            data = await self._body(request)
        reply = await self._gateway.ask(principal, name, data, key, self._limits.call)
        return _response_of(reply)

    def _parameters(self, request: Request, query_string: QueryString) -> bytes:
        """The data of a query that is asked by its URL."""
        text: bytes = request.scope["query_string"]
        if len(text) > self._limits.frame:
            raise _LongUrl
        return query_string.data(text, self._limits.nesting)

    async def _body(self, request: Request) -> bytes:
        """The request's data, checked to be JSON within the bounds. No body at all is no fields.

        Raises:
            Refused: `too_large`, as soon as it is known; `invalid`.
        """
        limit = self._limits.frame
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > limit:
            raise _too_large(limit)
        body = bytearray()
        try:
            async with asyncio.timeout(self._body_timeout):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > limit:
                        raise _too_large(limit)
        except TimeoutError:
            raise _Late from None
        if not body and "content-type" not in request.headers:
            return b"{}"
        if not _is_json(request.headers.getlist("content-type")):
            raise _NotJson
        data = bytes(body)
        scan_json(data, self._limits.nesting)
        JSON.decode_any(data)
        return data


async def principal_of(request: Request, gateway: HttpGateway, limits: Limits) -> Principal:
    """Who sent an HTTP request, by its `Authorization` header and, with an API key, the one that names a user.

    Raises:
        Refused: `unauthenticated`, `forbidden`, or `invalid` for headers that contradict each other.
    """
    authorization = _single(request, "authorization")
    scheme, _, secret = (authorization or "").partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret:
        raise Refused("unauthenticated", "Send `Authorization: Bearer …` with a user's token or an API key.")
    user = _single(request, USER_HEADER)
    if not secret.startswith(API_KEY_PREFIX):
        if user is not None:
            raise Refused("invalid", f"{USER_HEADER} goes with an API key; a token says whose it is.")
        if len(secret) > limits.token:
            raise Refused("unauthenticated", f"The token is longer than {limits.token} bytes.")
        return await gateway.authenticate(secret)
    if user is not None and not USER_RE.match(user):
        raise Refused("invalid", f"{USER_HEADER}: use 1 to 128 of A-Z a-z 0-9 _ . @ -.")
    return await gateway.api_key(secret, user or "")


def _response_of(reply: Reply) -> Response:
    if reply.failure is not None:
        return problem_response(reply.failure.refused())
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    if reply.positions:
        headers[POSITIONS_HEADER.lower()] = _encode(reply.positions).decode()
    return Response(reply.data, 200, headers)


def _single(request: Request, name: str) -> str | None:
    """A header that may come once.

    Raises:
        Refused: `invalid`, it came twice.
    """
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise Refused("invalid", f"There are two {name} headers; send one.")
    return values[0] if values else None


def _is_json(content_types: list[str]) -> bool:
    if len(content_types) != 1:
        return False
    media, _, parameters = content_types[0].partition(";")
    charset = parameters.strip().lower()
    return media.strip().lower() == "application/json" and charset in ("", "charset=utf-8", 'charset="utf-8"')


def _too_large(limit: int) -> Refused:
    return Refused("too_large", f"The body is larger than {limit} bytes; send less.")
