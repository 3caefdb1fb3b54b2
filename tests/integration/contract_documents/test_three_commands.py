"""An app that only declares and handles three commands has routes, documents, typed clients and a command line."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from backchannel import App, Client

ROOT = Path(__file__).parents[3]
CLIENTS = Path(__file__).parent / "clients"
COMMANDS = ("todo.add", "todo.finish", "todo.remove")


async def command_line(*words: str, **variables: str) -> str:
    """Run `backchannel WORDS…` beside the examples, and return what it wrote."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BACKCHANNEL_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "backchannel.cli", *words,
        cwd=ROOT / "examples",
        env={**environment, **variables},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


async def test_routes(serve: Any, todo: App) -> None:
    """Each command answers over HTTP; its own error is a problem with its own code, and listeners hear the events."""
    async with (
        serve(todo) as served,
        httpx2.AsyncClient(base_url=served.url, headers={"Authorization": f"Bearer {served.token()}"}) as http,
        Client(served.url.replace("http", "ws") + "/ws", token=served.token("bob")) as bob,
        bob.subscribe("todos:home") as heard,
    ):
        await heard.ready()
        added = await http.post("/v1/todo.add", json={"list": "home", "text": "Water the plants"})
        assert added.status_code == 200
        wish = {"list": "home", "id": added.json()["id"]}
        assert (await http.post("/v1/todo.finish", json=wish)).json()["done"] is True
        refused = await http.post("/v1/todo.finish", json=wish)
        assert (refused.status_code, refused.json()["code"]) == (409, "already_done")
        assert (await http.post("/v1/todo.remove", json=wish)).json()["removed"] is True
        event = await anext(heard)
        assert (event.name, event.data["text"]) == ("todo.changed", "Water the plants")


async def test_documents(serve: Any, todo: App) -> None:
    """They are served, and list all three with data, reply and errors."""
    async with serve(todo) as served, httpx2.AsyncClient(base_url=served.url) as http:
        paths = (await http.get("/openapi.json")).json()["paths"]
        operations = (await http.get("/asyncapi.json")).json()["operations"]
        assert (await http.get("/docs")).status_code == 200
    assert set(paths) == {f"/v1/{name}" for name in COMMANDS}
    assert {f"call.{name}" for name in COMMANDS} <= set(operations)
    assert "already_done" in paths["/v1/todo.finish"]["post"]["responses"]["409"]["description"]


async def test_command_line(serve: Any, todo: App) -> None:
    """`call` asks, `schema` writes what clients are made from."""
    async with serve(todo) as served:
        answer = await command_line(
            "call", "todo.add", '{"list": "home", "text": "From a shell"}', "--url",
            served.url.replace("http", "ws") + "/ws", BACKCHANNEL_TOKEN=served.token(),
        )  # fmt: skip
    assert json.loads(answer)["text"] == "From a shell"
    forms = ("openapi", "asyncapi", "typescript")
    for written in await asyncio.gather(*(command_line("schema", form, "todo:app") for form in forms)):
        assert all(name in written for name in COMMANDS)


@pytest.mark.timeout(300)  # the tools may have to be installed
async def test_typed_client(tools: Any, tmp_path: Path) -> None:
    """The module that `schema typescript` writes types the client's calls: what is right compiles, what is wrong does
    not."""
    await command_line("schema", "typescript", "todo:app", "--output", str(tmp_path / "contract.gen.ts"))
    shutil.copy(CLIENTS / "over_websocket.ts", tmp_path)
    config = json.loads((ROOT / "client_js" / "tsconfig.json").read_text())
    config["compilerOptions"] |= {"paths": {"@backchannel/client": [str(ROOT / "client_js" / "src" / "index.ts")]}}
    config["include"] = ["*.ts"]
    (tmp_path / "tsconfig.json").write_text(json.dumps(config))
    await tools.run(ROOT / "client_js" / "node_modules" / ".bin" / "tsc", "--noEmit", cwd=tmp_path)
