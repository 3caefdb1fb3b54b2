"""Uploads over HTTP by tus 1.0 (https://tus.io/protocols/resumable-upload): begin, send, ask how far, cancel.

Core, and the extensions creation, creation-with-upload, expiration, checksum and termination. Progress is what `HEAD`
tells; what came before a connection broke is kept, and the client goes on from there.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import functools
import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from backchannel import Asker, Refused, RunningServer, problem_response

from .contract import CancelUpload, CreateUpload, DeleteFile, FileInfo
from .finishing import finish
from .internal import AppendPiece, GetUpload, UploadState
from .limits import limits
from .storage import Storage, open_storage, upload_place

__all__ = ["ACCEPTS", "EXPOSES", "create", "method_of", "options", "upload"]

_VERSION: Final = "1.0.0"
_EXTENSIONS: Final = "creation,creation-with-upload,expiration,checksum,termination"
_OCTETS: Final = "application/offset+octet-stream"
_PIECE: Final = 4 * 1024 * 1024
"""Bytes after which what came is kept, so that no more than these are sent twice."""
_SILENCE: Final = 30.0
"""Seconds in which some bytes must come."""
_CHECKSUM_MISMATCH: Final = 460
_ALGORITHMS: Final = {"sha1": hashlib.sha1, "sha256": hashlib.sha256, "md5": hashlib.md5}

ACCEPTS: Final = (
    "Tus-Resumable",
    "Upload-Length",
    "Upload-Offset",
    "Upload-Metadata",
    "Upload-Checksum",
    "X-HTTP-Method-Override",
)
EXPOSES: Final = (
    "Tus-Resumable",
    "Tus-Version",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Checksum-Algorithm",
    "Upload-Length",
    "Upload-Offset",
    "Upload-Expires",
    "Location",
)

Endpoint = Callable[..., Awaitable[Response]]


def _speaks_tus(endpoint: Endpoint) -> Endpoint:
    """See that the client speaks tus 1.0, and say in every answer that the server does, in refusals too."""

    @functools.wraps(endpoint)
    async def answer(request: Request, *path: str) -> Response:
        told = request.headers.get("tus-resumable")
        if told != _VERSION:
            return problem_response(
                Refused("invalid", f"Send `Tus-Resumable: {_VERSION}`; there is no other version."),
                HTTPStatus.PRECONDITION_FAILED,
                {"tus-version": _VERSION},
            )
        try:
            response = await endpoint(request, *path)
        except Refused as refused:
            response = problem_response(refused)
        response.headers["tus-resumable"] = _VERSION
        return response

    return answer


def options() -> Response:
    """What this server can do."""
    headers = {
        "tus-resumable": _VERSION,
        "tus-version": _VERSION,
        "tus-extension": _EXTENSIONS,
        "tus-max-size": str(limits().size),
        "tus-checksum-algorithm": ",".join(_ALGORITHMS),
    }
    return Response(status_code=HTTPStatus.NO_CONTENT, headers=headers)


@_speaks_tus
async def create(request: Request) -> Response:
    """Begin an upload; its first bytes may come with it."""
    server: RunningServer = request.state.server
    asker = await server.asker(request)
    if "upload-defer-length" in request.headers:
        raise Refused("invalid", "Tell the length: this server takes no upload of unknown length.")
    told = _metadata(request.headers.get("upload-metadata", ""))
    try:
        wanted = msgspec.convert(
            {
                "name": told.get("filename") or told.get("name") or "file",
                "size": _number(request, "upload-length"),
                "type": told.get("filetype") or told.get("type") or "application/octet-stream",
            },
            CreateUpload,
        )
    except msgspec.ValidationError as exc:
        raise Refused("invalid", f"Upload-Metadata: {exc}.") from None
    upload = await asker.call(wanted)
    offset = 0
    if request.headers.get("content-type") == _OCTETS:
        state = await asker.call(GetUpload(id=upload.id))
        taken = await _take(request, server, asker, state)
        if isinstance(taken, Response):
            return taken
        offset = taken.offset
    return _tus(HTTPStatus.CREATED, offset=offset, expires=upload.expires, location=upload.url)


@_speaks_tus
async def upload(request: Request, file: str) -> Response:
    """`HEAD`, `PATCH` or `DELETE` of an upload."""
    server: RunningServer = request.state.server
    asker = await server.asker(request)
    state = await asker.call(GetUpload(id=file))
    if method_of(request) == "DELETE":
        await asker.call(CancelUpload(id=file) if state.file is None else DeleteFile(id=file))
        return _tus(HTTPStatus.NO_CONTENT)
    if method_of(request) == "PATCH":
        if request.headers.get("content-type") != _OCTETS:
            return problem_response(
                Refused("invalid", f"Send the bytes as `Content-Type: {_OCTETS}`."), HTTPStatus.UNSUPPORTED_MEDIA_TYPE
            )
        offset = _number(request, "upload-offset")
        if offset != state.offset:
            # Told at once, so that a client that lost its place sends nothing in vain.
            raise Refused(
                "conflict",
                f"The upload has {state.offset} bytes, not {offset}; go on from there.",
                details={"reason": "offset", "offset": state.offset},
            )
        taken = await _take(request, server, asker, state)
        if isinstance(taken, Response):
            return taken
        return _tus(HTTPStatus.NO_CONTENT, offset=taken.offset, expires=taken.expires)
    if state.offset == state.size and state.file is None:
        await _finish(server, asker, state)
    return _tus(
        HTTPStatus.OK,
        offset=state.offset,
        expires=state.expires,
        **{"upload-length": str(state.size), "cache-control": "no-store"},
    )


def method_of(request: Request) -> str:
    """The method, also of clients that can send none but GET and POST."""
    told = request.headers.get("x-http-method-override", "")
    return told.upper() if request.method == "POST" and told else request.method


async def _take(request: Request, server: RunningServer, asker: Asker, state: UploadState) -> UploadState | Response:
    """Take the bytes that a request brings, and finish the upload when it is complete."""
    storage = open_storage(server.settings)
    checksum = _checksum(request)
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > state.size - state.offset:
        raise Refused("too_large", f"The upload is to have {state.size} bytes, and these are more.")
    if checksum is not None:
        return await _take_checked(request, server, asker, state, storage, checksum)
    pending = bytearray()
    try:
        async for chunk in _arriving(request):
            pending += chunk
            if state.offset + len(pending) > state.size:
                raise Refused("too_large", f"The upload is to have {state.size} bytes, and these are more.")
            if len(pending) >= _PIECE:
                state = await _append(server, asker, storage, state, bytes(pending))
                pending.clear()
    except (ClientDisconnect, TimeoutError):
        if pending:
            await _append(server, asker, storage, state, bytes(pending))
        return _broken_off()
    if pending:
        state = await _append(server, asker, storage, state, bytes(pending))
    return await _completed(server, asker, state)


async def _take_checked(
    request: Request,
    server: RunningServer,
    asker: Asker,
    state: UploadState,
    storage: Storage,
    checksum: tuple[str, bytes],
) -> UploadState | Response:
    """As `_take`, where nothing counts unless all of it is what the client sent: it is kept as one piece."""
    name, wanted = checksum
    digest = _ALGORITHMS[name](usedforsecurity=False)
    place = f"{upload_place(server.settings.app, state.id)}/{secrets.token_hex(8)}"
    counted = _Counted()
    try:
        await storage.put(place, counted.through(_arriving(request), digest, state.size - state.offset))
    except (ClientDisconnect, TimeoutError):
        return _broken_off()
    if not hmac.compare_digest(digest.digest(), wanted):
        return problem_response(
            Refused("invalid", f"The bytes are not those of the {name} checksum; send them again.", retry=True),
            _CHECKSUM_MISMATCH,
        )
    if counted.size:
        state = await asker.call(AppendPiece(id=state.id, offset=state.offset, size=counted.size, place=place))
    return await _completed(server, asker, state)


async def _arriving(request: Request) -> AsyncIterator[bytes]:
    """The body, as it comes. Raises `TimeoutError` where nothing comes any more."""
    body = request.stream()
    while True:
        async with asyncio.timeout(_SILENCE):
            try:
                chunk = await anext(body)
            except StopAsyncIteration:
                return
        yield chunk


def _broken_off() -> Response:
    """What nobody may be there to read."""
    return problem_response(
        Refused("cancelled", "The bytes broke off; ask with HEAD how many there are.", retry=True),
        HTTPStatus.REQUEST_TIMEOUT,
        {"connection": "close"},
    )


class _Counted:
    """Counts bytes that pass."""

    def __init__(self) -> None:
        self.size = 0

    async def through(self, chunks: AsyncIterator[bytes], digest: Any, most: int) -> AsyncIterator[bytes]:
        """Let chunks pass. Raises `Refused` for more than there may be."""
        async for chunk in chunks:
            self.size += len(chunk)
            if self.size > most:
                raise Refused("too_large", "These are more bytes than the upload is to have.")
            digest.update(chunk)
            yield chunk


async def _append(
    server: RunningServer, asker: Asker, storage: Storage, state: UploadState, content: bytes
) -> UploadState:
    """Keep a piece; only then it counts."""
    place = f"{upload_place(server.settings.app, state.id)}/{secrets.token_hex(8)}"
    await storage.put(place, _once(content))
    return await asker.call(AppendPiece(id=state.id, offset=state.offset, size=len(content), place=place))


async def _completed(server: RunningServer, asker: Asker, state: UploadState) -> UploadState:
    if state.offset == state.size and state.file is None:
        # With its pieces, which only this tells.
        await _finish(server, asker, await asker.call(GetUpload(id=state.id)))
    return state


async def _finish(server: RunningServer, asker: Asker, state: UploadState) -> FileInfo:
    if state.file is not None:
        return state.file
    return await finish(server.settings, open_storage(server.settings), asker, state)


def _number(request: Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not text.isdecimal() or not text.isascii() or len(text) > 16:
        raise Refused("invalid", f"{name.title()}: send a whole number of bytes.")
    return int(text)


def _metadata(text: str) -> dict[str, str]:
    """`Upload-Metadata`: names, each with its value in base64. Raises `Refused`."""
    found = {}
    for pair in filter(None, map(str.strip, text.split(","))):
        name, _, value = pair.partition(" ")
        try:
            found[name] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise Refused("invalid", "Upload-Metadata: send `name base64`, separated by commas.") from None
    return found


def _checksum(request: Request) -> tuple[str, bytes] | None:
    """`Upload-Checksum`: an algorithm, and the digest in base64. Raises `Refused`."""
    text = request.headers.get("upload-checksum")
    if text is None:
        return None
    name, _, value = text.partition(" ")
    try:
        if name in _ALGORITHMS:
            return name, base64.b64decode(value, validate=True)
    except binascii.Error:
        pass
    raise Refused("invalid", f"Upload-Checksum: send one of {', '.join(_ALGORITHMS)} and the digest in base64.")


def _tus(status: int, *, offset: int | None = None, expires: int = 0, **headers: str) -> Response:
    told = dict(headers)
    if offset is not None:
        told["upload-offset"] = str(offset)
    if expires:
        told["upload-expires"] = formatdate(expires / 1000, usegmt=True)
    return Response(status_code=status, headers=told)


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
