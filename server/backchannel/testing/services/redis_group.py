"""Several Redis servers that belong together: started, waited for and ended as one."""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Final, Self

import redis as client

from .process import Service, ServiceFailed

__all__ = ["RedisGroup"]

# How long they may take to find each other, to agree or to fail over, in seconds.
_PATIENCE: Final = 30.0


class RedisGroup(ABC):
    """What a cluster, and a master with its Sentinel, have in common."""

    name: str
    """What it is called where it does not come to what is waited for."""

    @abstractmethod
    def members(self) -> Sequence[Service]:
        """All servers."""

    @abstractmethod
    def start(self) -> None:
        """Start all servers, and return once they are one. Raises `ServiceFailed`."""

    def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Return once the condition holds.

        Raises:
            ServiceFailed: it does not in time.
        """
        end = time.monotonic() + _PATIENCE
        while True:
            with contextlib.suppress(client.exceptions.RedisError):
                if condition():
                    return
            if time.monotonic() > end:
                raise ServiceFailed(f"{self.name} is not {what} after {_PATIENCE:.0f} s.")
            time.sleep(0.05)

    def stop(self) -> None:
        """End all servers for good; safe to call twice."""
        for server in self.members():
            server.stop()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
