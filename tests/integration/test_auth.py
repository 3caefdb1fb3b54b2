"""Tokens, issuers' keys, rotation and revocation, against the real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from backchannel.auth import key_set
from backchannel.auth.claims import TokenRules
from backchannel.auth.tokens import issue_token
from backchannel.store.sqlite import sqlite_api_keys, sqlite_revocations
from backchannel_protocol import CloseCode

ISSUER = "https://id.example.org"
OLD, NEW = "o" * 32, "n" * 32
BOUND = 5.0
"""Seconds within which what was revoked must be closed."""

Make = Callable[..., Any]
Start = Callable[..., contextlib.AbstractAsyncContextManager[Any]]


class Issuer:
    """Somebody who signs tokens with keys of their own, and a web server that tells the public ones."""

    def __init__(self) -> None:
        self.asked = 0
        self.status = "200 OK"
        self.url = ""
        self._private: dict[str, tuple[str, Any]] = {}

    def add(self, kid: str, algorithm: str) -> None:
        """Make a key."""
        made: Any
        if algorithm.startswith("ES"):
            made = ec.generate_private_key({"ES256": ec.SECP256R1, "ES384": ec.SECP384R1}[algorithm]())
        elif algorithm == "EdDSA":
            made = ed25519.Ed25519PrivateKey.generate()
        else:
            made = rsa.generate_private_key(65537, 2048)
        self._private[kid] = (algorithm, made)

    def remove(self, kid: str) -> None:
        """Take a key out of the set."""
        del self._private[kid]

    def token(self, user: str, kid: str, lifetime: float = 600, **claims: Any) -> str:
        """A token, signed with this key."""
        algorithm, private = self._private[kid]
        now = time.time()
        claims = {"sub": user, "iss": ISSUER, "aud": "backchannel", "iat": now, "exp": now + lifetime, **claims}
        return jwt.encode(claims, private, algorithm=algorithm, headers={"kid": kid})

    def document(self) -> bytes:
        """The key set as the world sees it."""
        keys = []
        for kid, (algorithm, private) in self._private.items():
            codec: Any = jwt.get_algorithm_by_name(algorithm)
            keys.append({**codec.to_jwk(private.public_key(), as_dict=True), "kid": kid, "alg": algorithm})
        return json.dumps({"keys": keys}).encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        body = self.document()
        writer.write(
            f"HTTP/1.1 {self.status}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body
        )
        await writer.drain()
        writer.close()


@pytest.fixture
def door() -> str:
    """Authentication is the same behind both; one is enough."""
    return "takeover"


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    """An issuer with one key of each kind."""
    issuer = Issuer()
    for kid, algorithm in (("r", "RS256"), ("e", "ES256"), ("s", "ES384"), ("d", "EdDSA")):
        issuer.add(kid, algorithm)
    server = await asyncio.start_server(issuer.serve, "127.0.0.1", 0)
    issuer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks.json"
    async with server:
        yield issuer


async def connect(server: Any, token: str) -> tuple[Any, dict[str, Any]]:
    """A connection with this token, and the answer to its `connect`."""
    wire = await server.wire()
    return wire, await wire.ask("connect", token=token)


# Issuers' keys


@pytest.mark.parametrize("kid", ["r", "e", "s", "d"])
async def test_an_issuers_token_opens_a_session(start_server: Start, issuer: Issuer, kid: str) -> None:
    """RS256, ES256, ES384 and EdDSA, by a JWKS URL; the claims count as in any token."""
    async with start_server(jwks=(f"{ISSUER}={issuer.url}",)) as server:
        wire, answer = await connect(server, issuer.token("alice", kid, channels=["chat:lobby"], caps=["listen:*"]))
        assert (answer["type"], answer["user"]) == ("connected", "alice")
        await wire.until(lambda f: f["type"] == "subscribed" and f["channel"] == "chat:lobby")
        refused = await wire.ask("call", name="message.send", data={"channel": "chat:lobby", "text": "x"})
        assert refused["code"] == "forbidden"
    assert issuer.asked == 1


async def test_a_key_set_may_be_a_file(start_server: Start, issuer: Issuer, tmp_path: Path) -> None:
    """An issuer without a web server, and no secret of our own: HMAC tokens are nobody's then."""
    file = tmp_path / "keys.json"
    file.write_bytes(issuer.document())
    async with start_server(jwks=(f"{ISSUER}={file}",), dev=False) as server:
        assert (await connect(server, issuer.token("alice", "e")))[1]["type"] == "connected"
        assert (await connect(server, issue_token(OLD.encode(), "a", lifetime=60)))[1]["code"] == "unauthenticated"


async def test_a_rotated_key_is_found_and_an_old_one_forgotten(
    start_server: Start, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `kid` that is not known is asked for; what the issuer took out verifies nothing any more."""
    monkeypatch.setattr(key_set, "INTERVAL", 0.0)
    async with start_server(jwks=(f"{ISSUER}={issuer.url}",)) as server:
        old = issuer.token("alice", "e")
        assert (await connect(server, old))[1]["type"] == "connected"
        issuer.add("next", "ES256")
        issuer.remove("e")
        assert (await connect(server, issuer.token("alice", "next")))[1]["type"] == "connected"
        wire, answer = await connect(server, old)
        assert answer["code"] == "unauthenticated"
        assert await wire.closed() == CloseCode.UNAUTHENTICATED


async def test_an_issuer_that_is_down_is_no_refusal(start_server: Start, issuer: Issuer) -> None:
    """Whoever holds a token that cannot be judged now is told to come back (CONN-10), not to get another token."""
    issuer.status = "503 Unavailable"
    async with start_server(jwks=(f"{ISSUER}={issuer.url}",)) as server:
        wire, answer = await connect(server, issuer.token("alice", "e"))
        assert (answer["code"], answer["retry"]) == ("unavailable", True)
        assert await wire.closed() == CloseCode.UNAVAILABLE


# Secrets


async def test_two_secrets_are_good_during_a_rotation(start_server: Start) -> None:
    """A token of the secret before this one still opens a session; one of any other does not."""
    async with start_server(secret=NEW, secret_previous=OLD) as server:
        for secret, answer_type in ((NEW, "connected"), (OLD, "connected"), ("x" * 32, "error")):
            token = issue_token(secret.encode(), "alice", lifetime=60)
            assert (await connect(server, token))[1]["type"] == answer_type
    async with start_server(secret=NEW) as server:
        assert (await connect(server, issue_token(OLD.encode(), "alice", lifetime=60)))[1]["code"] == "unauthenticated"


async def test_issuer_and_audience_are_checked_for_the_secrets_tokens_too(start_server: Start) -> None:
    """With both set, only tokens that name them are let in; those that the server itself issues do."""
    async with start_server(secret=NEW, issuer="shop", audience=("web", "app"), guests=True) as server:
        assert (await connect(server, server.token("alice")))[1]["type"] == "connected"
        guest = await (await server.wire()).ask("connect")
        assert (await connect(server, guest["token"]))[1]["user"] == guest["user"]
        for rules, said in ((TokenRules("shop"), "aud"), (TokenRules("other", ("app",)), "iss")):
            token = issue_token(NEW.encode(), "alice", lifetime=60, rules=rules)
            assert said in (await connect(server, token))[1]["message"]


# Refresh and expiry


async def test_an_unrefreshed_token_closes_the_connection(running_server: Any) -> None:
    """CONN-25: at the time of its expiry."""
    token, _ = running_server.server.issue_token("alice", lifetime=1.2)
    wire, answer = await connect(running_server, token)
    assert answer["type"] == "connected"
    assert await wire.closed() == CloseCode.EXPIRED


async def test_a_refresh_counts_at_once(start_server: Start) -> None:
    """A narrower token ends what it does not allow, and one that names more channels subscribes them."""
    async with start_server(secret=NEW) as server:

        def token(**more: Any) -> str:
            return issue_token(NEW.encode(), "alice", lifetime=600, **more)

        wire, _ = await connect(server, token(channels=["chat:lobby"]))
        await wire.until(lambda f: f["type"] == "subscribed" and f["channel"] == "chat:lobby")
        assert (await wire.ask("refresh", token=token(channels=["chat:lobby", "metrics:b"])))["type"] == "reply"
        await wire.until(lambda f: f["type"] == "subscribed" and f["channel"] == "metrics:b")
        assert (await wire.ask("refresh", token=token(caps=["listen:metrics:b"])))["type"] == "reply"
        ended = await wire.until(lambda f: f["type"] == "unsubscribed" and f["channel"] == "chat:lobby")
        assert ended["code"] == "forbidden"
        refused = await wire.ask("call", name="message.send", data={"channel": "chat:lobby", "text": "x"})
        assert refused["code"] == "forbidden"
        answer = await wire.ask("subscribe", channel="metrics:b")
        assert answer["verdict"] == "recovered"  # SUB-4: it went on all the while


async def test_who_let_go_of_a_channel_is_not_brought_back_by_a_refresh(start_server: Start) -> None:
    """Only what the new token adds is subscribed."""
    async with start_server(secret=NEW) as server:

        def token(*channels: str) -> str:
            return issue_token(NEW.encode(), "alice", lifetime=600, channels=channels)

        wire, _ = await connect(server, token("metrics:a"))
        await wire.until(lambda f: f["type"] == "subscribed" and f["channel"] == "metrics:a")
        await wire.ask("unsubscribe", channel="metrics:a")
        await wire.ask("refresh", token=token("metrics:a", "metrics:b"))
        await wire.until(lambda f: f["type"] == "subscribed" and f["channel"] == "metrics:b")
        assert (await wire.ask("history", channel="metrics:a", limit=1))["code"] == "forbidden"


# Revocation


@contextlib.asynccontextmanager
async def revoking(server: Any) -> Any:
    """The revocations of a server's database, as another process sees them."""
    revocations = sqlite_revocations(server.server.settings.database)
    try:
        yield revocations
    finally:
        await revocations.close()


async def closed_within_the_bound(wire: Any) -> int:
    """The close code, which comes in time."""
    async with asyncio.timeout(BOUND):
        return int(await wire.closed())


async def test_a_revoked_user_is_out_everywhere(running_server: Any) -> None:
    """All open connections close with 4501 within the bound, also one that does not listen to its user's channel; the
    old tokens are refused, another user's go on, and a fresh token is good."""
    server = running_server
    old = server.token("alice")
    first, _ = await connect(server, old)
    await first.ask("unsubscribe", channel="user:alice")
    second = await server.wire("alice")
    bob = await server.wire("bob")
    async with revoking(server) as revocations:
        await revocations.add(user="alice")
    codes = await asyncio.gather(*map(closed_within_the_bound, (first, second)))
    assert set(codes) == {CloseCode.REVOKED}
    wire, answer = await connect(server, old)
    assert answer["code"] == "unauthenticated"
    assert "revoked" in answer["message"]
    assert await wire.closed() == CloseCode.UNAUTHENTICATED
    assert (await connect(server, server.token("alice")))[1]["type"] == "connected"
    await bob.call("channel.list", {})


async def test_a_revoked_token_ends_alone(start_server: Start) -> None:
    """By its `jti`: the user's other connection goes on, and the token cannot be refreshed to."""
    async with start_server(secret=NEW) as server:
        named = issue_token(NEW.encode(), "alice", lifetime=600, token_id="wall-1")
        wall, _ = await connect(server, named)
        desk = await server.wire("alice")
        async with revoking(server) as revocations:
            await revocations.add(token_id="wall-1")
        assert await closed_within_the_bound(wall) == CloseCode.REVOKED
        assert (await desk.ask("refresh", token=named))["code"] == "unauthenticated"
        await desk.call("channel.list", {})


async def test_only_tokens_from_before_are_revoked(start_server: Start) -> None:
    """By `issued_before`: a token issued later stays, one that does not say when counts as old."""
    async with start_server(secret=NEW) as server:
        now = time.time()
        secret = NEW.encode()
        old, _ = await connect(server, issue_token(secret, "alice", lifetime=600, now=now - 100))
        young, _ = await connect(server, issue_token(secret, "alice", lifetime=600, now=now - 10))
        silent, _ = await connect(server, jwt.encode({"sub": "alice", "exp": now + 600}, secret, algorithm="HS256"))
        async with revoking(server) as revocations:
            await revocations.add(user="alice", issued_before=int((now - 50) * 1000))
        assert await closed_within_the_bound(old) == CloseCode.REVOKED
        assert await closed_within_the_bound(silent) == CloseCode.REVOKED
        await young.call("channel.list", {})


async def test_a_guest_is_revoked_as_any_user(start_server: Start) -> None:
    """By the name that the server gave it."""
    async with start_server(guests=True) as server:
        wire = await server.wire()
        guest = await wire.ask("connect")
        async with revoking(server) as revocations:
            await revocations.add(user=guest["user"])
        assert await closed_within_the_bound(wire) == CloseCode.REVOKED
        assert (await connect(server, guest["token"]))[1]["code"] == "unauthenticated"


async def test_a_revocation_outlives_a_restart(start_server: Start) -> None:
    """It is in the store, and a server that starts reads it before it lets anybody in."""
    async with start_server(secret=NEW) as server:
        token = server.token("alice")
        async with revoking(server) as revocations:
            await revocations.add(user="alice")
    async with start_server(secret=NEW) as server:
        assert (await connect(server, token))[1]["code"] == "unauthenticated"


@pytest.fixture
async def http(running_server: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """The HTTP door."""
    async with httpx2.AsyncClient(base_url=running_server.url) as client:
        yield client


@pytest.fixture
async def api_key(running_server: Any) -> str:
    """A fresh API key."""
    keys = sqlite_api_keys(running_server.server.settings.database)
    try:
        return (await keys.create("test"))[1]
    finally:
        await keys.close()


async def test_a_server_revokes_over_http(running_server: Any, http: httpx2.AsyncClient, api_key: str) -> None:
    """`auth.revoke` with an API key: the user is told on their channel, and then the connection closes."""
    alice = await running_server.wire("alice")
    token = running_server.token("alice")
    answer = await http.post("/v1/auth.revoke", json={"user": "alice"}, headers={"Authorization": f"Bearer {api_key}"})
    assert answer.status_code == 200, answer.text
    told = await alice.event("user.disconnected", "user:alice")
    assert told["data"] == {"revoked": True}
    assert await closed_within_the_bound(alice) == CloseCode.REVOKED
    refused = await http.post("/v1/channel.list", json={}, headers={"Authorization": f"Bearer {token}"})
    assert refused.status_code == 401


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid"),
        ({"user": "alice", "token_id": "x"}, "invalid"),
        ({"user": "a b"}, "invalid"),
        ({"token_id": ""}, "invalid"),
        ({"token_id": "x", "issued_before": 1}, "invalid"),
        ({"user": "alice", "issued_before": 9_000_000_000_000}, "invalid"),
        ({"user": "alice", "expires": 1}, "invalid"),
    ],
)
async def test_nonsense_is_not_revoked(http: httpx2.AsyncClient, api_key: str, body: dict[str, Any], code: str) -> None:
    """What names nobody, two things, or a time that cannot be meant."""
    answer = await http.post("/v1/auth.revoke", json=body, headers={"Authorization": f"Bearer {api_key}"})
    assert answer.json()["code"] == code


async def test_nobody_else_revokes(running_server: Any, http: httpx2.AsyncClient, api_key: str) -> None:
    """Neither a user, on either door, nor an API key on a user's behalf."""
    alice = await running_server.wire("alice")
    answer = await alice.ask("call", name="auth.revoke", data={"user": "bob"})
    assert answer["code"] == "forbidden"
    for secret, more in ((running_server.token("alice"), {}), (api_key, {"Backchannel-User": "alice"})):
        response = await http.post(
            "/v1/auth.revoke", json={"user": "bob"}, headers={"Authorization": f"Bearer {secret}", **more}
        )
        assert response.json()["code"] == "forbidden"


async def test_a_revoked_api_key_is_refused_at_once(
    running_server: Any, http: httpx2.AsyncClient, api_key: str
) -> None:
    """The next request with it is turned down."""
    headers = {"Authorization": f"Bearer {api_key}", "Backchannel-User": "alice"}
    assert (await http.post("/v1/channel.list", json={}, headers=headers)).status_code == 200
    keys = sqlite_api_keys(running_server.server.settings.database)
    try:
        assert await keys.revoke((await keys.list())[0].id)
    finally:
        await keys.close()
    assert (await http.post("/v1/channel.list", json={}, headers=headers)).status_code == 401


# Limits


async def test_a_user_holds_so_many_connections_and_no_more(start_server: Start) -> None:
    """CONN-10: the next one is refused, with 4502; who leaves makes room, and others are not concerned."""
    async with start_server(connections_per_user=2) as server:
        first, _ = await server.wire("alice"), await server.wire("alice")
        wire, answer = await connect(server, server.token("alice"))
        assert answer["code"] == "limit_exceeded"
        assert await wire.closed() == CloseCode.TOO_MANY_CONNECTIONS
        await server.wire("bob")
        await first.ask("refresh", token=server.token("alice"))
        await first.socket.close()
        async with asyncio.timeout(BOUND):
            # The server may learn of it a moment later than we.
            while (await connect(server, server.token("alice")))[1]["type"] != "connected":
                pass
