"""Two gateways and two workers: what one process does, they do together, and go on when one of them is killed."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import signal
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from backchannel.chat import Message, MessageCreated, SendMessage
from backchannel.testing.services import PostgresServer, RedisServer
from backchannel_client import Client, Subscription
from backchannel_protocol import Refused

if TYPE_CHECKING:
    from tests.integration.processes.conftest import Installation

pytestmark = pytest.mark.timeout(180)

MakeClient = Callable[..., Client]
Eventually = Callable[..., Awaitable[Any]]
Ask = Callable[..., Awaitable[tuple[int, Any]]]

PATIENCE = 30.0


class Topology:
    """Two gateways and two workers of one installation."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.gateways = [installation.gateway("--dev", "--routing", "random") for _ in range(2)]
        self.workers = [installation.worker() for _ in range(2)]

    async def ready(self) -> None:
        """Start again those that a test has ended, and return once all are ready."""
        parts = [*self.gateways, *self.workers]
        for part in parts:
            part.start_again()
        await self.installation.ready(*parts)

    @property
    def urls(self) -> list[str]:
        """Of the gateways."""
        return [gateway.url for gateway in self.gateways]


@pytest.fixture(scope="module")
def two_and_two(
    make_installation: Callable[..., Installation],
    tmp_path_factory: pytest.TempPathFactory,
    redis_server: RedisServer,
    postgres_server: PostgresServer,
) -> Iterator[Topology]:
    """Two and two, of the demo, for the tests of this file."""
    installation = make_installation(
        tmp_path_factory.mktemp("topology"),
        redis_server.url,
        f"test-{secrets.token_hex(6)}",
        postgres_server.create_database(),
    )
    try:
        yield Topology(installation)
    finally:
        installation.kill()


@pytest.fixture
async def topology(two_and_two: Topology) -> Topology:
    """All four, ready."""
    await two_and_two.ready()
    return two_and_two


@pytest.fixture
async def channel(topology: Topology, client: MakeClient, request: pytest.FixtureRequest) -> str:
    """A chat channel of the test's own, with everybody in it."""
    name = re.sub(r"[^a-z0-9]", "-", request.node.name.lower())[:64]
    async with client("alice", topology.urls[0]) as alice:
        members = ["bob", "carol", "dave"]
        await alice.call("channel.create", {"id": name, "name": "Test", "members": members}, timeout=PATIENCE)
    return f"chat:{name}"


async def messages(subscription: Subscription, count: int) -> list[MessageCreated]:
    """The next messages that were created."""
    found: list[MessageCreated] = []
    async with asyncio.timeout(PATIENCE):
        async for event in subscription:
            if event.name == "message.created":
                found.append(event.decode(MessageCreated))
            if len(found) == count:
                break
    return found


async def until_present(client: Client, channel: str, users: set[str], eventually: Eventually) -> None:
    """Wait until exactly these are there."""

    async def look() -> bool | None:
        members = (await client.presence(channel)).members or []
        return True if {member.user for member in members} == users else None

    await eventually(look)


async def test_two_users_on_two_gateways(
    topology: Topology,
    channel: str,
    client: MakeClient,
    request_http: Ask,
    eventually: Eventually,
    token: Callable[[str], str],
) -> None:
    """They chat, see each other's presence, and a server's plain HTTP request through one gateway reaches the listeners
    of the other; whoever develops gets a token of a ready-made user from either."""
    first, second = topology.urls
    async with client("alice", first) as alice, client("bob", second) as bob:
        hears = [one.subscribe(channel) for one in (alice, bob)]
        for subscription in hears:
            await subscription.ready()
        await alice.call(SendMessage(channel=channel, text="from the first"), timeout=PATIENCE)
        await bob.call(SendMessage(channel=channel, text="from the second"), timeout=PATIENCE)
        status, answer = await request_http(
            "POST",
            topology.gateways[1].port,
            "/v1/message.send",
            json.dumps({"channel": channel, "text": "by HTTP"}).encode(),
            {
                "Authorization": f"Bearer {token('carol')}",
                "Content-Type": "application/json",
                "Idempotency-Key": "k" * 8,
            },
        )
        assert status == 200, answer
        for subscription in hears:
            heard = await messages(subscription, 3)
            assert [message.text for message in heard] == ["from the first", "from the second", "by HTTP"]
            assert [message.seq for message in heard] == [1, 2, 3]
        for one in (alice, bob):
            await until_present(one, channel, {"alice", "bob"}, eventually)
    wish = json.dumps({"user": "dave"}).encode()
    for gateway in topology.gateways:
        status, issued = await request_http("POST", gateway.port, "/demo/token", wish)
        assert status == 200
        assert issued["token"]
        assert (await gateway.get("/openapi.json"))[0] == 200


async def test_a_killed_worker_costs_nothing(topology: Topology, channel: str, client: MakeClient) -> None:
    """P1, P2: keyed commands under way while a worker is killed are answered by the other, each with one effect."""
    async with client("alice", topology.urls[0]) as alice, client("bob", topology.urls[1]) as bob:
        subscription = bob.subscribe(channel)
        await subscription.ready()
        reached = asyncio.Event()
        sent: list[Message] = []

        async def send(number: int) -> None:
            sent.append(await alice.call(SendMessage(channel=channel, text=f"{number}"), timeout=PATIENCE))
            if len(sent) == 40:
                reached.set()

        async def kill() -> None:
            await reached.wait()
            topology.workers[0].send(signal.SIGKILL)

        killing = asyncio.create_task(kill())
        for start in range(0, 120, 6):
            await asyncio.gather(*(send(number) for number in range(start, start + 6)))
        await killing
        heard = await messages(subscription, len(sent))
    assert sorted(int(message.text) for message in heard) == list(range(120))
    assert [message.seq for message in heard] == list(range(1, 121))
    assert {(m.id, m.seq, m.text) for m in heard} == {(m.id, m.seq, m.text) for m in sent}


async def test_a_client_resumes_at_the_other_gateway(
    topology: Topology, channel: str, client: MakeClient, eventually: Eventually
) -> None:
    """P3: a gateway that is killed takes nothing along: its clients come back elsewhere, miss nothing, and its users'
    presence ends unless they do."""
    async with client("alice", topology.urls[0]) as alice, client("bob", *reversed(topology.urls)) as bob:
        subscription, watched = bob.subscribe(channel), alice.subscribe(channel)
        await subscription.ready()
        await watched.ready()
        session = bob.session
        await alice.call(SendMessage(channel=channel, text="0"), timeout=PATIENCE)
        topology.gateways[1].send(signal.SIGKILL)
        for number in range(1, 20):
            await alice.call(SendMessage(channel=channel, text=f"{number}"), timeout=PATIENCE)
        heard = await messages(subscription, 20)
        assert [message.text for message in heard] == [f"{number}" for number in range(20)]
        assert bob.session != session
        await until_present(alice, channel, {"alice", "bob"}, eventually)


async def test_no_worker_is_its_own_error(topology: Topology, channel: str, client: MakeClient) -> None:
    """Whoever asks while no worker is there is told so at once, and the gateways are unready."""
    async with client("alice", topology.urls[0]) as alice:
        await asyncio.gather(*(worker.end() for worker in topology.workers))
        reasons = await topology.gateways[0].until_readiness(lambda reasons: "relay" in reasons)
        assert reasons == {"relay": "no worker is there"}
        loop = asyncio.get_running_loop()
        before = loop.time()
        with pytest.raises(Refused) as refused:
            await alice.call("message.send", {"channel": channel, "text": "x"}, key=None, timeout=PATIENCE)
        assert (refused.value.code, refused.value.outcome) == ("unavailable", "none")
        assert loop.time() - before < 1.0


async def test_a_worker_counts_and_ends_in_time(topology: Topology, channel: str, client: MakeClient) -> None:
    """Its health port has its metrics; SIGTERM ends it within 10 s, with 0."""
    async with client("alice", topology.urls[0]) as alice:
        for number in range(10):
            await alice.call(SendMessage(channel=channel, text=f"{number}"), timeout=PATIENCE)
    counted = 0.0
    for worker in topology.workers:
        status, text = await worker.get("/metrics")
        assert status == 200
        counted += float(text.partition("\nbackchannel_worker_commands_total ")[2].split("\n")[0])
        assert "backchannel_worker_open " in text
    assert counted >= 10
    assert await topology.workers[0].end(patience=10) == 0


async def test_sigterm_moves_clients_to_the_other_gateway(topology: Topology, channel: str, client: MakeClient) -> None:
    """P7: the gateway ends with 0, its client is on the other one before that, and missed nothing."""
    async with client("alice", topology.urls[0]) as alice, client("bob", *reversed(topology.urls)) as bob:
        subscription = bob.subscribe(channel)
        await subscription.ready()
        ending = asyncio.create_task(topology.gateways[1].end(patience=40))
        sent = 0
        while not ending.done():
            await alice.call(SendMessage(channel=channel, text=f"{sent}"), timeout=PATIENCE)
            sent += 1
        assert await ending == 0
        heard = await messages(subscription, sent)
        assert [message.text for message in heard] == [f"{number}" for number in range(sent)]
        assert bob.state == "connected"


async def test_a_user_is_there_as_long_as_any_gateway_has_them(
    topology: Topology, channel: str, client: MakeClient, eventually: Eventually
) -> None:
    """Presence that chat keeps in rows: merged over gateways, and right also when a gateway and a worker are killed."""
    first, second = topology.urls

    async with client("alice", first) as alice:

        async def bob_is(*, online: bool) -> None:
            async def look() -> bool | None:
                people = (await alice.call("presence.get", {"users": ["bob"]}, timeout=PATIENCE))["people"]
                return True if [person.get("online", False) for person in people] == [online] else None

            await eventually(look)

        phone = client("bob", first)
        async with phone, client("bob", second):
            await bob_is(online=True)
            await phone.close()
            await bob_is(online=True)
            topology.workers[0].kill()
            topology.gateways[1].kill()
            await bob_is(online=False)
