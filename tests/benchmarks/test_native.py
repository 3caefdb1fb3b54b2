"""The load generator: its figures are sane, it finds every kind of fault, and it is faster than what it measures."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from benchmarks import native
from benchmarks.fanout import WHOLE_FRAME
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from backchannel.auth.tokens import issue_token

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "benchmark-secret-benchmark-secret-"
LISTENERS = 20
SECONDS = 0.3
USERS = 50
FAULTY = 5
"""The number of the publish that the bad server gets wrong."""

QUERY = '{"type":"call","id":@ID@,"name":"echo.ask","data":{"value":1}}\n'
COMMAND = (
    '{"type":"call","id":@ID@,"name":"log.append","key":"@KEY@","data":{"channel":"log:c@CALLER@","value":@CALLER@}}\n'
)
UNKNOWN = '{"type":"call","id":@ID@,"name":"nobody.knows","data":{}}\n'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[int]:
    """Backchannel, the whole product in a process of its own, with limits above the load: where it listens."""
    above = dict.fromkeys(
        ("calls", "burst", "open_requests", "connections_per_user", "connections_per_address"), "100000"
    )
    settings = {**above, "port": "0", "data": str(tmp_path_factory.mktemp("data")), "secret": SECRET}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "backchannel.cli", "serve", "benchmarks.app:app"),
        cwd=native.SOURCES.parents[1],
        env={**os.environ, **{f"BACKCHANNEL_{name.upper()}": value for name, value in settings.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    said = b""
    while (found := re.search(rb"http://127\.0\.0\.1:(\d+)", said)) is None:
        line = await process.stdout.readline()
        assert line, said.decode()
        said += line
    drained = asyncio.create_task(process.stdout.read())  # a full pipe would stop the server
    yield int(found[1])
    process.kill()
    await process.wait()
    await drained


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of tokens, one a line."""
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    made = (issue_token(SECRET.encode(), f"user{number}", lifetime=600) for number in range(USERS))
    path.write_text("".join(f"{token}\n" for token in made))
    return path


async def ask(mode: str, port: int, **options: native.Option) -> native.Result:
    """Run briefly, on any core and without spinning: other tests run beside."""
    dialect = str(options.pop("dialect", "backchannel"))
    given = {"seconds": SECONDS, "warmup": 0.1, **options}
    return await native.run(mode, port, given, dialect=dialect, cpu=None, spin=False)


class BadServer:
    """A WebSocket broadcast that gets one publish wrong, or an echo that gets every answer wrong."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.port = 0
        self._listening: defaultdict[str, list[ServerConnection]] = defaultdict(list)
        self._held = ""

    async def serve(self, connection: ServerConnection) -> None:
        """One connection, until either side has enough."""
        with contextlib.suppress(ConnectionClosed):
            await self._serve(connection)

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        path = connection.request.path
        if path.startswith("/sub"):
            self._listening[path.rpartition("=")[2]].append(connection)
            await connection.wait_closed()
        elif path == "/pub":
            number = 0
            async for message in connection:
                channel, _, payload = str(message).partition(" ")
                await self._publish(self._listening[channel], number, payload)
                number += 1
        else:
            async for message in connection:
                for _ in range({"drops": 0, "repeats": 2}[self.fault]):
                    await connection.send(message)

    async def _publish(self, listeners: list[ServerConnection], number: int, payload: str) -> None:
        """To all listeners as it should be, but for the first."""
        for listener in listeners[1:]:
            await listener.send(payload)
        for text in self._wrongly(number, payload):
            await listeners[0].send(text)
        if self.fault == "closes" and number == FAULTY:
            await listeners[0].close(1011, "out of order")

    def _wrongly(self, number: int, payload: str) -> list[str]:
        if self.fault == "mute" or (self.fault == "drops" and number == FAULTY):
            return []
        if self.fault == "repeats" and number == FAULTY:
            return [payload, payload]
        if self.fault == "swaps" and number == FAULTY:
            self._held = payload
            return []
        if self.fault == "swaps" and number == FAULTY + 1:
            return [payload, self._held]
        return [payload]


@contextlib.asynccontextmanager
async def bad(fault: str) -> AsyncIterator[BadServer]:
    """A bad server, for a while."""
    it = BadServer(fault)

    def refuse(connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(403, "no\n") if fault == "refuses" else None

    async with serve(it.serve, "127.0.0.1", 0, compression=None, process_request=refuse, close_timeout=0.1) as serving:
        it.port = next(iter(serving.sockets)).getsockname()[1]
        yield it


async def spoil(fault: str, mode: str = "fanout", **options: native.Option) -> native.Result:
    """Ask a bad server."""
    async with bad(fault) as server:
        return await ask(mode, server.port, dialect="text-ws", **{"listeners": 3, "stall": 0.5, "limit": 20, **options})


async def test_the_sources_are_clean() -> None:
    """No warning, however pedantic the compiler."""
    sources = [str(path) for path in native.SOURCES.glob("*.c")]
    command = [
        "cc",
        *native.FLAGS,
        "-Wpedantic",
        "-Wshadow",
        "-Wstrict-prototypes",
        "-Werror",
        "-fsyntax-only",
        *sources,
    ]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert done.stderr == ""


async def test_it_is_built_once() -> None:
    """The second build finds that nothing has changed and leaves the programs as they are."""
    programs = [native.build() / name for name in ("load", "floor")]
    before = [program.stat().st_mtime_ns for program in programs]
    native.build()
    assert [program.stat().st_mtime_ns for program in programs] == before


async def test_the_help_names_every_option() -> None:
    """Every option that the program takes is in its help, with the modes."""
    command = [str(native.build() / "load"), "--help"]
    text = (await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)).stdout
    named = set(re.findall(r"--[a-z-]+", text)) - {"--help"}
    taken = set(re.findall(r'\{"([a-z-]+)", [A-Z_]+,', (native.SOURCES / "options.c").read_text())) - {"help"}
    assert named == {f"--{name}" for name in taken}
    for mode in ("fanout", "latency", "calls", "mixed", "idle", "connects", "storm", "slow"):
        assert re.search(rf"^  {mode} ", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("mode", "options", "said"),
    [
        ("fanout", {"payload": 10}, "--payload must be a whole number from 64 to 16384, not `10`"),
        ("fanout", {"dialect": "morse"}, "there is no dialect `morse`"),
        ("calls", {}, "--frame is missing"),
        ("storm", {"dialect": "bun"}, "bun cannot resume"),
        ("mixed", {}, "--frame is missing"),
        ("idle", {"dialect": "bun", "subscriptions": 2}, "for backchannel, not for bun"),
        ("fanout", {"subscriptions": 2}, "--subscriptions is for idle"),
        ("fanout", {"pub_port": "0"}, "--port and --pub-port must be"),
        ("dance", {}, "there is no mode `dance`"),
        ("fanout", {"tokens": "no-such-file"}, "cannot read the tokens"),
    ],
)
async def test_a_wrong_option_says_what_is_right(mode: str, options: dict[str, str | int], said: str) -> None:
    """What is asked wrongly is refused with the reason, before anything is connected."""
    with pytest.raises(native.Failed, match=re.escape(said)):
        await ask(mode, 9, **options)


async def test_a_server_that_is_not_there_is_named() -> None:
    """Nobody listens: the port is in the message."""
    async with bad("none") as gone:
        port = gone.port
    with pytest.raises(native.Failed, match=f"127.0.0.1:{port}: Connection refused"):
        await ask("fanout", port, listeners=1)


@pytest.mark.parametrize(("channels", "listeners"), [(1, LISTENERS), (4, 5), (LISTENERS, 1)])
async def test_fanout(port: int, tokens: Path, channels: int, listeners: int) -> None:
    """Every publish comes to every listener of its channel, once and in order, at a rate that adds up."""
    marks: list[native.Mark] = []
    found = await native.run(
        "fanout",
        port,
        {
            "channels": channels,
            "listeners": listeners,
            "seconds": SECONDS,
            "tokens": tokens,
            "prefix": f"bench:fanout-{channels}-",
        },
        cpu=None,
        spin=False,
        on_mark=marks.append,
    )
    assert (found.lost, found.doubled, found.reordered) == (0, 0, 0)
    assert (found.channels, found.listeners) == (channels, channels * listeners)
    assert found.deliveries_per_second == pytest.approx(found.deliveries / found.seconds, rel=1e-3)
    assert found.deliveries == pytest.approx(found.publishes * listeners, abs=64 * listeners)
    assert found.published > found.publishes > 100
    assert 100 < found.bytes_per_delivery < 400
    assert found.latency_ns is not None
    assert 0 < found.latency_ns.p50 <= found.latency_ns.p99 <= found.latency_ns.max < 10e9
    assert [mark.mark for mark in marks] == ["begin", "end"]
    assert (marks[1].at - marks[0].at) / 1e9 == pytest.approx(found.seconds, abs=0.05)


async def test_a_burst_is_joined_whatever_the_number_of_listeners(port: int, tokens: Path) -> None:
    """With --burst as many events leave together as the window holds, the next ones when all of them have come."""
    found = await ask(
        "fanout", port, listeners=LISTENERS, window=8, burst=True, tokens=tokens, prefix="bench:burst-", warmup=0.0
    )
    assert (found.lost, found.doubled, found.reordered) == (0, 0, 0)
    assert found.published % 8 == 0
    assert found.deliveries_per_recv == pytest.approx(8, abs=1)


async def test_publishers_may_connect_elsewhere(port: int, tokens: Path) -> None:
    """With --pub-port only listeners use --port; a publisher that cannot connect is named with its own port."""
    with pytest.raises(native.Failed, match=r"127\.0\.0\.1:1:"):
        await ask("fanout", port, listeners=1, pub_port=1, tokens=tokens, prefix="bench:elsewhere-")
    found = await ask("fanout", port, listeners=1, pub_port=port, tokens=tokens, prefix="bench:elsewhere-")
    assert found.lost == 0


async def test_the_whole_frame_is_what_peers_send_as_well(port: int, tokens: Path) -> None:
    """The page compares equal bytes: our event with 100 bytes of data is as long as it says."""
    found = await ask("fanout", port, listeners=1, tokens=tokens)
    assert found.bytes_per_delivery == pytest.approx(WHOLE_FRAME + 4, abs=8)


async def test_latency(port: int, tokens: Path) -> None:
    """At a fixed rate as many are published as the rate and the time say."""
    found = await ask("latency", port, rate=100, listeners=LISTENERS, tokens=tokens, prefix="bench:latency-")
    assert (found.lost, found.doubled, found.reordered) == (0, 0, 0)
    assert found.publishes == pytest.approx(100 * SECONDS, abs=3)
    assert found.latency_ns is not None


@pytest.mark.parametrize("frame", [QUERY, COMMAND])
async def test_calls(port: int, tokens: Path, tmp_path: Path, frame: str) -> None:
    """Every call is answered once, and the times fit the number of calls under way."""
    (tmp_path / "frame").write_text(frame)
    found = await ask("calls", port, connections=5, in_flight=4, frame=tmp_path / "frame", tokens=tokens)
    assert (found.calls_lost, found.calls_doubled, found.refused) == (0, 0, 0)
    assert found.calls > 20
    assert found.call_ns is not None
    # Little's law: 20 are under way, so that the typical time is near 20 divided by the rate.
    assert found.call_ns.p50 / 1e9 < 20 * 5 / found.calls_per_second


async def test_calls_at_a_rate_beside_events(port: int, tokens: Path, tmp_path: Path) -> None:
    """Calls keep their rate while events go to listeners, and both are proven."""
    (tmp_path / "frame").write_text(QUERY)
    found = await ask(
        "calls",
        port,
        connections=5,
        rate=200,
        frame=tmp_path / "frame",
        background_rate=50,
        listeners=LISTENERS,
        tokens=tokens,
        prefix="bench:beside-",
    )
    assert found.calls == pytest.approx(200 * SECONDS, abs=10)
    assert found.publishes == pytest.approx(50 * SECONDS, abs=3)
    assert (found.lost, found.doubled, found.reordered, found.calls_lost) == (0, 0, 0, 0)


async def test_a_refused_call_is_no_answer(port: int, tokens: Path, tmp_path: Path) -> None:
    """Errors are counted apart, and the first one is told."""
    (tmp_path / "frame").write_text(UNKNOWN)
    with pytest.raises(native.Broken, match=r"\d+ refused.*nobody\.knows") as caught:
        await ask("calls", port, connections=2, frame=tmp_path / "frame", tokens=tokens)
    assert caught.value.result.calls == 0


async def test_a_refused_publish_says_why(port: int, tokens: Path) -> None:
    """A publish that the server refuses ends the run with the server's words, instead of a loss."""
    with pytest.raises(native.Failed, match="a publish was refused"):
        await ask("fanout", port, listeners=1, tokens=tokens, prefix="bench:refused-", event="nobody.knows")


async def test_a_missing_token_says_why(port: int) -> None:
    """A refused connection ends the run with the server's words."""
    with pytest.raises(native.Failed, match="unauthenticated"):
        await ask("fanout", port, listeners=1)


async def test_idle(port: int, tokens: Path) -> None:
    """All are there when it says so, and it ends when it is let go."""
    async with native.idle(port, 30, {"tokens": tokens, "prefix": "bench:idle-"}) as held:
        assert held.result.connections == 30
        assert held.result.seconds > 0


async def test_idle_with_many_subscriptions(port: int, tokens: Path) -> None:
    """Each connection listens to so many channels of its own before it counts as there."""
    options: dict[str, native.Option] = {"tokens": tokens, "prefix": "bench:many-", "subscriptions": 7}
    async with native.idle(port, 5, options) as held:
        assert held.result.connections == 5
        found = await ask(
            "fanout", port, channels=1, listeners=1, tokens=tokens, prefix="bench:many-", warmup=0.0, window=1
        )
        assert found.lost == 0


async def test_connects(port: int, tokens: Path) -> None:
    """Connections are made again and again, each up to its welcome."""
    found = await ask("connects", port, parallel=4, tokens=tokens)
    assert found.connections > 10
    assert found.connections_per_second == pytest.approx(found.connections / found.seconds, rel=1e-3)
    assert found.connect_ns is not None


@pytest.mark.parametrize("rate", [0.0, 100.0])
async def test_storm(port: int, tokens: Path, rate: float) -> None:
    """All come back and get what they missed, also while events go on."""
    options: dict[str, native.Option] = {"rate": rate} if rate else {}
    prefix = f"bench:storm-{rate:.0f}-"
    found = await ask("storm", port, connections=30, missed=7, tokens=tokens, prefix=prefix, **options)
    assert (found.lost, found.doubled, found.reordered, found.behind) == (0, 0, 0, 0)
    assert found.missed == 7
    assert found.caught_up_ns is not None
    assert found.caught_up_ns.max / 1e9 <= found.seconds + 0.05


async def test_slow(port: int, tokens: Path) -> None:
    """Those that do not read are ended or told, never left with a silent hole; the others get everything."""
    found = await ask("slow", port, listeners=5, slow=2, tokens=tokens, prefix="bench:slow-", payload=8000)
    assert (found.lost, found.doubled, found.reordered) == (0, 0, 0)
    assert (found.slow, found.slow_lost) == (2, 0)
    assert found.slow_ended + found.slow_caught_up + (found.slow_told > 0) >= 1


@pytest.mark.parametrize(
    ("fault", "said"), [("drops", "1 lost"), ("repeats", "1 doubled"), ("swaps", "1 reordered")], ids=lambda it: it[:5]
)
async def test_a_fault_is_found_and_named(fault: str, said: str) -> None:
    """One event of one listener that is dropped, repeated or out of its place is found, and nothing else is claimed."""
    with pytest.raises(native.Broken, match=rf": {said}$") as caught:
        await spoil(fault)
    result = caught.value.result
    assert result.lost + result.doubled + result.reordered == 1


async def test_a_listener_that_hears_nothing_ends_the_run() -> None:
    """What does not come within the patience given is lost; nothing is waited for without end."""
    with pytest.raises(native.Broken, match="64 lost"):
        await spoil("mute")


async def test_a_connection_that_is_ended_is_told() -> None:
    """The server's close code and its words are the reason."""
    with pytest.raises(native.Failed, match="ended by the server: close code 1011 out of order"):
        await spoil("closes")


async def test_a_refused_upgrade_is_told() -> None:
    """The server's status line and the path are the reason."""
    with pytest.raises(native.Failed, match=re.escape("refused the upgrade of /sub?channel=@N@: HTTP/1.1 403")):
        await spoil("refuses")


@pytest.mark.parametrize(("fault", "said"), [("drops", "2 lost"), ("repeats", r"\d+ doubled")])
async def test_an_answer_that_is_missing_or_doubled_is_found(tmp_path: Path, fault: str, said: str) -> None:
    """A call has one answer."""
    (tmp_path / "frame").write_text('{"id":@ID@}')
    with pytest.raises(native.Broken, match=said):
        await spoil(fault, "calls", connections=2, frame=tmp_path / "frame")


async def test_the_watchdog_ends_what_nothing_else_does() -> None:
    """A run that would wait longer than its limit ends there."""
    with pytest.raises(native.Failed, match="watchdog"):
        await spoil("mute", stall=100, limit=1)


async def test_the_floor_is_measured_as_any_server() -> None:
    """One send per delivery: what is published comes, and what a read brings shows whether sends were joined."""
    async with native.floor(cpu=None) as floor:
        found = await ask("fanout", floor.port, dialect="floor", channels=2, listeners=LISTENERS)
    assert (found.lost, found.doubled, found.reordered) == (0, 0, 0)
    assert found.bytes_per_delivery == pytest.approx(102, abs=1)


async def test_the_generator_takes_more_than_the_floor_gives() -> None:
    """The self-test: with joined sends the generator takes several times what one send per delivery can bring."""
    found = await native.self_test({"listeners": 50, "seconds": SECONDS}, cpu=None, spin=False)
    assert (found.lost, found.doubled, found.reordered) == (0, 0, 0)
    assert found.times_the_floor > 3
    assert found.deliveries_per_recv > 3
