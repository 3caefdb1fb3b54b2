"""Tokens: fetched when a connection opens, renewed before they expire."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from backchannel_protocol import BackchannelError
from backchannel_protocol.frames import Connected, RefreshReply

from .clock import Clock, sleep

__all__ = ["Token", "TokenSource", "keep_fresh"]

log = logging.getLogger("backchannel_client")

Token = str | Callable[[], str | Awaitable[str]]
"""A token, or a function that fetches a fresh one whenever the client needs it."""

# Below this there is no use in another attempt before the token expires.
_LAST_REFRESH_SECONDS: Final = 2.0


class TokenSource:
    """Where a client has its tokens from; None connects as a guest.

    A guest is somebody of its own: the token that the server gives it is shown from then on.
    """

    def __init__(self, token: Token | None) -> None:
        self._token = token
        self.last: str | None = None
        """The token that was fetched last."""
        self.guest: str | None = None
        """What the server gave a guest to come back with."""

    @property
    def renewable(self) -> bool:
        """Whether asking again can bring another token."""
        return callable(self._token)

    def keep(self, token: str | None) -> None:
        """Keep what the server gave a guest, if it did; a token of the app's own goes before it."""
        self.guest = token or self.guest

    async def fetch(self) -> str | None:
        """A token that is good now. What the app's function raises passes through."""
        token = self._token() if callable(self._token) else self._token or self.guest
        if inspect.isawaitable(token):
            token = await token
        self.last = token
        return token


async def keep_fresh(
    source: TokenSource,
    connected: Connected,
    clock: Clock,
    random: Callable[[], float],
    refresh: Callable[[str], Awaitable[RefreshReply]],
) -> None:
    """Hand the server a new token each time before the old one expires, until cancelled.

    It starts after 75 to 90 % of the token's remaining life, drawn at random so that clients that
    connected together do not ask together. A failed attempt is repeated in what time is left; when
    that is over, the server ends the connection and the client comes back with a fresh token.
    """
    started = clock.time()
    expires = connected.expires
    while expires is not None:
        # Both instants are the server's own, so this machine's clock may be wrong.
        now = connected.time + (clock.time() - started) * 1000
        left = (expires - now) / 1000
        if left < _LAST_REFRESH_SECONDS:
            return
        await sleep(clock, left * (0.75 + 0.15 * random()))
        try:
            token = await source.fetch()
            if token is None:
                return
            expires = (await refresh(token)).expires
        except BackchannelError as exc:
            log.warning("The token could not be refreshed: %s", exc)
        except Exception:
            log.exception("Fetching a token failed")
