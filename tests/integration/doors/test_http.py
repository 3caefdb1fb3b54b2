"""The HTTP door: every command and query as a POST, with the codes of the protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from msgspec import Struct
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from backchannel.app import App
from backchannel.auth.principal import Principal
from backchannel.gateway.routes import application
from backchannel.gateway.transport import Connection, Transport
from backchannel.relay.relay import Failure, Reply
from backchannel.telemetry.metrics import metrics
from backchannel_protocol import Codec, Command, Limits, Query, Refused

ALICE = {"Authorization": "Bearer alice-token"}
LIMITS = Limits(frame=1000, nesting=4, call=3.0)


class Order(Struct):
    """An answer."""

    id: int


class FakeGateway:
    """Knows one token and one key, and answers what the test gave it."""

    frame_limit = 1000
    max_queued = 10_000

    def __init__(self) -> None:
        self.asked: list[tuple[Principal, str, bytes, str | None, float]] = []
        self.reply: Reply | Exception = Reply(id=1, data=b'{"id":7}')
        self.reasons: dict[str, str] = {}

    def allows_origin(self, origin: str | None, host: str | None) -> bool:
        return True

    def accept(
        self, transport: Transport, codec: Codec, address: str, token: str | None = None, compress_from: int = 0
    ) -> Connection:
        raise Refused("unavailable", "No WebSockets here.")

    async def ask(self, principal: Principal, name: str, data: bytes, key: str | None, timeout: float) -> Reply:
        self.asked.append((principal, name, data, key, timeout))
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply

    async def authenticate(self, token: str) -> Principal:
        if token != "alice-token":
            raise Refused("unauthenticated", "The token is not ours; fetch a fresh one.")
        return Principal("alice", "user:alice")

    async def api_key(self, secret: str, user: str) -> Principal:
        if secret != "bk_secret":
            raise Refused("unauthenticated", "There is no such key.")
        return Principal(user, f"key:1:{user}")

    def readiness(self) -> dict[str, str]:
        return self.reasons


def shop(folder: Path) -> App:
    """An app with a command, a query, routes and static files of its own."""
    app = App("shop")

    @app.command("order.place")
    class Place(Command[Order]):
        item: str

    @app.query("order.list")
    class List(Query[Order]):
        pass

    @app.route("/hello")
    async def hello(request: Request) -> Response:
        return PlainTextResponse("hello")

    @app.route("/broken")
    async def broken(request: Request) -> Response:
        raise RuntimeError("a secret")

    @app.route("/dev", dev_only=True)
    async def dev(request: Request) -> Response:
        return PlainTextResponse("dev")

    folder.joinpath("index.html").write_text("<p>page</p>")
    app.static("/", folder)
    return app


@pytest.fixture
def gateway() -> FakeGateway:
    """The gateway behind the door."""
    return FakeGateway()


@pytest.fixture
async def client(gateway: FakeGateway, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the whole application, without a socket."""
    app = application(gateway, shop(tmp_path), limits=LIMITS, cors_origins=["https://shop.example"])
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as made:
        yield made


def problem(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The answer is this problem; gives its body."""
    body: dict[str, Any] = response.json()
    assert (response.status_code, body["status"], body["code"]) == (status, status, code)
    assert response.headers["content-type"] == "application/problem+json"
    assert body["type"] == f"urn:backchannel:error:{code}"
    assert {"title", "detail", "retry", "outcome"} <= set(body)
    return body


async def test_a_command(client: httpx2.AsyncClient, gateway: FakeGateway) -> None:
    """The body is the data, the answer's body the reply; positions come in a header, and the key goes along."""
    gateway.reply = Reply(id=1, data=b'{"id":7}', positions={"orders:acme": 12})
    response = await client.post(
        "/v1/order.place", json={"item": "tea"}, headers={**ALICE, "Idempotency-Key": "order-0001"}
    )
    assert (response.status_code, response.json()) == (200, {"id": 7})
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    assert json.loads(response.headers["backchannel-positions"]) == {"orders:acme": 12}
    assert gateway.asked == [(Principal("alice", "user:alice"), "order.place", b'{"item":"tea"}', "order-0001", 3.0)]


async def test_a_query_without_a_body(client: httpx2.AsyncClient, gateway: FakeGateway) -> None:
    """No body at all is data without fields; no positions, no header."""
    response = await client.post("/v1/order.list", headers=ALICE)
    assert response.status_code == 200
    assert "backchannel-positions" not in response.headers
    assert gateway.asked[0][2] == b"{}"


@pytest.mark.parametrize(("headers", "user"), [({}, ""), ({"Backchannel-User": "bob"}, "bob")])
async def test_an_api_key(client: httpx2.AsyncClient, gateway: FakeGateway, headers: dict[str, str], user: str) -> None:
    """An API key acts for the user that it names, or as itself."""
    response = await client.post("/v1/order.list", headers={"Authorization": "bearer bk_secret", **headers})
    assert response.status_code == 200
    assert gateway.asked[0][0].user == user


REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("no authorization", {"headers": {}}, 401, "unauthenticated"),
    ("another scheme", {"headers": {"Authorization": "Basic YTpi"}}, 401, "unauthenticated"),
    ("no token", {"headers": {"Authorization": "Bearer "}}, 401, "unauthenticated"),
    ("unknown token", {"headers": {"Authorization": "Bearer x"}}, 401, "unauthenticated"),
    ("huge token", {"headers": {"Authorization": "Bearer " + "x" * 9000}}, 401, "unauthenticated"),
    ("unknown key", {"headers": {"Authorization": "Bearer bk_x"}}, 401, "unauthenticated"),
    ("user with a token", {"headers": {**ALICE, "Backchannel-User": "bob"}}, 400, "invalid"),
    ("bad user", {"headers": {"Authorization": "Bearer bk_secret", "Backchannel-User": "a b"}}, 400, "invalid"),
    ("two authorizations", {"headers": [("Authorization", "Bearer alice-token")] * 2}, 400, "invalid"),
    ("short key", {"headers": {**ALICE, "Idempotency-Key": "short"}}, 400, "invalid"),
    ("key with a space", {"headers": {**ALICE, "Idempotency-Key": "with a space"}}, 400, "invalid"),
    ("two keys", {"headers": [*ALICE.items(), ("Idempotency-Key", "order-0001"), ("Idempotency-Key", "order-0002")]},
     400, "invalid"),
    ("form", {"headers": ALICE, "data": {"item": "tea"}}, 415, "invalid"),
    ("no content type", {"headers": ALICE, "content": b"{}"}, 415, "invalid"),
    ("other charset", {"headers": {**ALICE, "Content-Type": "application/json; charset=latin-1"}, "content": b"{}"},
     415, "invalid"),
    ("not JSON", {"headers": {**ALICE, "Content-Type": "application/json"}, "content": b"{"}, 400, "invalid"),
    ("empty JSON", {"headers": {**ALICE, "Content-Type": "application/json"}, "content": b""}, 400, "invalid"),
    ("not UTF-8", {"headers": {**ALICE, "Content-Type": "application/json"}, "content": b'{"a":"\xff"}'},
     400, "invalid"),
    ("too deep", {"headers": ALICE, "json": [[[[[]]]]]}, 400, "invalid"),
    ("huge integer", {"headers": ALICE, "json": {"n": 2**53}}, 400, "invalid"),
    ("too large", {"headers": ALICE, "json": {"item": "x" * 1000}}, 413, "too_large"),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "status", "code"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
async def test_refused_before_asking(
    client: httpx2.AsyncClient, gateway: FakeGateway, request_: dict[str, Any], status: int, code: str
) -> None:
    """What cannot be asked is refused with its status and code, and never reaches a worker."""
    response = await client.post("/v1/order.place", **request_)
    problem(response, status, code)
    assert gateway.asked == []
    assert ("www-authenticate" in response.headers) is (status == 401)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_unknown_names(client: httpx2.AsyncClient, method: str) -> None:
    """An unknown name is not found, by any method."""
    problem(await client.request(method, "/v1/order.eat", headers=ALICE), 404, "not_found")


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_other_methods(client: httpx2.AsyncClient, method: str) -> None:
    """A known name answers POST only, and says so."""
    response = await client.request(method, "/v1/order.place", headers=ALICE)
    problem(response, 405, "invalid")
    assert response.headers["allow"] == "POST"


async def test_streamed_body_too_large(client: httpx2.AsyncClient) -> None:
    """A body of unknown length is refused as soon as it is over the limit, not at its end."""
    produced = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal produced
        while True:
            produced += 1
            yield b" " * 100

    response = await client.post(
        "/v1/order.place", headers={**ALICE, "Content-Type": "application/json"}, content=endless()
    )
    problem(response, 413, "too_large")
    assert response.headers["connection"] == "close"
    assert produced < 20


FAILURES: list[tuple[Refused, int, dict[str, Any]]] = [
    (Refused("sold_out", "None left; ask again tomorrow."), 409, {"retry": False, "outcome": "none"}),
    (Refused("rate_limited", "Slower.", retry_after=0.2), 429, {"retry": True, "retry_after": 0.2}),
    (Refused("unavailable", "No worker is there.", outcome="none", retry_after=2.0), 503, {"outcome": "none"}),
    (Refused("unavailable", "Time ran out."), 503, {"outcome": "unknown", "retry": True}),
    (Refused("invalid", "item: missing.", details={"path": "item"}), 400, {"details": {"path": "item"}}),
    (Refused("forbidden", "Not yours."), 403, {"retry": False}),
]


@pytest.mark.parametrize(("refused", "status", "fields"), FAILURES)
@pytest.mark.parametrize("raised", [True, False], ids=["raised", "in the reply"])
async def test_failures(
    client: httpx2.AsyncClient,
    gateway: FakeGateway,
    refused: Refused,
    status: int,
    fields: dict[str, Any],
    raised: bool,
) -> None:
    """What the relay or a worker refuses becomes the same problem; an app's own code is a conflict."""
    gateway.reply = refused if raised else Reply(id=1, failure=Failure.of(refused))
    response = await client.post("/v1/order.place", json={"item": "tea"}, headers=ALICE)
    body = problem(response, status, refused.code)
    assert body["detail"] == refused.message
    assert fields.items() <= body.items()
    assert ("retry-after" in response.headers) is (refused.retry_after is not None)
    if refused.retry_after is not None:
        assert int(response.headers["retry-after"]) >= refused.retry_after


async def test_unforeseen_failures(client: httpx2.AsyncClient, gateway: FakeGateway) -> None:
    """What fails unforeseen is `internal`, and its reason stays in the log."""
    gateway.reply = RuntimeError("the password is hunter2")
    before = metrics.http_requests["500"]
    response = await client.post("/v1/order.place", json={"item": "tea"}, headers=ALICE)
    problem(response, 500, "internal")
    assert "hunter2" not in response.text
    assert metrics.http_requests["500"] == before + 1
    broken = await client.get("/broken")
    problem(broken, 500, "internal")
    assert "secret" not in broken.text


async def test_operations(client: httpx2.AsyncClient, gateway: FakeGateway) -> None:
    """Alive is not ready; the version and the metrics are told."""
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/readyz")).status_code == 200
    gateway.reasons = {"relay": "no worker is there"}
    unready = await client.get("/readyz")
    assert (unready.status_code, unready.json()["reasons"]) == (503, gateway.reasons)
    assert (await client.get("/healthz")).status_code == 200
    assert (await client.get("/version")).json()["protocol"] == 1
    scraped = await client.get("/metrics")
    assert scraped.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "# HELP backchannel_deliveries_total " in scraped.text


async def test_routing_refuses_with_problems(client: httpx2.AsyncClient) -> None:
    """What no route answers is a problem too."""
    problem(await client.get("/nowhere"), 404, "not_found")
    response = await client.post("/healthz")
    problem(response, 405, "invalid")
    assert "GET" in response.headers["allow"]
    response = await client.get("/ws")
    problem(response, 426, "invalid")
    assert response.headers["upgrade"] == "websocket"


async def test_the_apps_own(client: httpx2.AsyncClient, gateway: FakeGateway, tmp_path: Path) -> None:
    """An app's routes and files are served; routes for development only there."""
    assert (await client.get("/hello")).text == "hello"
    assert (await client.get("/")).text == "<p>page</p>"
    problem(await client.get("/dev"), 404, "not_found")
    transport = httpx2.ASGITransport(app=application(gateway, shop(tmp_path), dev=True))
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as dev:
        assert (await dev.get("/dev")).text == "dev"


async def test_cors(client: httpx2.AsyncClient) -> None:
    """Pages of listed origins may use the door, without credentials; others may not."""
    asks = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type, idempotency-key",
    }
    allowed = await client.options("/v1/order.place", headers={"Origin": "https://shop.example", **asks})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
    assert "access-control-allow-credentials" not in allowed.headers
    denied = await client.options("/v1/order.place", headers={"Origin": "https://evil.example", **asks})
    assert "access-control-allow-origin" not in denied.headers
    refused = await client.post("/v1/order.place", headers={"Origin": "https://shop.example"})
    problem(refused, 401, "unauthenticated")
    assert refused.headers["access-control-allow-origin"] == "https://shop.example"
    assert "retry-after" in refused.headers["access-control-expose-headers"].lower()


def test_over_real_sockets(run_server: Callable[..., Any], gateway: FakeGateway, tmp_path: Path) -> None:
    """Behind the sniffing door, HTTP is as it was: kept connections, streams, pipelines and refusals."""
    app: Starlette = application(gateway, shop(tmp_path), limits=LIMITS)
    with run_server("sniffed", "uvloop", app) as server:
        with httpx2.Client(base_url=f"http://127.0.0.1:{server.port}") as client:
            for _ in range(3):
                response = client.post("/v1/order.place", json={"item": "tea"}, headers=ALICE)
                assert (response.status_code, response.json()) == (200, {"id": 7})
            large = client.post("/v1/order.place", json={"item": "x" * 300_000}, headers=ALICE)
            problem(large, 413, "too_large")
        with server.client() as raw:
            raw.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
            assert [raw.response()[0] for _ in range(3)] == [200, 200, 200]
        with server.client() as raw:
            raw.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 40_000 + b"\r\n\r\n")
            status, _, body = raw.response()
            assert (status, json.loads(body)["code"]) == (431, "too_large")
            assert raw.ended()
        with server.client() as raw:
            raw.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + b"X-A: a\r\n" * 200 + b"\r\n")
            assert raw.response()[0] == 431
        with server.client() as raw:
            raw.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 1_000_000)
            assert raw.response()[0] == 431
            assert raw.ended()
        with server.client() as raw:
            raw.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            assert raw.response()[0] == 200
            raw.send(b"nonsense\r\n\r\n")
            status, _, body = raw.response()
            assert (status, json.loads(body)["code"]) == (400, "invalid")
            assert raw.ended()


async def test_bodies_that_never_end(gateway: FakeGateway, tmp_path: Path) -> None:
    """A body that does not come in time is refused."""
    from backchannel.gateway.http import HttpDoor

    door = HttpDoor(gateway, shop(tmp_path), limits=LIMITS, body_timeout=0.01)
    never: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    scope = {
        "type": "http", "method": "POST", "path": "/v1/order.place", "query_string": b"",
        "path_params": {"name": "order.place"}, "headers": [(b"authorization", b"Bearer alice-token")],
    }  # fmt: skip

    async def receive() -> Any:
        return await never

    response = await door.call(Request(scope, receive))
    assert (response.status_code, json.loads(bytes(response.body))["code"]) == (408, "invalid")
