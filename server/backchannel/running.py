"""What an app's own HTTP routes find in `request.state.server`: who asks, and the way to ask. Interfaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from backchannel_protocol import Request

if TYPE_CHECKING:
    from starlette.requests import Request as HttpRequest

    from .settings import Settings

__all__ = ["Asker", "RunningServer"]

R = TypeVar("R")


class Asker(Protocol):
    """Who sent an HTTP request: the holder of a token, or of an API key."""

    @property
    def user(self) -> str:
        """The user; empty for an API key that acts for itself."""

    @property
    def api_key(self) -> str | None:
        """The API key's id; None for the holder of a token."""

    @overload
    async def call(self, request: Request[R], *, key: str | None = None) -> R: ...
    @overload
    async def call(self, request: str, data: Any, *, key: str | None = None) -> Any: ...
    async def call(self, request: Request[Any] | str, data: Any = None, *, key: str | None = None) -> Any:
        """Ask a command or query as this user, on the way that every request takes.

        Internal ones, too: those are the route's own to ask, and the token's `caps` do not name them. Cancelling stops
        the waiting; a command that was begun still takes effect.

        Args:
            request: a request; or its name, with its data.
            key: the command's idempotency key.

        Raises:
            Refused: as the handler refused; `forbidden` by the token's `caps`; `unavailable`.
        """


class RunningServer(Protocol):
    """The process that serves a route: a whole server, or a gateway among others. Use it on its own event loop."""

    @property
    def settings(self) -> Settings:
        """What the operator set."""

    @property
    def url(self) -> str:
        """Where it listens."""

    @property
    def dev(self) -> bool:
        """Whether this is `--dev`."""

    def issue_token(self, user: str, *, lifetime: float, channels: Sequence[str] = ()) -> tuple[str, int]:
        """A token for a user, and when it expires (Unix milliseconds).

        Raises:
            ValueError: what is no user name, or a lifetime that is not allowed.
            BackchannelError: this server signs no tokens.
        """

    async def asker(self, request: HttpRequest) -> Asker:
        """Who sent this request, by the same headers as at `/v1/{name}`.

        Raises:
            Refused: `unauthenticated`; `forbidden` for an API key that may not act for the user it names. A route lets
                refusals pass: they are answered as problems.
        """

    @overload
    async def call(self, request: Request[R], *, user: str, key: str | None = None) -> R: ...
    @overload
    async def call(self, request: str, data: Any, *, user: str, key: str | None = None) -> Any: ...
    async def call(self, request: Request[Any] | str, data: Any = None, *, user: str, key: str | None = None) -> Any:
        """Ask a command or query as the app itself, on behalf of a user whom the route knows by other means; as
        `Publisher.call` does in a worker. Internal ones, too.

        Raises:
            Refused: as the handler refused, or `unavailable`.
        """
