"""A real server, and ways to be rude to it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
import websockets
from cryptography.hazmat.primitives.asymmetric import ec

from backchannel import Server, Settings
from backchannel.demo import app as demo_app

PATIENCE = 10.0
Start = Callable[..., contextlib.AbstractAsyncContextManager["Target"]]


class Target:
    """A server under attack."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.port = server.port

    def token(self, user: str) -> str:
        """A good token."""
        return self.server.issue_token(user, lifetime=600)[0]

    @contextlib.asynccontextmanager
    async def session(
        self, token: str, subprotocol: str = "backchannel.v1.json"
    ) -> AsyncIterator[tuple[websockets.ClientConnection, dict[str, Any]]]:
        """A connection with this token, and the answer to its `connect` (JSON only)."""
        protocols: Any = [subprotocol]
        url = f"ws://127.0.0.1:{self.port}/ws"
        async with websockets.connect(url, subprotocols=protocols, compression=None) as socket:
            if subprotocol.endswith("json"):
                await socket.send(json.dumps({"type": "connect", "id": 1, "token": token}))
                yield socket, json.loads(await socket.recv())
            else:
                yield socket, {}

    async def refusal(self, token: str) -> str:
        """The code with which a token is refused; empty if it is not."""
        async with self.session(token) as (_, answer):
            return str(answer.get("code", ""))

    async def works(self) -> None:
        """See that somebody else is served as if nothing had happened."""
        async with asyncio.timeout(PATIENCE), self.session(self.token("bystander")) as (_, answer):
            assert answer["type"] == "connected"

    async def raw(self, *parts: bytes) -> bytes:
        """Everything that comes back on a plain socket until the server closes it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for part in parts:
                writer.write(part)
            async with asyncio.timeout(PATIENCE):
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
                with contextlib.suppress(ConnectionError):
                    return await reader.read()
        finally:
            writer.close()
        return b""

    async def http(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        """Status and body of one request; `Host` is ours unless a header says otherwise."""
        fields = {"Host": f"127.0.0.1:{self.port}", "Content-Length": str(len(body)), "Connection": "close"}
        fields.update({name.replace("_", "-"): value for name, value in headers.items()})
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        answer = await self.raw(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)
        status, _, rest = answer.partition(b"\r\n")
        return int(status.split()[1]), rest.partition(b"\r\n\r\n")[2]

    def upgrade(self, **headers: str) -> bytes:
        """A handshake."""
        fields = {
            "Host": f"127.0.0.1:{self.port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        return f"GET /ws HTTP/1.1\r\n{''.join(f'{n}: {v}' + chr(13) + chr(10) for n, v in fields.items())}\r\n".encode()


def _target(folder: Path, **settings: Any) -> contextlib.AbstractAsyncContextManager[Target]:
    @contextlib.asynccontextmanager
    async def run() -> AsyncIterator[Target]:
        server = Server(demo_app, Settings(**{"dev": True, "port": 0, "data": str(folder), "drain": 1.0, **settings}))
        await server.start()
        try:
            yield Target(server)
        finally:
            await server.stop()

    return run()


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts a server with settings of one's own."""
    return lambda **settings: _target(tmp_path, **settings)


@pytest.fixture
async def target(start: Start) -> AsyncIterator[Target]:
    """A server with default settings."""
    async with start() as target:
        yield target


class Signer:
    """An issuer with one ES256 key of a given id, whose set is in a file."""

    def __init__(self, folder: Path, issuer: str, kid: str) -> None:
        self.issuer = issuer
        self.kid = kid
        self.private = ec.generate_private_key(ec.SECP256R1())
        codec: Any = jwt.get_algorithm_by_name("ES256")
        self.jwk = {**codec.to_jwk(self.private.public_key(), as_dict=True), "kid": kid}
        self.file = folder / f"{len(list(folder.glob('*.jwks')))}.jwks"
        self.file.write_text(json.dumps({"keys": [self.jwk]}))

    @property
    def setting(self) -> str:
        """What the operator writes."""
        return f"{self.issuer}={self.file}"

    def token(self, user: str, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token with the issuer's signature."""
        said = {"sub": user, "iss": self.issuer, "aud": "backchannel", "exp": time.time() + 600}
        return jwt.encode({**said, **claims}, self.private, "ES256", {"kid": self.kid, **(header or {})})


@pytest.fixture
def signer(tmp_path: Path) -> Callable[[str, str], Signer]:
    """Makes issuers."""
    (folder := tmp_path / "issuers").mkdir()
    return lambda issuer, kid: Signer(folder, issuer, kid)
