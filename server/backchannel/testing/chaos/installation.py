"""Installation: Redis, PostgreSQL, gateways and workers as real processes, with the run's faults built in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from ...auth.tokens import issue_token
from ..services import PostgresServer, RedisServer
from .front import Front
from .options import ChaosOptions
from .part import Part
from .points import Points

__all__ = ["Installation"]

_LIFETIME: Final = 30 * 86_400.0

_SETTINGS: Final[Mapping[str, str]] = {
    "LOG_FORMAT": "json",
    # Everything quicker than in production, so that a minute has many lives in it.
    "DRAIN": "2",
    "PING": "2",
    "GRACE": "3",
    # Slow readers are to overflow within seconds, and what they missed is to be brought, however much it is.
    "QUEUED": str(64 * 1024),
    "RECOVERY": "1000000",
    "CALLS": "1000",
    "BURST": "10000",
}


class Installation:
    """Use it as `async with`; everything ends with it, and only what it started."""

    def __init__(self, app: str, options: ChaosOptions, folder: Path) -> None:
        """`folder` is an empty one, for logs and for the points at which workers fail."""
        self.logs: Final = folder / "logs"
        self.points: Final = Points(folder / "points")
        self.redis: Final = RedisServer()
        self.postgres: Final = PostgresServer()
        self.gateways: list[Part] = []
        self.workers: list[Part] = []
        self.database = ""
        """The name of the database."""
        self._app = app
        self._options = options
        self._folder = folder
        self._secret: Final = secrets.token_hex(32)
        self._fronts: list[Front] = []

    @property
    def parts(self) -> list[Part]:
        """Workers, then gateways."""
        return [*self.workers, *self.gateways]

    def token(self, user: str) -> str:
        """A fresh token."""
        return issue_token(self._secret.encode(), user, lifetime=_LIFETIME)

    async def front(self) -> Front:
        """A balancer of one client's own."""
        front = Front(lambda: self.gateways, len(self._fronts))
        await front.start()
        self._fronts.append(front)
        return front

    async def execute(self, sql: str) -> Sequence[tuple[Any, ...]]:
        """The rows of a SELECT."""
        return await asyncio.to_thread(self.postgres.execute, sql, self.database)

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _start(self) -> None:
        self.logs.mkdir()
        (self._folder / "points").mkdir()
        await asyncio.gather(asyncio.to_thread(self.redis.start), asyncio.to_thread(self.postgres.start))
        url = await asyncio.to_thread(self.postgres.create_database)
        self.database = url.rpartition("/")[2]
        environment = self._environment(url)
        options = self._options
        worker = [sys.executable, "-m", "backchannel.testing.chaos.worker", self._app]
        worker += ["--points", str(self._folder / "points")] if options.steps else []
        worker += ["--sabotage", options.sabotage] if options.sabotage else []
        gateway = [sys.executable, "-m", "backchannel.cli", "gateway", self._app]
        if options.sabotage == "offsets":
            gateway = [sys.executable, "-m", "backchannel.testing.chaos.gateway", self._app]
        for number in range(options.workers):
            self.workers.append(self._part(f"worker-{number + 1}", "worker", worker, environment))
        for number in range(options.gateways):
            self.gateways.append(self._part(f"gateway-{number + 1}", "gateway", gateway, environment))
        # All at once: whoever comes first brings the database up to date.
        await asyncio.gather(*(part.start() for part in self.parts))

    def _part(self, name: str, role: Any, command: Sequence[str], environment: Mapping[str, str]) -> Part:
        log = self.logs / f"{name}.log"
        return Part(name, role, command, environment, log, killed_itself=self._killed_itself)

    def _killed_itself(self, pid: int) -> bool:
        return any(strike.pid == pid and strike.point.blow == "crash" for strike in self.points.strikes())

    def _environment(self, postgres: str) -> dict[str, str]:
        # No file of somebody's own settings, which may name servers in production.
        config = self._folder / "backchannel.toml"
        config.touch()
        settings = {
            **_SETTINGS,
            "CONFIG": str(config),
            "DATA": str(self._folder / "data"),
            "SECRET": self._secret,
            "REDIS": self.redis.url,
            "POSTGRES": postgres,
            "ROUTING": self._options.routing,
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("BACKCHANNEL_")}
        return inherited | {f"BACKCHANNEL_{name}": value for name, value in settings.items()}

    async def stop(self) -> None:
        """End everything, at once."""
        await asyncio.gather(*(front.close() for front in self._fronts), return_exceptions=True)
        await asyncio.gather(*(part.stop() for part in self.parts), return_exceptions=True)
        for service, name in ((self.redis, "redis"), (self.postgres, "postgres")):
            if service.log.exists():
                with contextlib.suppress(OSError):
                    shutil.copy(service.log, self.logs / f"{name}.log")
        await asyncio.gather(asyncio.to_thread(self.redis.stop), asyncio.to_thread(self.postgres.stop))
