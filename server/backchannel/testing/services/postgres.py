"""PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Literal

import psutil

from .process import Service, ServiceFailed, program

__all__ = ["PostgresServer"]

_STOP: Final = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_USER: Final = "backchannel"


def _binary(name: str) -> str:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return program(name, folders=folders, package="postgresql")


class PostgresServer(Service):
    """A PostgreSQL server of one's own, whose only user `backchannel` needs no password.

    It runs as the user `postgres` where the caller is root, for it refuses to run as root.

    Args:
        config: further settings, `{"max_connections": "20"}`.
        durable: whether it syncs. Without, it is quicker, and still loses nothing when only its process dies.
        port: where it listens; a free port by default.
    """

    stop_signal = signal.SIGINT
    normal_user = "postgres"

    def __init__(
        self, *, config: Mapping[str, str] | None = None, durable: bool = False, port: int | None = None
    ) -> None:
        super().__init__(port=port)
        self.config = {
            "fsync": "on" if durable else "off",
            "shared_buffers": "64MB",
            "max_connections": "200",
            "log_statement": "none",
        } | dict(config or {})
        self._data = self.folder / "data"

    @property
    def url(self) -> str:
        """The URL of the database `postgres`."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """The URL of a database."""
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, made first if it is new. Raises `ServiceFailed`."""
        if not self._data.exists():
            self.run([_binary("initdb"), "-D", str(self._data), "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-sync",
                      "--no-locale"])  # fmt: skip
        super().start()

    def _command(self) -> Sequence[str]:
        # Sockets in /tmp would collide with nobody, but a path may not be longer than 107 bytes: none at all.
        words = [_binary("postgres"), "-D", str(self._data), "-p", str(self.port), "-h", "127.0.0.1", "-k", ""]
        for name, value in self.config.items():
            words += ["-c", f"{name}={value}"]
        return words

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except (OSError, ServiceFailed):
            return False
        return True

    def end(self, number: signal.Signals | None = None, *, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Let it end: `fast` ends what is open; `immediate` is as if the machine had failed. Raises `ServiceFailed`."""
        super().end(number or _STOP[mode])

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """End it, and start it again. Raises `ServiceFailed`."""
        self.end(mode=mode)
        self.start()

    def kill(self) -> None:
        """Kill it and the processes that it made; `start` recovers from the log, as after a power failure."""
        if self._process is not None:
            # Killed alone, its children live on until they notice, and hold the memory that the next start needs.
            self._process.send_signal(signal.SIGQUIT)
            self._process.send_signal(signal.SIGCONT)
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Stop it and the processes that serve its connections (SIGSTOP)."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        main = psutil.Process(self.pid)
        for process in (main, *main.children()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def create_database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"test_{secrets.token_hex(6)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url_of(name)

    def execute(self, sql: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement over a connection of its own and return its rows.

        Raises:
            ServiceFailed: the server refused.
            OSError: it cannot be reached.
        """
        import asyncpg

        async def once() -> list[tuple[Any, ...]]:
            try:
                connection = await asyncpg.connect(self.url_of(database), timeout=5)
                try:
                    return [tuple(row) for row in await connection.fetch(sql)]
                finally:
                    await connection.close(timeout=5)
            except (asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
                raise ServiceFailed(f"PostgreSQL refused: {exc}") from exc

        # In a thread, since the caller may be within a loop of its own.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(lambda: asyncio.run(once())).result()
