"""Downloads: `GET /chat/files/<id>` with a token, or with a URL that `file.urls` signed; whole, or a range of it.

What is sent is what was checked: browsers are told not to guess, to run nothing in it, and to show only types that are
pictures, sound and films (RFC 9110 for ranges and conditions, RFC 6266 for the name).
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from backchannel import Refused, RunningServer, problem_response

from ..common import app
from .content import INLINE
from .internal import Opened, OpenFile, OpenSigned
from .storage import file_place, open_storage
from .tus import ACCEPTS, EXPOSES, create, method_of, options, upload
from .uploads import FILES_PATH

__all__: list[str] = []

_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,16}\Z", re.ASCII)
_EXPOSED: Final = (*EXPOSES, "Content-Disposition", "Content-Range", "Accept-Ranges", "ETag")


@app.route(FILES_PATH, methods=["OPTIONS", "POST"], accepts=ACCEPTS, exposes=EXPOSES)
async def collection(request: Request) -> Response:
    """What uploads can do, or a new one."""
    return options() if request.method == "OPTIONS" else await create(request)


@app.route(
    f"{FILES_PATH}/{{file}}",
    methods=["GET", "HEAD", "PATCH", "DELETE", "POST", "OPTIONS"],
    accepts=(*ACCEPTS, "Range", "If-None-Match", "If-Range"),
    exposes=_EXPOSED,
)
async def one(request: Request) -> Response:
    """A file, or an upload: `HEAD` is about the upload where the client speaks tus."""
    file: str = request.path_params["file"]
    if request.method == "OPTIONS":
        return options()
    if request.method == "GET" or (request.method == "HEAD" and "tus-resumable" not in request.headers):
        return await _download(request, file, "")
    if method_of(request) == "POST":
        return problem_response(
            Refused("invalid", "Send the bytes of an upload with PATCH."),
            HTTPStatus.METHOD_NOT_ALLOWED,
            {"allow": "GET, HEAD, PATCH, DELETE, OPTIONS"},
        )
    return await upload(request, file)


@app.route(f"{FILES_PATH}/{{file}}/{{thumbnail}}", methods=["GET", "HEAD"], exposes=_EXPOSED)
async def thumbnail(request: Request) -> Response:
    """A smaller picture of an image."""
    return await _download(request, request.path_params["file"], request.path_params["thumbnail"])


async def _download(request: Request, file: str, thumbnail: str) -> Response:
    server: RunningServer = request.state.server
    signature = request.query_params.get("signature")
    if signature is None:
        asker = await server.asker(request)
        opened = await asker.call(OpenFile(id=file, thumbnail=thumbnail))
        cache = "private, no-cache"
    else:
        expires = request.query_params.get("expires", "")
        if not _NUMBER.match(expires):
            raise Refused("invalid", "Use the URL as `file.urls` tells it.")
        opened = await server.call(
            OpenSigned(id=file, expires=int(expires), signature=signature, thumbnail=thumbnail), user=""
        )
        cache = "private, max-age=300"
    headers = _headers(request, opened, cache)
    etag = headers["etag"]
    if _matches(request.headers.get("if-none-match", ""), etag):
        del headers["content-type"]
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    start, end = 0, opened.size
    status = HTTPStatus.OK
    wanted = request.headers.get("range")
    if wanted is not None and request.headers.get("if-range", etag) == etag:
        found = _range(wanted, opened.size)
        if found is not None:
            start, end = found
            if start >= end:
                return problem_response(
                    Refused("invalid", f"The file has {opened.size} bytes."),
                    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                    {"content-range": f"bytes */{opened.size}"},
                )
            status = HTTPStatus.PARTIAL_CONTENT
            headers["content-range"] = f"bytes {start}-{end - 1}/{opened.size}"
    headers["content-length"] = str(end - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    storage = open_storage(server.settings)
    chunks = storage.read(f"{file_place(server.settings.app, file)}/{thumbnail or 'original'}", start, end)
    # What fails at once is refused, and not an answer that breaks off.
    first = await anext(chunks, b"")
    return StreamingResponse(_from(first, chunks), status, headers)


def _headers(request: Request, opened: Opened, cache: str) -> dict[str, str]:
    shown = opened.type in INLINE and "download" not in request.query_params
    plain = re.sub(r"[^A-Za-z0-9 ._-]", "_", opened.name)
    disposition = "inline" if shown else "attachment"
    type_ = f"{opened.type}; charset=utf-8" if opened.type.startswith("text/") else opened.type
    return {
        "content-type": type_,
        "content-disposition": f"{disposition}; filename=\"{plain}\"; filename*=UTF-8''{quote(opened.name, safe='')}",
        "x-content-type-options": "nosniff",
        "content-security-policy": "default-src 'none'; sandbox",
        "cross-origin-resource-policy": "cross-origin",
        "referrer-policy": "no-referrer",
        "accept-ranges": "bytes",
        "etag": f'"{opened.digest}"',
        "cache-control": cache,
    }


def _matches(told: str, etag: str) -> bool:
    return told.strip() == "*" or etag in [each.strip().removeprefix("W/") for each in told.split(",")]


def _range(told: str, size: int) -> tuple[int, int] | None:
    """The one range that is asked for, as far as the file goes; None: what is asked is no single range of bytes."""
    match = _RANGE.match(told.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


async def _from(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk
