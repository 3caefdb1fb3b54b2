"""A server tells its contract, and its queries can be asked by URL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from backchannel import App, chat, demo
from backchannel.schema import asyncapi, json_schema, openapi


@pytest.fixture
async def http(serve: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the demo, as alice."""
    async with (
        serve(demo.app) as served,
        httpx2.AsyncClient(base_url=served.url, headers={"Authorization": f"Bearer {served.token()}"}) as client,
    ):
        yield client


async def test_the_documents_are_the_apps(http: httpx2.AsyncClient) -> None:
    """Without a token: they tell what is declared, and nothing of what is stored."""
    del http.headers["Authorization"]
    for path, write in (("/openapi.json", openapi), ("/asyncapi.json", asyncapi), ("/docs/contract.json", json_schema)):
        answer = await http.get(path)
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == write(demo.app)


async def test_the_page_loads_nothing_from_elsewhere(http: httpx2.AsyncClient) -> None:
    """Its policy lets it load its own files alone, and all that it names are there."""
    page = await http.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "://" not in page.text
    assert "<style" not in page.text
    for name, media_type in (("page.js", "text/javascript"), ("page.css", "text/css")):
        assert f'"docs/{name}"' in page.text
        answer = await http.get(f"/docs/{name}")
        assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"
        assert "://" not in answer.text
    moved = await http.get("/docs/")
    assert moved.is_redirect
    assert moved.headers["location"] == "../docs"


async def test_an_operator_may_keep_it_to_oneself(serve: Any) -> None:
    """With the setting `docs` off there is none of it."""
    async with serve(chat.app, docs=False) as served, httpx2.AsyncClient(base_url=served.url) as client:
        for path in ("/docs", "/docs/page.js", "/openapi.json", "/asyncapi.json"):
            assert (await client.get(path)).status_code == 404


async def test_an_apps_own_page_comes_first(serve: Any) -> None:
    """An app may declare `/docs` itself."""
    app = App("own")

    @app.route("/docs")
    async def own(_request: Request) -> Response:
        return PlainTextResponse("own")

    async with serve(app) as served, httpx2.AsyncClient(base_url=served.url) as client:
        assert (await client.get("/docs")).text == "own"
        assert (await client.get("/openapi.json")).json()["info"]["title"] == "own"


async def test_a_query_by_url_is_the_same_query(http: httpx2.AsyncClient) -> None:
    """GET with parameters answers as POST with a body: reply, positions, nothing kept by caches."""
    for text in ("one", "two", "three"):
        await http.post("/v1/message.send", json={"channel": "chat:lobby", "text": text})
    data: dict[str, str | int] = {"channel": "chat:lobby", "limit": 2, "after": 0}
    asked, posted = await http.get("/v1/message.list", params=data), await http.post("/v1/message.list", json=data)
    assert asked.status_code == 200
    assert [message["text"] for message in asked.json()["messages"]] == ["one", "two"]
    assert asked.content == posted.content
    assert asked.headers["backchannel-positions"] == posted.headers["backchannel-positions"]
    assert asked.headers["cache-control"] == "no-store"
    head = await http.head("/v1/message.list", params=data)
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize(
    ("query_string", "status", "code", "said"),
    [
        ("channel=chat:lobby&limit=many", 400, "invalid", "$.limit"),
        ("limit=5", 400, "invalid", "channel"),
        ("channel=chat:lobby&channel=chat:lobby", 400, "invalid", "two parameters"),
        ("channel=chat:nowhere", 404, "not_found", "chat:nowhere"),
        ("channel=%FF", 400, "invalid", "UTF-8"),
    ],
)
async def test_a_wrong_query_is_a_problem(
    http: httpx2.AsyncClient, query_string: str, status: int, code: str, said: str
) -> None:
    """With the same codes as everywhere."""
    answer = await http.get(f"/v1/message.list?{query_string}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert said in answer.json()["detail"]


async def test_a_url_has_a_longest(serve: Any) -> None:
    """A query string is bounded as a frame is; 414 tells that a body would do."""
    async with serve(demo.app, frame=1024) as served, httpx2.AsyncClient(base_url=served.url) as client:
        answer = await client.get(
            "/v1/channel.list", params={"cursor": "x" * 1100}, headers={"Authorization": f"Bearer {served.token()}"}
        )
    assert (answer.status_code, answer.json()["code"]) == (414, "too_large")


@pytest.mark.parametrize(
    ("method", "name", "allow"),
    [
        ("GET", "message.send", "POST"),
        ("HEAD", "message.send", "POST"),
        ("PUT", "message.send", "POST"),
        ("OPTIONS", "message.send", "POST"),
        ("DELETE", "channel.list", "GET, HEAD, POST"),
    ],
)
async def test_other_methods_are_told_which_there_are(
    http: httpx2.AsyncClient, method: str, name: str, allow: str
) -> None:
    """A command is never asked by GET, which browsers, proxies and crawlers repeat at will."""
    answer = await http.request(method, f"/v1/{name}")
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)


async def test_asking_needs_a_token(http: httpx2.AsyncClient) -> None:
    """By URL as by body; nothing in the URL stands for one."""
    del http.headers["Authorization"]
    assert (await http.get("/v1/channel.list?token=x")).status_code == 401
