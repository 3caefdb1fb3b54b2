"""RevocationWatch: what a gateway knows of revocations, and how it hears of new ones.

The store is the truth. It is asked every two seconds, and at once when an event on a user's channel says that there is
news; so a revocation ends open connections within its bound also where no event gets through.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from backchannel_protocol import Refused

from ..telemetry.logs import get_logger
from .claims import refused
from .principal import Principal
from .revocation import Revocation

__all__ = ["RevocationWatch"]

_log = get_logger(__name__)

# How often the store is asked, and how long an answer may take, in seconds: together within the bound of 5.
_EVERY: Final = 2.0
_TIMEOUT: Final = 2.5
# How far back each look goes: the clock that a row bears runs before its commit, and may be another machine's.
_BACK: Final = 120.0
# For how long it may go unanswered until tokens can no longer be vouched for.
_BLIND_AFTER: Final = 30.0
# How often what has expired is let go.
_FORGET_EVERY: Final = 3600.0

Read = Callable[[int], Awaitable[list[Revocation]]]
News = Callable[[Sequence[Revocation]], None]


class RevocationWatch:
    """Use it on the gateway's loop: `start`, then `check` tokens and `attach` whoever ends connections."""

    def __init__(
        self,
        read: Read,
        *,
        lifetime: float,
        wall: Callable[[], float] = time.time,
        every: float = _EVERY,
    ) -> None:
        """
        Args:
            read: what was decided since an instant (Unix milliseconds).
            lifetime: seconds that a token may be good for.
            wall: Unix seconds.
            every: seconds between two looks.
        """
        self._read = read
        self._lifetime = lifetime
        self._wall = wall
        self._every = every
        self._known: dict[str, Revocation] = {}
        self._of_user: dict[str, int] = {}
        """Per user: tokens issued before this instant are void."""
        self._tokens: set[str] = set()
        self._news: News = _nobody
        self._bell = asyncio.Event()
        self._looked = 0.0
        """When the store was last asked successfully, on the loop's clock."""
        self._read_until = 0.0
        """The same, Unix seconds."""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read everything that still counts, then begin to watch.

        Raises:
            Refused: `unavailable`: the store does not answer.
        """
        self._read_until = self._wall()
        self._learn(await self._read(0))
        self._looked = asyncio.get_running_loop().time()
        self._task = asyncio.create_task(self._watch(), name="revocations")

    async def close(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def attach(self, news: News) -> None:
        """Call this, on the loop, with revocations that are new."""
        self._news = news

    def look_soon(self) -> None:
        """Ask the store now: something was told about news."""
        self._bell.set()

    def check(self, principal: Principal) -> None:
        """See that a verified token was not revoked.

        Raises:
            Refused: `unauthenticated`: it was; `unavailable`: the store has not told for too long.
        """
        if asyncio.get_running_loop().time() - self._looked > _BLIND_AFTER:
            raise Refused("unavailable", "It cannot be told now whether the token was revoked.", outcome="none")
        before = self._of_user.get(principal.user)
        if before is not None and (principal.issued_at is None or principal.issued_at * 1000 < before):
            raise refused("The token was revoked with all that this user had; fetch a fresh one.")
        if principal.token_id is not None and principal.token_id in self._tokens:
            raise refused("The token was revoked; fetch a fresh one.")

    async def _watch(self) -> None:
        forget_at = self._wall() + _FORGET_EVERY
        while True:
            try:
                async with asyncio.timeout(self._every):
                    await self._bell.wait()
            except TimeoutError:
                pass
            self._bell.clear()
            await self._look()
            if self._wall() >= forget_at:
                forget_at = self._wall() + _FORGET_EVERY
                self._forget()

    async def _look(self) -> None:
        now = self._wall()
        try:
            async with asyncio.timeout(_TIMEOUT):
                found = await self._read(int((min(now, self._read_until) - _BACK) * 1000))
        except Exception as exc:
            _log.warning("revocations cannot be read", reason=str(exc) or type(exc).__name__)
            return
        self._read_until = now
        self._looked = asyncio.get_running_loop().time()
        news = self._learn(found)
        if news:
            try:
                self._news(news)
            except Exception as exc:
                _log.error("a revocation could not be carried out", exc_info=exc)

    def _learn(self, found: Sequence[Revocation]) -> list[Revocation]:
        """Take up what is not known yet; returns it."""
        now = int(self._wall() * 1000)
        news = [one for one in found if one.id not in self._known and not one.over(now, self._lifetime)]
        for one in news:
            self._known[one.id] = one
            if one.token_id is not None:
                self._tokens.add(one.token_id)
            elif one.user is not None and one.issued_before is not None:
                self._of_user[one.user] = max(self._of_user.get(one.user, 0), one.issued_before)
        return news

    def _forget(self) -> None:
        now = int(self._wall() * 1000)
        kept = [one for one in self._known.values() if not one.over(now, self._lifetime)]
        self._known, self._of_user, self._tokens = {}, {}, set()
        self._learn(kept)


def _nobody(_news: Sequence[Revocation]) -> None:
    """Nobody is told yet."""
