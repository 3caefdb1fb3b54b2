"""Two people in a real browser, on two gateway processes around Redis and PostgreSQL; one gateway is told to stop."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from backchannel.testing.services import Nginx, RedisServer, free_port
from backchannel.testing.services.process import Service, program

HERE = Path(__file__).parent
PATIENCE = 120.0

# Each person has a door of her own, which leads to her gateway while that is there, and to the other one else.
DOORS = """
events {{ worker_connections 256; }}
error_log stderr warn;
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
    upstream alice {{ server 127.0.0.1:{first} max_fails=1 fail_timeout=60s; server 127.0.0.1:{second} backup; }}
    upstream bob {{ server 127.0.0.1:{second}; server 127.0.0.1:{first} backup; }}
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;
    proxy_next_upstream error timeout http_503;
    server {{ listen 127.0.0.1:{alice}; location / {{ proxy_pass http://alice; }} }}
    server {{ listen 127.0.0.1:{bob}; location / {{ proxy_pass http://bob; }} }}
}}
"""


class Process(Service):
    """A `backchannel` process around the shared Redis and PostgreSQL."""

    def __init__(self, command: str, environment: dict[str, str]) -> None:
        super().__init__()
        self._command_name = command
        port = "BACKCHANNEL_PORT" if command == "gateway" else "BACKCHANNEL_HEALTH_PORT"
        self._environment = [f"{name}={value}" for name, value in {**environment, port: str(self.port)}.items()]

    def _command(self) -> Sequence[str]:
        env = program("env", package="coreutils")
        python = [sys.executable, "-P", "-m", "backchannel.cli"]
        return [env, "-i", f"PATH={os.environ['PATH']}", *self._environment, *python, self._command_name]

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    @property
    def url(self) -> str:
        """Where it serves HTTP."""
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends what is started in it, the last first."""
    with ExitStack() as opened:
        yield opened


@pytest.mark.timeout(200)
async def test_two_people_on_two_gateways(
    redis_server: RedisServer, redis_prefix: str, database_url: str, stack: ExitStack, tmp_path: Path
) -> None:
    """They see each other's messages, typing and presence across gateways. When one gateway is told to stop, its
    person moves to the other: nothing is missing or doubled on either screen, and no page shows a lost connection."""
    chromium = shutil.which("chromium")
    node = shutil.which("node")
    assert chromium, "chromium is needed: run scripts/setup-system"
    assert node, "Node is needed: scripts/test puts one on the PATH"
    shots = tmp_path / "shots"
    shots.mkdir()
    environment = {
        "BACKCHANNEL_REDIS": redis_server.url,
        "BACKCHANNEL_REDIS_PREFIX": redis_prefix,
        "BACKCHANNEL_POSTGRES": database_url,
        "BACKCHANNEL_SECRET": "two-gateways-" * 3,
        "BACKCHANNEL_DEV": "true",
        "BACKCHANNEL_DRAIN": "6",
        "BACKCHANNEL_DATA": str(tmp_path / "data"),
    }
    workers = [Process("worker", environment) for _ in range(2)]
    gateways = [Process("gateway", environment) for _ in range(2)]
    # Workers make the tables, both at once: who comes second waits.
    await asyncio.gather(*(asyncio.to_thread(stack.enter_context, worker) for worker in workers))
    await asyncio.gather(*(asyncio.to_thread(stack.enter_context, gateway) for gateway in gateways))
    alice, bob = free_port(), free_port()
    config = DOORS.format(first=gateways[0].port, second=gateways[1].port, alice=alice, bob=bob)
    await asyncio.to_thread(stack.enter_context, Nginx(config, port=alice))
    setup = {
        "alice": f"http://127.0.0.1:{alice}",
        "bob": f"http://127.0.0.1:{bob}",
        "gateways": [gateway.url for gateway in gateways],
        "pid": gateways[0].pid,
    }
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BACKCHANNEL_")}
    process = await asyncio.create_subprocess_exec(
        node, str(HERE / "two_gateways.mjs"), json.dumps(setup), chromium, str(shots),
        env={**environ, "NO_COLOR": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(PATIENCE):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    logs = "".join(f"\n--- {one.url}\n{one.log.read_text()}" for one in (*gateways, *workers))
    assert process.returncode == 0, output.decode() + logs
