"""The services of docker-compose.yml, up: people meet over the balancer, and a gateway goes and nobody notices."""

from __future__ import annotations

import asyncio
import contextlib
import re
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backchannel.chat import MessageCreated, SendMessage
from backchannel.testing.services import free_port
from backchannel_client import Client, Presence, Subscription

if TYPE_CHECKING:
    from tests.integration.deploy.conftest import Stack

ROOT = Path(__file__).parents[3]
LOBBY = "chat:lobby"
PATIENCE = 20.0

pytestmark = pytest.mark.timeout(120)  # its servers start with the first test


@contextlib.asynccontextmanager
async def two_people(stack: Stack) -> AsyncIterator[tuple[Client, Client]]:
    """Alice and Bob, connected through the balancer."""
    async with (
        Client(stack.url, token=stack.token("alice")) as alice,
        Client(stack.url, token=stack.token("bob")) as bob,
    ):
        yield alice, bob


async def messages(subscription: Subscription, *last: str) -> list[str]:
    """The texts that come, until each of the last ones is there. A gap fails the test."""
    heard: list[str] = []
    async with asyncio.timeout(PATIENCE):
        while not set(last) <= set(heard):
            event = await anext(subscription)
            if event.name == "message.created":
                heard.append(event.decode(MessageCreated).text)
    assert subscription.gaps == ()
    return heard


async def send(client: Client, text: str) -> None:
    """Say something in the lobby."""
    await client.call(SendMessage(channel=LOBBY, text=text), timeout=PATIENCE)


def status(url: str) -> int:
    """What a GET is answered with; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        return exc.code
    except OSError:
        return 0


async def connections(stack: Stack, *wanted: float) -> None:
    """Wait until the gateways have so many."""
    async with asyncio.timeout(PATIENCE):
        while (found := await asyncio.to_thread(stack.connections)) != list(wanted):
            print(f"connections: {found}")  # shown where the test fails
            await asyncio.sleep(0.05)


def test_the_job_makes_the_tables(stack: Stack) -> None:
    """Before any gateway or worker starts, the database is as they need it: Backchannel's tables and the app's own."""
    assert {"heads", "chat_messages"} <= {name for (name,) in stack.migrated}


async def test_two_people_meet_over_two_gateways(stack: Stack) -> None:
    """The balancer sends them to different gateways without being told, and they chat and see each other."""
    both = asyncio.Event()
    here: set[str] = set()

    def changed(presence: Presence) -> None:
        here.update(member.user for member in (*(presence.members or ()), *(presence.joined or ())))
        if here >= {"alice", "bob"}:
            both.set()

    async with (
        two_people(stack) as (alice, bob),
        alice.subscribe(LOBBY, on_presence=changed) as hers,
        bob.subscribe(LOBBY) as his,
    ):
        await connections(stack, 1, 1)
        await send(alice, "Hello from one gateway.")
        await send(bob, "Hello from the other.")
        said = ["Hello from one gateway.", "Hello from the other."]
        assert (await messages(hers, said[-1]), await messages(his, said[-1])) == (said, said)
        changed(await alice.presence(LOBBY))
        await asyncio.wait_for(both.wait(), PATIENCE)


@pytest.mark.parametrize("index", [0, 1])
async def test_a_gateway_goes_and_nothing_is_lost(stack: Stack, index: int) -> None:
    """SIGTERM to either gateway in the middle of a conversation: whoever is on it moves to the other, hears each
    message once and in order, and its own calls are answered. Then it comes back, and the balancer uses it again."""
    going, staying = stack.gateways[index], stack.gateways[1 - index]
    said = {name: [f"{name} {index}: {number}" for number in range(150)] for name in ("alice", "bob")}

    async def talk(client: Client, name: str) -> None:
        for text in said[name]:
            await send(client, text)
            await asyncio.sleep(0.02)  # people do not all speak at once

    async with (
        two_people(stack) as (alice, bob),
        alice.subscribe(LOBBY) as hers,
        bob.subscribe(LOBBY) as his,
    ):
        await connections(stack, 1, 1)
        lasts = [texts[-1] for texts in said.values()]
        hearing = [asyncio.create_task(messages(subscription, *lasts)) for subscription in (hers, his)]
        talking = [asyncio.create_task(talk(alice, "alice")), asyncio.create_task(talk(bob, "bob"))]
        await asyncio.to_thread(going.end)
        assert going.get("/healthz")[0] == 0
        # Whoever comes now is not sent there, also where the balancer tries it.
        answers = [await asyncio.to_thread(status, f"{stack.balancer.url}/readyz") for _ in range(20)]
        assert answers == [200] * 20
        await asyncio.gather(*talking)
        first, second = await asyncio.gather(*hearing)
        assert first == second
        assert {name: [text for text in first if text.startswith(name)] for name in said} == said
        assert staying.measure("backchannel_connections") == 2
    going.start()
    async with asyncio.timeout(PATIENCE):
        while True:
            async with two_people(stack):
                if await asyncio.to_thread(stack.connections) == [1, 1]:
                    break


async def test_the_balancer_keeps_what_is_not_for_everybody(stack: Stack) -> None:
    """Metrics are for Prometheus; pages, health and the HTTP door are for all."""
    paths = ("/metrics", "/readyz", "/", "/v1/message.send")
    found = {path: await asyncio.to_thread(status, stack.balancer.url + path) for path in paths}
    assert found == {"/metrics": 404, "/readyz": 200, "/": 200, "/v1/message.send": 405}


async def test_strangers_reach_neither_redis_nor_others_keys(stack: Stack) -> None:
    """Without its password Redis answers PING alone; with it, commands beyond Backchannel's keys are refused."""
    import redis

    with redis.Redis(port=stack.redis.port) as nobody:
        assert nobody.ping()
        with pytest.raises(redis.exceptions.NoPermissionError):
            nobody.hget("backchannel:main:anything", "field")
    with redis.Redis.from_url((stack.here.secrets / "redis_url").read_text().strip()) as ours:
        assert ours.hget("backchannel:main:anything", "field") is None
        for words in (
            ("HGET", "other:key", "field"),
            ("PUBLISH", "other:topic", "x"),
            ("FLUSHALL",),
            ("CONFIG", "GET", "*"),
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                ours.execute_command(*words)


def test_health_checks_pass(stack: Stack) -> None:
    """The command in each service's health check is one that its image has, and succeeds while the service is well."""
    for service in stack.here.ports:
        done = stack.health_check(service)
        assert done.returncode == 0, f"{service}: {done.stdout}{done.stderr}"


def test_health_checks_can_fail(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same commands fail where nobody listens: a check that is always content would be none."""
    for service in stack.here.ports:
        monkeypatch.setitem(stack.here.ports, service, free_port())
        done = stack.health_check(service)
        assert done.returncode != 0, f"{service}: {done.stdout}{done.stderr}"


@pytest.mark.parametrize("file", ["deploy/alerts.yml", "docs/howto/production.md"])
def test_what_is_looked_at_is_measured(stack: Stack, file: str) -> None:
    """Every metric that an alert or the page names is one that gateways or workers have."""
    named = set(re.findall(r"\b(?:backchannel|process)_[a-z_]+\b", (ROOT / file).read_text()))
    assert len(named) > 5
    told = "".join(process.get("/metrics")[1] for process in (*stack.gateways, *stack.workers))
    families = {name.removesuffix("_total") for name in re.findall(r"^# TYPE (\S+)", told, re.M)}
    assert {name for name in named if name.removesuffix("_total") not in families} == set()


def test_they_say_nothing_alarming(stack: Stack) -> None:
    """A start, a chat and a rolling restart leave no error in any log, and no secret."""
    secrets = {
        (stack.here.secrets / name).read_text().strip() for name in ("secret", "postgres_password", "redis_password")
    }
    for process in (*stack.gateways, *stack.workers):
        said = process.said
        assert not re.search(r'"level": ?"(error|critical)"|Traceback', said), said
        assert not [secret for secret in secrets if secret in said]


def test_each_ends_in_its_time(stack: Stack) -> None:
    """Told to stop, each ends with status 0, by itself, well within what the container gives it. The last test here."""
    for process in (*stack.gateways, *stack.workers):
        assert process.told_to_end(15) == 0
