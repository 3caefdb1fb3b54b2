"""Connection: one open door with its session. It performs the session's effects and nothing else.

No task, queue or timer belongs to it; what it needs only sometimes is made when it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backchannel_protocol import CloseCode, Refused
from backchannel_protocol import frames as f

from ..session import effects as e
from ..session.session import Effects, Session
from ..session.states import State
from ..session.subscription import Subscription
from ..telemetry.metrics import metrics
from .deflate import deflated
from .framing import BINARY, frame
from .transport import Transport

if TYPE_CHECKING:
    import asyncio

    from .gateway import Gateway
    from .publishing import Right

__all__ = ["Connection"]


class Connection:
    """What the gateway keeps of one client."""

    __slots__ = (
        "__weakref__",
        "_beginning",
        "_out",
        "address",
        "calls",
        "compress_from",
        "drained",
        "gateway",
        "gone",
        "may_publish",
        "session",
        "slot",
        "slow",
        "transport",
        "user",
        "write",
    )

    def __init__(
        self, gateway: Gateway, transport: Transport, session: Session, address: str, compress_from: int = 0
    ) -> None:
        self.gateway = gateway
        self.transport = transport
        self.write = transport.write
        self.session = session
        self.address = address
        self.compress_from = compress_from
        """Bytes from which a message to it is compressed; 0: it did not agree to that."""
        self.user = ""
        """The user's name once the session is open."""
        self.slow = False
        """Whether its socket takes no more at the moment."""
        self.gone = False
        self.slot = -1
        """Its place on the timer wheel."""
        self.calls: dict[int, int] | None = None
        """The relay's request ids of the calls under way."""
        self.may_publish: dict[tuple[str, str], Right] | None = None
        """Rights to publish, by channel and name."""
        self.drained: asyncio.Future[None] | None = None
        """Done when the socket reads again; made by who waits for it."""
        self._out: list[bytes] | None = None
        self._beginning: list[e.Subscribe] | None = None

    # From the door

    def receive(self, message: bytes) -> None:
        """Take one complete message."""
        metrics.frames_in += 1
        self.perform(self.session.receive(message, self.gateway.now()))

    def flush(self) -> None:
        """Write what was caused since the last time, as one."""
        out = self._out
        if out is None:
            return
        self._out = None
        if self.slow and self.transport.queued() + sum(map(len, out)) > self.gateway.max_queued:
            self.too_slow()
            return
        self.write(out[0] if len(out) == 1 else b"".join(out))

    def paused(self) -> None:
        """The socket's buffer is over its mark."""
        self.slow = True
        self.gateway.hub.pause(self)

    def resumed(self) -> None:
        """The socket's buffer is below its mark again."""
        self.slow = False
        self.gateway.hub.resume(self)
        if self.drained is not None:
            drained, self.drained = self.drained, None
            drained.set_result(None)

    def lost(self) -> None:
        """The transport is gone."""
        if self.gone:
            return
        self.gone = True
        self.perform(self.session.lost())
        self._out = None
        if self.drained is not None:
            self.drained.set_result(None)
        self.gateway.forget(self)

    # Effects

    def perform(self, effects: Effects) -> None:
        """Do what the session asks, in order. What is to be sent leaves with the next `flush`."""
        for effect in effects:
            _PERFORM[type(effect)](self, effect)
        if self._beginning is not None:
            beginning, self._beginning = self._beginning, None
            self.gateway.subscribing.begin(self, beginning)

    def do(self, effects: Effects) -> None:
        """Perform and send: for effects that no read of the socket caused."""
        self.perform(effects)
        self.flush()

    def _send(self, effect: e.Send) -> None:
        sent = effect.frame
        if type(sent) is f.Error:
            metrics.errors[sent.code] += 1
        if self.gone:
            return
        codec = self.session.codec
        payload = codec.encode(sent)
        framed = frame(payload, BINARY) if codec.binary else frame(payload)
        if self.compress_from:
            framed = deflated(framed, self.compress_from)
        if self._out is None:
            self._out = [framed]
        else:
            self._out.append(framed)

    def _authenticate(self, effect: e.Authenticate) -> None:
        self.gateway.authenticate_connection(self, effect)

    def _start(self, effect: e.Start) -> None:
        self.gateway.opened(self)

    def _subscribe(self, effect: e.Subscribe) -> None:
        # Those of one frame begin together: their rights are asked for in one query.
        if self._beginning is None:
            self._beginning = []
        self._beginning.append(effect)

    def _tell(self, effect: e.Tell) -> None:
        channel = self.gateway.hub.channels.get(effect.subscription.channel)
        epoch, offset = (channel.epoch, channel.offset) if channel is not None else ("", 0)
        self.perform(self.session.subscribed(effect.subscription, "recovered", epoch, offset, again=True))

    def _stop(self, effect: e.Stop) -> None:
        self.gateway.hub.leave(effect.subscription.channel, self)

    def _relay(self, effect: e.Relay) -> None:
        self.gateway.calls.call(self, effect)

    def _cancel_call(self, effect: e.CancelCall) -> None:
        if self.calls is not None and (request_id := self.calls.get(effect.id)) is not None:
            self.gateway.relay.cancel(request_id)

    def _publish(self, effect: e.PublishEvent) -> None:
        self.gateway.publishing.publish(self, effect)

    def _history(self, effect: e.ReadHistory) -> None:
        self.gateway.hub.spawn(self.gateway.reading.history(self, effect))

    def _presence(self, effect: e.ReadPresence) -> None:
        self.gateway.hub.spawn(self.gateway.reading.presence(self, effect))

    def _close(self, effect: e.Close) -> None:
        self.flush()
        metrics.closes[str(effect.code)] += 1
        if effect.code == CloseCode.SILENT:
            metrics.silent_closes += 1
        self.transport.close(effect.code, effect.reason)

    # From the gateway

    def end_subscription(self, channel: str, refusal: Refused) -> None:
        """A right has ended, or a subscription cannot go on."""
        subscription = self.session.subscriptions.get(channel)
        if subscription is not None:
            self.gateway.hub.leave(channel, self)
            self.do(self.session.unsubscribed(subscription, refusal))

    def is_current(self, subscription: Subscription) -> bool:
        """Whether the session still wants this very subscription."""
        return not self.gone and self.session.subscriptions.get(subscription.channel) is subscription

    def too_slow(self) -> None:
        """More waits than may wait: the connection goes at once, since a close frame would wait behind it all."""
        if self.gone:
            return
        if self.session.state is not State.CLOSED:
            metrics.slow_closes += 1
            metrics.closes[str(int(CloseCode.SLOW))] += 1
            self.perform(self.session.lost())
        self._out = None
        self.transport.abort()

    def close(self, code: int, reason: str) -> None:
        """End the session from this side."""
        self.do(self.session.close(code, reason))


_PERFORM: dict[type[Any], Any] = {
    e.Send: Connection._send,
    e.Authenticate: Connection._authenticate,
    e.Start: Connection._start,
    e.Subscribe: Connection._subscribe,
    e.Tell: Connection._tell,
    e.Stop: Connection._stop,
    e.Relay: Connection._relay,
    e.CancelCall: Connection._cancel_call,
    e.PublishEvent: Connection._publish,
    e.ReadHistory: Connection._history,
    e.ReadPresence: Connection._presence,
    e.Close: Connection._close,
}
