"""The HTTP door of a real server: every command and query, with tokens and API keys."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from backchannel.store.sqlite import sqlite_api_keys


@pytest.fixture
def door() -> str:
    """HTTP is the same behind both; one is enough."""
    return "takeover"


@pytest.fixture
async def http(running_server: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the server."""
    async with httpx2.AsyncClient(base_url=running_server.url) as client:
        yield client


@pytest.fixture
async def api_key(running_server: Any) -> str:
    """A fresh API key."""
    keys = sqlite_api_keys(running_server.server.settings.database)
    try:
        _, shown = await keys.create("test")
    finally:
        await keys.close()
    return shown


def bearer(secret: str, **more: str) -> dict[str, str]:
    """Headers that carry a token or key."""
    return {"Authorization": f"Bearer {secret}", **more}


async def test_a_server_acts_for_a_user(running_server: Any, http: httpx2.AsyncClient, api_key: str) -> None:
    """With an API key and `Backchannel-User` a command is that user's, and listeners hear it."""
    alice = await running_server.wire("alice")
    await alice.ask("subscribe", channel="chat:lobby")
    answer = await http.post(
        "/v1/message.send",
        json={"channel": "chat:lobby", "text": "from the back office"},
        headers=bearer(api_key, **{"Backchannel-User": "bob"}),
    )
    assert answer.status_code == 200
    assert answer.json()["user"] == "bob"
    event = await alice.event("message.created")
    assert event["data"] == answer.json()
    assert event["user"] == "bob"


async def test_a_user_token_opens_the_same_door(running_server: Any, http: httpx2.AsyncClient) -> None:
    """A user's token works over HTTP as over the WebSocket."""
    answer = await http.post("/v1/channel.list", json={}, headers=bearer(running_server.token("alice")))
    assert answer.status_code == 200
    assert "chat:lobby" in [channel["channel"] for channel in answer.json()["channels"]]


async def test_one_idempotency_key_one_effect(running_server: Any, http: httpx2.AsyncClient, api_key: str) -> None:
    """A repeated `Idempotency-Key` answers with the first reply; other data under it is a conflict."""
    headers = bearer(api_key, **{"Backchannel-User": "alice", "Idempotency-Key": "order-66-again"})
    data = {"channel": "chat:lobby", "text": "once"}
    first = await http.post("/v1/message.send", json=data, headers=headers)
    again = await http.post("/v1/message.send", json=data, headers=headers)
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    other = await http.post("/v1/message.send", json={**data, "text": "twice"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "conflict")


@pytest.mark.parametrize(
    ("name", "body", "status", "code"),
    [
        ("message.send", b'{"channel": "chat:lobby"}', 400, "invalid"),
        ("message.send", b'{"channel": "chat:lobby", "text": 5}', 400, "invalid"),
        ("message.send", b"{", 400, "invalid"),
        ("message.send", b'{"channel":"chat:lobby","text":"x","n":' + b"[" * 100 + b"]" * 100 + b"}", 400, "invalid"),
        ("message.send", b'{"channel": "chat:nowhere", "text": "x"}', 404, "not_found"),
        ("rocket.launch", b"{}", 404, "not_found"),
        ("message.send", b'{"text":"' + b"x" * 70_000 + b'"}', 413, "too_large"),
    ],
)
async def test_refusals_are_problems_with_the_same_codes(
    running_server: Any, http: httpx2.AsyncClient, name: str, body: bytes, status: int, code: str
) -> None:
    """RFC 9457: problem+json with the code that the WebSocket would tell, and no internals."""
    answer = await http.post(
        f"/v1/{name}",
        content=body,
        headers=bearer(running_server.token("alice"), **{"Content-Type": "application/json"}),
    )
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["detail"]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("headers", [{}, bearer("nonsense"), bearer("bk_nonsense"), {"Authorization": "Basic eDp5"}])
async def test_without_a_good_secret_nothing_is_done(
    running_server: Any, http: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    """401 `unauthenticated`, whatever is wrong with it."""
    answer = await http.post("/v1/channel.list", json={}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_a_revoked_key_is_no_key(running_server: Any, http: httpx2.AsyncClient, api_key: str) -> None:
    """A revoked API key is refused at once, also by a server that runs."""
    headers = bearer(api_key, **{"Backchannel-User": "alice"})
    assert (await http.post("/v1/channel.list", json={}, headers=headers)).status_code == 200
    keys = sqlite_api_keys(running_server.server.settings.database)
    try:
        await keys.revoke((await keys.list())[0].id)
    finally:
        await keys.close()
    assert (await http.post("/v1/channel.list", json={}, headers=headers)).status_code == 401


async def test_small_answers_leave_at_once(running_server: Any, http: httpx2.AsyncClient) -> None:
    """Head and body of an answer are two writes: held back until the peer acknowledges the first, each would take
    40 ms."""
    await http.get("/healthz")
    began = time.perf_counter()
    for _ in range(20):
        await http.get("/healthz")
    assert time.perf_counter() - began < 20 * 0.04


async def test_the_operators_pages(running_server: Any, http: httpx2.AsyncClient) -> None:
    """Health, readiness, version and metrics answer without a token."""
    assert (await http.get("/healthz")).json() == {"status": "ok"}
    assert (await http.get("/readyz")).json() == {"status": "ready"}
    assert (await http.get("/version")).json()["protocol"] == 1
    await running_server.wire("alice")
    metrics = (await http.get("/metrics")).text
    assert "backchannel_connections 1.0" in metrics
    assert "backchannel_calls_total" in metrics


async def test_the_demo_lets_in_its_ready_made_users_alone(running_server: Any, http: httpx2.AsyncClient) -> None:
    """`/demo/token` gives a token for the listed users and for nobody else."""
    users = (await http.get("/demo/users")).json()["users"]
    assert {user["user"] for user in users} == {"alice", "bob", "carol", "dave"}
    issued = await http.post("/demo/token", json={"user": "bob"})
    assert issued.status_code == 200
    wire = await running_server.wire()
    assert (await wire.ask("connect", token=issued.json()["token"]))["user"] == "bob"
    assert (await http.post("/demo/token", json={"user": "root"})).status_code == 404
    assert (await http.post("/demo/token", content=b"{")).status_code == 400


async def test_outside_development_the_demo_lets_in_nobody(start_server: Any) -> None:
    """Without `--dev` there is no page that gives tokens away."""
    async with start_server(dev=False, secret="x" * 40) as server, httpx2.AsyncClient(base_url=server.url) as client:
        assert (await client.post("/demo/token", json={"user": "bob"})).status_code in (404, 405)


async def test_cors_is_for_listed_origins(start_server: Any) -> None:
    """A listed origin may use the HTTP door from a page; another is told nothing."""
    async with (
        start_server(origins=("https://app.example",)) as server,
        httpx2.AsyncClient(base_url=server.url) as client,
    ):
        for origin, allowed in (("https://app.example", "https://app.example"), ("https://evil.example", None)):
            answer = await client.options(
                "/v1/channel.list", headers={"Origin": origin, "Access-Control-Request-Method": "POST"}
            )
            assert answer.headers.get("access-control-allow-origin") == allowed
