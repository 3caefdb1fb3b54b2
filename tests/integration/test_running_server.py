"""What an app's own HTTP routes are given: who asks, and the way to ask, in one process and in a gateway of many."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from backchannel import App, Command, Context, Publisher, Query, Refused, RunningServer, Server, Settings
from backchannel.auth.claims import TokenRules
from backchannel.auth.tokens import issue_token
from backchannel.server import GatewayProcess, WorkerProcess
from backchannel.store.postgres import postgres_api_keys
from backchannel.store.sqlite import sqlite_api_keys
from backchannel.testing.services import RedisServer

app = App("routes")


@app.query("who.ask")
class Who(Query[list[str]]):
    """Who asks."""


@app.command("secret.mark", internal=True)
class Mark(Command[str]):
    """Only the app asks."""

    text: str


@app.query("who.refuse")
class Refuse(Query[str]):
    """Refused."""


@app.handle(Who)
async def who(ctx: Context, request: Who) -> list[str]:
    """The user, and the API key."""
    return [ctx.user, ctx.api_key or ""]


@app.handle(Mark)
async def mark(ctx: Context, request: Mark) -> str:
    """What was asked, and by whom."""
    return f"{request.text} by {ctx.user!r}, {ctx.key}"


@app.handle(Refuse)
async def refuse(ctx: Context, request: Refuse) -> str:
    """Refuse."""
    raise Refused("rate_limited", "Later.", retry_after=2.5, details={"reason": "test"})


_settings: list[Settings] = []


@app.on_start
async def remember(publisher: Publisher) -> None:
    """Jobs know what the operator set."""
    _settings.append(publisher.settings)


@app.route("/who", methods=["GET", "PUT"], accepts=["X-Asked"], exposes=["X-Told"])
async def route(request: Request) -> Response:
    """Everything that a route may ask."""
    server: RunningServer = request.state.server
    asker = await server.asker(request)
    return JSONResponse(
        {
            "user": asker.user,
            "api_key": asker.api_key,
            "who": await asker.call(Who()) if "only" not in request.query_params else None,
            "by_name": await asker.call("secret.mark", {"text": "x"}),
            "keyed": await asker.call(Mark("y"), key="a-key-of-mine"),
            "as_app": await server.call(Mark("z"), user="carol"),
            "files": server.settings.files,
        }
    )


@app.route("/refuse")
async def refusing(request: Request) -> Response:
    """A refusal that passes through the route."""
    server: RunningServer = request.state.server
    await (await server.asker(request)).call(Refuse())
    raise AssertionError


async def _see_all(http: httpx2.AsyncClient, token: str, limited: str, key: str) -> None:
    """What holds wherever the route is served."""
    answer = await http.get("/who", headers={"authorization": f"Bearer {token}"})
    assert answer.json() == {
        "user": "alice",
        "api_key": None,
        "who": ["alice", ""],
        "by_name": "x by 'alice', None",
        "keyed": "y by 'alice', a-key-of-mine",
        "as_app": "z by 'carol', None",
        "files": "kept",
    }
    acting = await http.get("/who", headers={"authorization": f"Bearer {key}", "backchannel-user": "dave"})
    assert (acting.json()["user"], acting.json()["who"][0]) == ("dave", "dave")
    assert acting.json()["api_key"] == acting.json()["who"][1] != ""
    itself = await http.get("/who", headers={"authorization": f"Bearer {key}"})
    assert itself.json()["user"] == ""
    for headers in ({}, {"authorization": "Bearer nonsense"}, {"authorization": "Basic YTpi"}):
        refused = await http.get("/who", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
        assert refused.headers["www-authenticate"] == "Bearer"
    refused = await http.get("/refuse", headers={"authorization": f"Bearer {token}"})
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "3")
    assert refused.json()["details"] == {"reason": "test"}
    # Caps name what clients ask; internal requests are the route's own.
    capped = {"authorization": f"Bearer {limited}"}
    refused = await http.get("/who", headers=capped)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert (await http.get("/who?only", headers=capped)).json()["by_name"] == "x by 'alice', None"
    assert (await http.post("/v1/secret.mark", json={"text": "x"}, headers=capped)).status_code == 404


async def test_in_one_process(tmp_path: Path) -> None:
    """A whole server."""
    settings = Settings(dev=True, port=0, data=str(tmp_path), files="kept", drain=0.5)
    server = Server(app, settings)
    await server.start()
    keys = sqlite_api_keys(settings.database, settings.app)
    try:
        await _ask(server, keys)
    finally:
        await keys.close()
        await server.stop()
    assert _settings[-1].files == "kept"


async def test_in_a_gateway_of_many(
    tmp_path: Path, redis_server: RedisServer, redis_prefix: str, database_url: str
) -> None:
    """A process that runs no handler: what its routes ask goes over Redis to a worker, internal requests too."""
    settings = Settings(
        port=0,
        data=str(tmp_path),
        secret="routes-test-secret-routes-test-secret",
        redis=redis_server.url,
        redis_prefix=redis_prefix,
        postgres=database_url,
        files="kept",
        drain=0.5,
    )
    worker, gateway = WorkerProcess(app, settings), GatewayProcess(app, settings)
    await asyncio.gather(worker.start(), gateway.start())
    keys = await postgres_api_keys(database_url, settings.app)
    try:
        await _ask(gateway, keys)
    finally:
        await keys.close()
        await gateway.stop()
        await worker.stop()
    assert _settings[-1].files == "kept"


async def _ask(server: Any, keys: Any) -> None:
    token, _ = server.issue_token("alice", lifetime=60)
    limited = issue_token(
        server._secret, "alice", lifetime=60, caps=["call:other.*"], rules=TokenRules.of(server.settings)
    )
    _, key = await keys.create("test")
    async with asyncio.timeout(20), httpx2.AsyncClient(base_url=server.url) as http:
        for _ in itertools.count():
            if (await http.get("/readyz")).status_code == 200:
                break
            await asyncio.sleep(0.02)
        await _see_all(http, token, limited, key)


async def test_a_server_that_does_not_serve_yet_refuses(tmp_path: Path) -> None:
    """Before its start a server asks nobody."""
    server = Server(app, Settings(dev=True, port=0, data=str(tmp_path)))
    with pytest.raises(Refused) as caught:
        await server.call(Who(), user="alice")
    assert caught.value.code == "unavailable"
