"""Requests that only the app itself asks: to clients there is no such name, at any door and in any document."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
import pytest

from backchannel import App, Command, Context, Publisher, Query, Refused, Server, Settings, Struct
from backchannel.schema.asyncapi import asyncapi
from backchannel.schema.json_schema import json_schema
from backchannel.schema.openapi import openapi
from backchannel.schema.typescript import typescript
from backchannel.testing import Sandbox, sandboxed

app = App("internal")


class Done(Struct):
    """What was done."""

    by: str


@app.command("secret.sweep", internal=True)
class Sweep(Command[Done]):
    """Only a job may ask."""


@app.query("secret.look", internal=True)
class Look(Query[Done]):
    """Only another handler may ask."""


@app.query("public.look")
class LookOpenly(Query[Done]):
    """Anybody may ask; it asks the internal one."""


_swept: list[str] = []


@app.handle(Sweep)
async def sweep(ctx: Context, request: Sweep) -> Done:
    """Sweep."""
    return Done(f"job of {ctx.user!r}")


@app.handle(Look)
async def look(ctx: Context, request: Look) -> Done:
    """Look."""
    return Done("internal")


@app.handle(LookOpenly)
async def look_openly(ctx: Context, request: LookOpenly) -> Done:
    """Look by asking the internal one."""
    return await ctx.call(Look())


@app.on_start
async def sweep_once(publisher: Publisher) -> None:
    """Ask what only a job may ask."""
    _swept.append((await publisher.call(Sweep(), user="")).by)


@sandboxed(app)
async def test_only_the_app_itself_asks(box: Sandbox) -> None:
    """A job and a handler get their answers; to a client there is no such name."""
    assert _swept[-1] == "job of ''"
    client = await box.client("alice")
    assert await client.call(LookOpenly()) == Done("internal")
    for name in ("secret.sweep", "secret.look", "secret.nothing"):
        with pytest.raises(Refused, match="not_found"):
            await client.call(name, {})


async def test_the_http_door_knows_nothing_of_it(tmp_path: Path) -> None:
    """Neither POST nor GET reaches an internal request, and the refusal is that of an unknown name."""
    server = Server(app, Settings(dev=True, port=0, data=str(tmp_path)))
    await server.start()
    try:
        token, _ = server.issue_token("alice", lifetime=60)
        async with httpx2.AsyncClient(base_url=server.url, headers={"authorization": f"Bearer {token}"}) as http:
            assert (await http.post("/v1/public.look", json={})).json() == {"by": "internal"}
            for name in ("secret.sweep", "secret.look", "secret.nothing"):
                for answer in (await http.post(f"/v1/{name}", json={}), await http.get(f"/v1/{name}")):
                    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    finally:
        await server.stop()


def test_no_document_tells_of_it() -> None:
    """JSON Schema, OpenAPI, AsyncAPI and TypeScript leave it out."""
    for document in (json_schema(app), openapi(app), asyncapi(app), typescript(app)):
        text = document if isinstance(document, str) else json.dumps(document)
        assert "secret" not in text
        assert "public.look" in text
