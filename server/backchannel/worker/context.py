"""What handlers are given: the parts of `Context` that commands and queries have in common."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from backchannel_protocol import Refused, Request
from backchannel_protocol.frames import Member

from ..app import RequestDeclaration
from ..context import Publisher
from .runtime import Runtime
from .work import Work

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

__all__ = ["RequestContext"]

_logger = structlog.get_logger("backchannel.handler")


class RequestContext:
    """Who asks, and what does not depend on the kind of the request."""

    __slots__ = (
        "_log",
        "app",
        "channels",
        "connection",
        "errors",
        "key",
        "now",
        "open",
        "principal",
        "runtime",
        "user",
        "work",
    )

    def __init__(self, runtime: Runtime, work: Work) -> None:
        request = work.request
        principal = request.principal
        self.runtime: Final = runtime
        self.work: Final = work
        self.principal: Final = principal
        self.app: str = runtime.tenant
        self.user: str = principal.user
        self.channels: Sequence[str] = principal.channels
        self.key: str | None = request.key
        self.connection: str | None = request.connection or None
        self.now: int = runtime.clock()
        self.errors: Collection[str] = work.declaration.errors
        """The codes that the handler, and those that it called, may refuse with."""
        self.open = True
        """Whether the handler is still running; what is declared later would be lost."""
        self._log: FilteringBoundLogger | None = None

    @property
    def api_key(self) -> str | None:
        """The id of the API key that asks."""
        return self.principal.api_key

    @property
    def log(self) -> FilteringBoundLogger:
        """A logger that names the request."""
        if self._log is None:
            self._log = _logger.bind(request=self.work.declaration.name, user=self.user)
        return self._log

    @property
    def publisher(self) -> Publisher:
        """Asks and publishes beside this handler."""
        if self.runtime.publisher is None:
            raise RuntimeError("There is no worker to ask: this runtime belongs to none.")
        return self.runtime.publisher

    def new_id(self) -> str:
        """A fresh id: 26 letters and digits that sort by time."""
        return self.runtime.new_id(self.now)

    async def presence(self, channel: str) -> Sequence[Member]:
        """Who listens to a channel now."""
        return (await self.runtime.broker.presence(channel)).members

    def _check_open(self) -> None:
        if not self.open:
            raise RuntimeError(
                f"{self.work.declaration.name} has returned already: declare within the handler, or call a command."
            )

    def _nested(self, request: Request[Any] | str, data: Any) -> tuple[RequestDeclaration, Any]:
        """The declaration and the typed request of a `ctx.call`.

        Raises:
            Refused: the name is not declared, or the data is not what it declares.
        """
        name = request if isinstance(request, str) else type(request).wire_name
        declaration = self.runtime.requests.get(name)
        if declaration is None or declaration.handler is None:
            raise Refused("not_found", f"There is no command or query {name}.")
        if not isinstance(request, str):
            value: Any = request
        elif isinstance(data, declaration.cls):
            value = data
        else:
            try:
                value = msgspec.convert(data, declaration.cls)
            except msgspec.ValidationError as exc:
                raise Refused("invalid", f"{exc}.") from None
        self.errors = {*self.errors, *declaration.errors}
        return declaration, value
