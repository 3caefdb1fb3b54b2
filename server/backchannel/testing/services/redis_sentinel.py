"""A Redis master, its replica, and a Sentinel that replaces the one by the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis as client

from .process import Service, program
from .redis import RedisServer
from .redis_group import RedisGroup

__all__ = ["RedisSentinel", "SentinelServer"]


class SentinelServer(Service):
    """One Sentinel.

    Args:
        service: the name that it knows the master by.
        master: the port of the master on loopback.
        down_after: seconds of silence after which the master counts as down.
        password: what it asks its clients for.
    """

    def __init__(self, service: str, master: int, *, down_after: float = 1.0, password: str = "") -> None:
        super().__init__()
        self._service = service
        self._master = master
        self._down_after = down_after
        self._password = password

    def _command(self) -> Sequence[str]:
        file = self.folder / "sentinel.conf"
        if not file.exists():  # it writes down there what it learns
            lines = {"port": str(self.port), "bind": "127.0.0.1", "dir": str(self.folder)}
            if self._password:
                lines["requirepass"] = self._password
            file.write_text(
                "".join(f"{name} {value}\n" for name, value in lines.items())
                + f"sentinel monitor {self._service} 127.0.0.1 {self._master} 1\n"
                + f"sentinel down-after-milliseconds {self._service} {int(self._down_after * 1000)}\n"
                + f"sentinel failover-timeout {self._service} 5000\n"
            )
        return [program("redis-server", package="redis-server"), str(file), "--sentinel"]

    def command(self, *words: str | int) -> Any:
        """One command over a connection of its own; raises what redis-py raises."""
        with client.Redis(
            port=self.port, socket_timeout=5, decode_responses=True, password=self._password or None
        ) as once:
            return once.execute_command(*words)


class RedisSentinel(RedisGroup):
    """A master, a replica and a Sentinel, whose quorum is one.

    Attributes:
        servers: both Redis servers; `master` and `replica` tell who is which now.
        sentinel: the Sentinel.

    Args:
        service: the name that the Sentinel knows the master by.
        down_after: seconds of silence after which the master counts as down.
        password: what the Sentinel, but no Redis, asks its clients for.
    """

    name = "Redis with its Sentinel"

    def __init__(self, *, service: str = "main", down_after: float = 1.0, password: str = "") -> None:
        self.service = service
        first = RedisServer()
        second = RedisServer(config={"replicaof": f"127.0.0.1 {first.port}"})
        self.servers = (first, second)
        self.sentinel = SentinelServer(service, first.port, down_after=down_after, password=password)

    @property
    def url(self) -> str:
        """`redis+sentinel://127.0.0.1:PORT/SERVICE`."""
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/{self.service}"

    @property
    def master(self) -> RedisServer:
        """Whom the Sentinel names as the master now."""
        _, port = self.sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        return next(server for server in self.servers if server.port == int(port))

    @property
    def replica(self) -> RedisServer:
        """The other one."""
        master = self.master
        return next(server for server in self.servers if server is not master)

    def start(self) -> None:
        """Start all three, and return once the Sentinel knows a replica that is in step.

        Raises:
            ServiceFailed: they do not find each other in time.
        """
        for server in self.servers:
            server.start()
        self.sentinel.start()
        self.until("in step", self._in_step)

    def fail_over(self) -> None:
        """Let the Sentinel make the replica the master, as an operator would; returns once it is.

        Raises:
            ServiceFailed: it does not come to that in time.
        """
        before = self.master
        self.until("ready to fail over", self._in_step)
        self.sentinel.command("SENTINEL", "FAILOVER", self.service)
        self.until_master_is_not(before)

    def until_master_is_not(self, server: RedisServer) -> None:
        """Return once another server than this is the master, and says so itself.

        Raises:
            ServiceFailed: it does not come to that in time.
        """
        self.until("failed over", lambda: self.master is not server and self.master.command("ROLE")[0] == b"master")

    def _in_step(self) -> bool:
        replicas = self.sentinel.command("SENTINEL", "REPLICAS", self.service)
        known = [dict(zip(replica[::2], replica[1::2], strict=True)) for replica in map(_flat, replicas)]
        return any(replica.get("master-link-status") == "ok" for replica in known)

    def members(self) -> Sequence[Service]:
        """All servers."""
        return (self.sentinel, *self.servers)


def _flat(replica: Any) -> list[str]:
    """redis-py's answer as a list of names and values, whichever of its forms it takes."""
    if isinstance(replica, dict):
        return [part for item in replica.items() for part in item]
    return list(replica)
