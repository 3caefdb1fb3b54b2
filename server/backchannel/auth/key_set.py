"""KeySet: the public keys of one issuer, from one file or URL, kept and kept fresh.

What is kept belongs to this issuer and this source alone, and within it to a `kid`: another issuer's key of the same
`kid` is never taken for it. One read at a time is under way, and whoever needs it waits for that one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from backchannel_protocol import Refused

from ..telemetry.logs import get_logger
from .jwks import BadKeySet, PublicKey, read_key_set

__all__ = ["FRESH", "INTERVAL", "STALE", "KeySet", "Source", "file_source"]

_log = get_logger(__name__)

FRESH: Final = 300.0
"""Seconds until keys are read again, while the old ones serve; the server's `max-age` counts from a minute to an
hour."""
STALE: Final = 86_400.0
"""Seconds that keys serve while they cannot be read again."""
INTERVAL: Final = 10.0
"""Seconds between two reads at least, whatever strangers' tokens ask for."""

_FRESH_BOUNDS: Final = (60.0, 3600.0)
# Ids of keys that the newest read did not bring.
_MAX_MISSING: Final = 1000


class Document(Protocol):
    """What a source brings."""

    @property
    def body(self) -> bytes:
        """The key set, JSON."""

    @property
    def max_age(self) -> float | None:
        """Seconds that it stays fresh, if somebody said so."""


Source = Callable[[], Awaitable[Document]]
"""Reads a key set anew. Any exception means that it could not be read."""


class KeySet:
    """The keys of one issuer from one source. Use it on one loop."""

    def __init__(
        self,
        issuer: str,
        where: str,
        source: Source,
        *,
        changed: Callable[[], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            issuer: what `iss` must be in tokens that these keys verify.
            where: the file or URL, for the log.
            source: reads it.
            changed: called when other keys than before are there.
            now: a clock that never goes back, in seconds.
        """
        self.issuer = issuer
        self.where = where
        self._source = source
        self._changed = changed
        self._now = now
        self._keys: Mapping[str | None, tuple[PublicKey, ...]] = {}
        self._body = b""
        self._read_at: float | None = None
        """When the keys were read."""
        self._fresh = FRESH
        self._tried_at: float | None = None
        self._failed = False
        """Whether the newest read did not succeed."""
        self._asked: set[str | None] = set()
        """Ids of keys that a read was begun or waited for."""
        self._missing: frozenset[str | None] = frozenset()
        """Ids of keys that the newest read was asked for and did not bring."""
        self._reading: asyncio.Task[None] | None = None

    def tend(self) -> None:
        """Begin to read anew what is not fresh, and let go of what may not serve any longer; never waits."""
        if self._read_at is None:
            return
        age = self._now() - self._read_at
        if age > self._fresh and self._may_read():
            self._read_soon()
        if age > STALE and self._keys:
            self._keys, self._body = {}, b""
            self._changed()

    def known(self, kid: str | None, algorithm: str) -> tuple[PublicKey, ...]:
        """The keys of this id and algorithm that are at hand, as `tend` leaves them; never waits."""
        self.tend()
        found = self._keys.get(kid, ())
        # A token without `kid` leaves no choice only if there is one key.
        if kid is None and not found and len(self._keys) == 1:
            (found,) = self._keys.values()
        return tuple(key for key in found if key.algorithm == algorithm)

    async def find(self, kid: str | None, algorithm: str) -> tuple[PublicKey, ...]:
        """The keys of this id and algorithm, read anew if they are not at hand and that may bring them.

        Cancelling it gives up the wait; a read that has begun goes on.

        Raises:
            Refused: `unavailable`: it cannot be told now, since the set cannot be read, or was read a moment ago.
        """
        found = self.known(kid, algorithm)
        if found:
            return found
        if self._reading is not None or self._may_read():
            if len(self._asked) < _MAX_MISSING:
                self._asked.add(kid)
            await asyncio.shield(self._read_soon())
            found = self.known(kid, algorithm)
        if found or (not self._failed and (kid in self._missing or kid in self._keys)):
            return found
        raise Refused(
            "unavailable",
            "The keys of the token's issuer cannot be read now; try again.",
            outcome="none",
            retry_after=INTERVAL,
        )

    def warm(self) -> None:
        """Begin to read, so that whoever comes first need not wait."""
        self._read_soon()

    async def load(self) -> None:
        """Read now, and wait.

        Raises:
            Exception: whatever the source raises; `BadKeySet`.
        """
        document = await self._source()
        self._take(document)

    async def close(self) -> None:
        """Stop a read that is under way."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _may_read(self) -> bool:
        return self._tried_at is None or self._now() - self._tried_at >= INTERVAL

    def _read_soon(self) -> asyncio.Task[None]:
        if self._reading is None:
            self._tried_at = self._now()
            self._reading = asyncio.create_task(self._read(), name="key set")
        return self._reading

    async def _read(self) -> None:
        try:
            await self.load()
        except Exception as exc:
            self._failed = True
            _log.warning("a key set cannot be read", issuer=self.issuer, source=self.where, reason=str(exc))
        finally:
            self._reading = None

    def _take(self, document: Document) -> None:
        keys = self._keys if document.body == self._body else read_key_set(document.body, self.where)
        least, most = _FRESH_BOUNDS
        self._fresh = FRESH if document.max_age is None else min(max(document.max_age, least), most)
        self._read_at = self._tried_at = self._now()
        self._failed = False
        if document.body != self._body:
            self._keys, self._body = keys, document.body
            _log.info("a key set was read", issuer=self.issuer, source=self.where, keys=sum(map(len, keys.values())))
            self._changed()
        asked, self._asked = self._asked, set()
        self._missing = frozenset(kid for kid in asked if kid not in keys)


def file_source(path: str, limit: int) -> Source:
    """Reads a key set from a file of at most so many bytes; `~` is the home folder."""

    def read() -> _File:
        with Path(path).expanduser().open("rb") as file:
            body = file.read(limit + 1)
        if len(body) > limit:
            raise BadKeySet(f"it is larger than {limit} bytes")
        return _File(body)

    async def source() -> Document:
        return await asyncio.to_thread(read)

    return source


class _File:
    """A key set from a file."""

    max_age = None

    def __init__(self, body: bytes) -> None:
        self.body = body
