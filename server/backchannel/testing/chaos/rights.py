"""Rights that are taken away while their owner listens, and how soon it ends (P6)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Final

from backchannel_client import ConnectionClosed
from backchannel_protocol import BackchannelError, Refused

from ..report import Finding
from .clients import LoadClient
from .load import Load
from .obstructions import Obstructions
from .workload import OPERATOR_KEY, Asked, Workload

__all__ = ["BOUND", "Rights"]

BOUND: Final = 5.0
"""Seconds within which a revoked right ends on an open connection."""

_TICK: Final = 0.05
# Seconds that the operator waits for an answer, and that an end is waited for however obstructed it is.
_PATIENCE: Final = 120.0
_GIVE_UP: Final = 60.0
_AGAIN: Final = 0.2

MakeGuest = Callable[[str], Awaitable[LoadClient]]


class Rights:
    """Guests whose rights come and go. Use it on the run's loop."""

    def __init__(
        self, workload: Workload, load: Load, operator: LoadClient, obstructions: Obstructions, make_guest: MakeGuest
    ) -> None:
        """`make_guest` opens a client for a user, with a fresh token."""
        self.guests: dict[str, LoadClient] = {}
        """By user."""
        self.findings: list[Finding] = []
        self.slowest = 0.0
        """Seconds that a right outlived its end on an open connection, at most."""
        self._workload = workload
        self._load = load
        self._operator = operator
        self._obstructions = obstructions
        self._make_guest = make_guest
        self._busy: set[str] = set()
        self._keys = itertools.count(1)

    async def admit(self, user: str) -> None:
        """A new guest, who listens to everything. Raises `Refused` where it may not."""
        guest = self.guests[user] = await self._make_guest(user)
        for channel in self._workload.channels:
            await self._load.listen(guest, channel)
        self._load.add(guest)

    async def revoke(self, which: float, pause: float) -> bool:
        """Take one guest's right to one channel away, see it end, and give it back; False if nobody is there for it.

        Args:
            which: in [0, 1): chooses guest and channel.
            pause: seconds until it is given back.
        """
        user = self._free(which)
        channels = self._workload.channels
        channel = channels[int(which * 997) % len(channels)]
        take, give = (
            (self._workload.revoke(user, channel), self._workload.grant(user, channel)) if user else (None, None)
        )
        if user is None or take is None or give is None:
            return False
        guest = self.guests[user]
        self._busy.add(user)
        try:
            if not await self._order(take):
                return False
            await self._see(guest, lambda: channel in guest.ends, f"{user} may not listen to {channel} any more")
            await asyncio.sleep(pause)
            await self._order(give, insist=True)
            if isinstance(guest.ends[channel], ConnectionClosed):
                raise guest.ends[channel]
            await self._load.listen(guest, channel)
        except BackchannelError as exc:
            self._find("silent", f"{user} was granted {channel} anew, and cannot listen: {exc}", user)
        finally:
            self._busy.discard(user)
        return True

    async def banish(self, which: float) -> bool:
        """Make one guest's tokens void, see its connection end, and let it in with a new token."""
        user = self._free(which)
        asked = self._workload.banish(user) if user else None
        if user is None or asked is None:
            return False
        guest = self.guests[user]
        self._busy.add(user)
        try:
            if not await self._order(asked):
                return False
            await self._see(guest, lambda: self._is_out(guest), f"the tokens of {user} are void")
            await guest.close()
            await self.admit(user)
        except (BackchannelError, TimeoutError) as exc:
            self._find("silent", f"{user} has a fresh token, and cannot come back: {exc}", user)
        finally:
            self._busy.discard(user)
        return True

    def _is_out(self, guest: LoadClient) -> bool:
        return all(channel in guest.ends for channel in self._workload.channels)

    def _free(self, which: float) -> str | None:
        users = sorted(self.guests.keys() - self._busy)
        return users[int(which * len(users))] if users else None

    async def _order(self, asked: Asked, *, insist: bool = False) -> bool:
        """Ask as the operator; False if that was refused and nothing happened.

        What may have happened, and what has to, is asked for again with its key until it is answered.

        Raises:
            Refused: it never was.
        """
        key = f"{OPERATOR_KEY}{next(self._keys)}"
        loop = asyncio.get_running_loop()
        end = loop.time() + _PATIENCE
        while True:
            try:
                await self._operator.ask(asked, key, _PATIENCE)
            except Refused as exc:
                insist = insist or exc.outcome == "unknown"
                if not insist:
                    return False
                if loop.time() > end:
                    raise
                await asyncio.sleep(_AGAIN)
            else:
                return True

    async def _see(self, guest: LoadClient, over: Callable[[], bool], what: str) -> None:
        """Wait for the end, and count the time that passes on an open connection with nothing in its way."""
        loop = asyncio.get_running_loop()
        began = last = loop.time()
        open_for = 0.0
        while not over():
            await asyncio.sleep(_TICK)
            now = loop.time()
            if guest.connected and not guest.front.held and not self._obstructions.between(last, now):
                open_for += now - last
            last = now
            if now - began > _GIVE_UP:
                self._find("late", f"{what}, and after {now - began:.0f} s that has not ended.", guest.user)
                guest.front.cut()
                raise Refused("unavailable", "It does not end.")
        self.slowest = max(self.slowest, open_for)
        if open_for > BOUND:
            self._find("late", f"{what}, and that took {open_for:.1f} s on an open connection to end.", guest.user)

    def _find(self, kind: str, text: str, user: str) -> None:
        self.findings.append(Finding(kind=kind, channel="", text=text, listener=user))  # type: ignore[arg-type]
