"""Session: the protocol of one connection, sans-I/O.

Frames go in, effects come out; it knows no socket, no clock and no task. Every request with an id gets exactly one
answer, in whatever order the answers become known. The gateway performs the effects and feeds back what became of them.

One file, though long: every frame's rule changes the same state, and the state table is read beside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Raw

from backchannel_protocol import PROTOCOL_VERSION, CloseCode, Codec, Limits, Malformed, Refused
from backchannel_protocol import frames as f
from backchannel_protocol.limits import CHANNEL_RE

from ..auth.principal import Principal
from ..telemetry.metrics import metrics
from . import effects as e
from .bucket import Bucket
from .states import TAKEN, State
from .subscription import Subscription, SubscriptionState

__all__ = ["Session"]

Effects = list[e.Effect]

# Refusals for the rate until a client counts as deaf to them. Each accepted request makes up for some, so that only who
# stays more than four times over the rate gets there.
_DEAF_TO_REFUSALS = 1000
_MADE_UP_FOR = 3


class Session:
    """The protocol state of one connection.

    Methods that return effects must have them performed at once, in order, before anything else is fed in. Instants are
    seconds of one monotonic clock, `wall` is Unix seconds.
    """

    __slots__ = (
        "_bucket",
        "_connect_id",
        "_open",
        "_pinged",
        "_refused",
        "_resume",
        "_token",
        "codec",
        "expires",
        "grace",
        "id",
        "limits",
        "ping",
        "principal",
        "seen",
        "since",
        "state",
        "subscriptions",
    )

    def __init__(
        self,
        session_id: str,
        codec: Codec,
        limits: Limits,
        *,
        ping: float,
        grace: float,
        now: float,
        token: str | None = None,
    ) -> None:
        """`token` came in the handshake's header; one in the `connect` frame counts instead (CONN-5)."""
        self.id = session_id
        self.codec = codec
        self.limits = limits
        self.ping = ping
        self.grace = grace
        self.state = State.NEW
        self.principal: Principal | None = None
        self.expires: float | None = None
        """When the token expires, Unix seconds."""
        self.since = now
        self.seen = now
        """When the client last gave a sign of life."""
        self.subscriptions: dict[str, Subscription] = {}
        self._open: set[int] | None = None
        self._bucket: Bucket | None = None
        self._connect_id = 0
        self._resume: dict[str, f.Position] | None = None
        self._token = token
        self._refused = 0
        self._pinged = now

    # What the client sends

    def receive(self, data: bytes, now: float) -> Effects:
        """Take one frame, as bytes. Never raises; what cannot be read is answered `invalid`."""
        self.seen = now
        if self.state is State.CLOSED:
            return []
        try:
            frame = self.codec.decode_client(data, self.limits.nesting)
        except Malformed as exc:
            metrics.frames_malformed += 1
            return self._take(now, exc.request_id) or [_refuse(exc.request_id, exc)]
        kind = type(frame)
        if kind is f.Pong:
            return []
        request_id: int | None = frame.id  # type: ignore[union-attr]
        if kind is not f.Cancel:
            # PUB-1: a publish without id is answered by nothing, whatever becomes of it.
            refused = self._take(now, request_id, answer=request_id is not None)
            if refused is not None:
                return refused
        if kind not in TAKEN[self.state]:
            return [_refuse(request_id, self._untimely(kind))]
        open_requests = self._open
        if open_requests is not None and request_id is not None and kind is not f.Cancel:
            if request_id in open_requests:
                # REQ-3: the request that is open goes on, so this one is answered without touching it.
                return [_refuse(request_id, Malformed(f"Id {request_id} belongs to a request that is still open."))]
            if len(open_requests) >= self.limits.open_requests:
                return [
                    _refuse(
                        request_id,
                        Refused(
                            "limit_exceeded",
                            f"At most {self.limits.open_requests} requests may be open; wait for an answer first.",
                        ),
                    )
                ]
        effects: Effects = _TAKE[kind](self, frame)
        return effects

    def _take(self, now: float, request_id: int | None, *, answer: bool = True) -> Effects | None:
        """Count one request against the rate; if it is too much, the effects of that."""
        bucket = self._bucket
        if bucket is None:
            bucket = self._bucket = Bucket(self.limits.calls, self.limits.burst, now)
        wait = bucket.take(now)
        if not wait:
            if self._refused:
                self._refused = max(0, self._refused - _MADE_UP_FOR)
            return None
        metrics.rate_limited += 1
        self._refused += 1
        if self._refused > _DEAF_TO_REFUSALS:
            return self._close(CloseCode.RATE_LIMITED, "too many requests, for too long")
        if not answer:
            metrics.errors["rate_limited"] += 1
            return []
        return [
            _refuse(
                request_id,
                Refused(
                    "rate_limited",
                    f"More than {self.limits.calls:g} requests per second; wait before you send the next.",
                    retry_after=round(wait, 3),
                ),
            )
        ]

    def _untimely(self, kind: type[Any]) -> Refused:
        if kind is f.Connect:
            return Malformed("The session is open already; `connect` comes once.")
        return Refused("unauthenticated", "Send `connect` and wait for `connected` first.")

    def _on_connect(self, frame: f.Connect) -> Effects:
        token = self._token if frame.token is None else frame.token
        if token is not None and self._too_long(token):
            return [
                _refuse(frame.id, Refused("too_large", f"The token is over {self.limits.token} bytes.")),
                *self._close(CloseCode.UNAUTHENTICATED, "token too large"),
            ]
        if frame.resume is not None and len(frame.resume) > self.limits.channels:
            return [_refuse(frame.id, self._too_many_channels())]
        self.state = State.CONNECTING
        self._connect_id = frame.id
        self._resume = frame.resume
        self._token = None
        return [e.Authenticate(frame.id, token, refresh=False)]

    def _too_long(self, token: str) -> bool:
        return len(token) > self.limits.token or len(token.encode()) > self.limits.token

    def _on_refresh(self, frame: f.Refresh) -> Effects:
        if self._too_long(frame.token):
            return [_refuse(frame.id, Refused("too_large", f"The token is over {self.limits.token} bytes."))]
        self._opened(frame.id)
        return [e.Authenticate(frame.id, frame.token, refresh=True)]

    def _on_subscribe(self, frame: f.Subscribe) -> Effects:
        existing = self.subscriptions.get(frame.channel)
        if existing is not None:
            self._opened(frame.id)
            existing.request_ids = (*existing.request_ids, frame.id)
            # SUB-4: listening again changes nothing; the answer tells where the subscription stands.
            return [e.Tell(existing)] if existing.state is SubscriptionState.ACTIVE else []
        if len(self.subscriptions) >= self.limits.channels:
            return [_refuse(frame.id, self._too_many_channels())]
        self._opened(frame.id)
        return [self._subscribe(frame.channel, frame.id, frame.since)]

    def _subscribe(self, channel: str, request_id: int | None, since: f.Position | None) -> e.Subscribe:
        subscription = Subscription(channel, request_id)
        self.subscriptions[channel] = subscription
        return e.Subscribe(subscription, since)

    def _too_many_channels(self) -> Refused:
        return Refused(
            "limit_exceeded", f"At most {self.limits.channels} channels per connection; unsubscribe from some first."
        )

    def _on_unsubscribe(self, frame: f.Unsubscribe) -> Effects:
        out: Effects = []
        subscription = self.subscriptions.pop(frame.channel, None)
        if subscription is not None:
            out.append(e.Stop(subscription))
            out.extend(self._answer_waiting(subscription, Refused("cancelled", "The client unsubscribed meanwhile.")))
        out.append(self._reply(frame.id, f.UnsubscribeReply(frame.channel)))
        return out

    def _on_call(self, frame: f.Call) -> Effects:
        self._opened(frame.id)
        timeout = frame.timeout
        if timeout is None or timeout > self.limits.call:
            timeout = self.limits.call
        return [e.Relay(frame.id, frame.name, bytes(frame.data), frame.key, timeout)]

    def _on_cancel(self, frame: f.Cancel) -> Effects:
        # CANCEL-1, CANCEL-3: the answer of a cancelled call is the call's own; cancelling what is not open is ignored.
        return [e.CancelCall(frame.id)] if self._open and frame.id in self._open else []

    def _on_publish(self, frame: f.Publish) -> Effects:
        if frame.id is not None:
            self._opened(frame.id)
        return [e.PublishEvent(frame.id, frame.channel, frame.name, bytes(frame.data), frame.key)]

    def _on_history(self, frame: f.History) -> Effects:
        if frame.since is not None and frame.before is not None:
            return [_refuse(frame.id, Malformed("Give `since` or `before`, not both."))]
        if refusal := self._not_listening(frame.channel):
            return [_refuse(frame.id, refusal)]
        self._opened(frame.id)
        limit = min(frame.limit, self.limits.history)
        return [e.ReadHistory(frame.id, frame.channel, limit, frame.since, frame.before)]

    def _on_presence(self, frame: f.PresenceRequest) -> Effects:
        if refusal := self._not_listening(frame.channel):
            return [_refuse(frame.id, refusal)]
        self._opened(frame.id)
        return [e.ReadPresence(frame.id, frame.channel)]

    def _not_listening(self, channel: str) -> Refused | None:
        subscription = self.subscriptions.get(channel)
        if subscription is None or subscription.state is not SubscriptionState.ACTIVE:
            return Refused("forbidden", f"Subscribe to {channel} first; who may listen may read.")
        return None

    # What became of the effects

    def authenticated(self, request_id: int, principal: Principal, wall: float) -> Effects:
        """The token of a `connect` or `refresh` is good."""
        expires = principal.expires
        expires_ms = None if expires is None else int(expires * 1000)
        if self.state is not State.CONNECTING:
            if not self._is_open(request_id):
                return []
            if self.principal is not None and principal.user != self.principal.user:
                return self.failed(
                    request_id, Refused("forbidden", "The new token is another user's; connect anew with it.")
                )
            known = {*self.subscriptions, *(self.principal.channels if self.principal is not None else ())}
            self.principal, self.expires = principal, expires
            # What only the new token names is subscribed as after `connect`; what the client let go of stays so.
            added = [channel for channel in principal.channels if channel not in known]
            return [self._reply(request_id, f.RefreshReply(expires=expires_ms)), *self._subscribe_all(added, {})]
        self.state = State.OPEN
        self.principal, self.expires = principal, expires
        out: Effects = [
            e.Send(
                f.Connected(
                    id=request_id,
                    session=self.id,
                    user=principal.user,
                    version=PROTOCOL_VERSION,
                    time=int(wall * 1000),
                    ping=self.ping,
                    grace=self.grace,
                    limits=self.limits,
                    expires=expires_ms,
                    token=principal.issued,
                )
            ),
            e.Start(),
        ]
        resume, self._resume = self._resume or {}, None
        # CONN-21. The user's own channel comes first: what must reach the user (a ban) comes there.
        wanted = [f"user:{principal.user}"] if principal.user else []
        wanted.extend(resume)
        wanted.extend(channel for channel in principal.channels if CHANNEL_RE.match(channel))
        return [*out, *self._subscribe_all(wanted, resume)]

    def _subscribe_all(self, channels: Iterable[str], since: Mapping[str, f.Position]) -> Effects:
        """Subscribe to these without being asked (CONN-22)."""
        out: Effects = []
        for channel in dict.fromkeys(channels):
            if len(self.subscriptions) < self.limits.channels:
                out.append(self._subscribe(channel, None, since.get(channel)))
            else:
                refusal = self._too_many_channels()
                out.append(e.Send(f.Unsubscribed(channel=channel, code=refusal.code, message=refusal.message)))
        return out

    def refused_token(self, request_id: int, refusal: Refused) -> Effects:
        """The token of a `connect` or `refresh` is not good, or could not be checked."""
        if self.state is State.CONNECTING:
            code = CloseCode.UNAUTHENTICATED if refusal.code == "unauthenticated" else CloseCode.UNAVAILABLE
            if refusal.code == "limit_exceeded":
                code = CloseCode.TOO_MANY_CONNECTIONS
            return [_refuse(request_id, refusal), *self._close(code, refusal.code)]
        return self.failed(request_id, refusal)

    def subscribed(
        self, subscription: Subscription, verdict: f.Verdict, epoch: str, offset: int, *, again: bool = False
    ) -> Effects:
        """The session listens; `offset` is where catching up ends. `again`: the answer to `Tell`."""
        if self.subscriptions.get(subscription.channel) is not subscription:
            return []
        subscription.state = SubscriptionState.ACTIVE
        waiting, subscription.request_ids = subscription.request_ids, ()
        out: Effects = []
        for request_id in waiting:
            self._closed(request_id)
            out.append(
                e.Send(
                    f.Subscribed(
                        id=request_id,
                        channel=subscription.channel,
                        verdict="recovered" if again else verdict,
                        epoch=epoch,
                        offset=offset,
                    )
                )
            )
            again = True
        return out

    def unsubscribed(self, subscription: Subscription, refusal: Refused) -> Effects:
        """The subscription was refused or has ended; a request that waits for it is answered by `error`."""
        if self.subscriptions.get(subscription.channel) is not subscription:
            return []
        del self.subscriptions[subscription.channel]
        made_by_server = None in subscription.request_ids or not subscription.request_ids
        out = self._answer_waiting(subscription, refusal)
        if made_by_server:
            out.append(e.Send(f.Unsubscribed(channel=subscription.channel, code=refusal.code, message=refusal.message)))
        return out

    def _answer_waiting(self, subscription: Subscription, refusal: Refused) -> Effects:
        # SUB-7: whatever went wrong, nothing is left behind, so the outcome is known.
        refusal = Refused(
            refusal.code,
            refusal.message,
            details=refusal.details,
            retry=refusal.retry,
            outcome="none",
            retry_after=refusal.retry_after,
        )
        waiting, subscription.request_ids = subscription.request_ids, ()
        out: Effects = []
        for request_id in waiting:
            if request_id is not None:
                self._closed(request_id)
                out.append(_refuse(request_id, refusal))
        return out

    def answered(self, request_id: int, data: bytes, positions: dict[str, int] | None = None) -> Effects:
        """A request succeeded; `data` is in the connection's encoding."""
        if self._open is None or request_id not in self._open:
            return []
        self._closed(request_id)
        return [e.Send(f.Reply(id=request_id, data=Raw(data), positions=positions or None))]

    def present(self, request_id: int, presence: f.Presence) -> Effects:
        """Who is present, as asked."""
        if not self._is_open(request_id):
            return []
        self._closed(request_id)
        return [e.Send(presence)]

    def failed(self, request_id: int, refusal: Refused) -> Effects:
        """A request was refused."""
        if not self._is_open(request_id):
            return []
        self._closed(request_id)
        return [_refuse(request_id, refusal)]

    # What the gateway decides

    def tick(self, now: float, wall: float) -> Effects:
        """A turn of the timer wheel, at least once per ping interval: pings, silence, time-outs, expiry."""
        if self.state is State.CLOSED:
            return []
        if self.state < State.OPEN:
            if now - self.since < self.limits.connect:
                return []
            if self.state is State.CONNECTING:
                late = Refused("unavailable", "The token could not be checked in time; connect again.", outcome="none")
                return self.refused_token(self._connect_id, late)
            return self._close(CloseCode.CONNECT_TIMEOUT, "no connect in time")
        if now - self.seen > self.ping + self.grace:
            return self._close(CloseCode.SILENT, "no sign of life")
        if self.expires is not None and wall >= self.expires:
            return self._close(CloseCode.EXPIRED, "the token expired")
        if now - self._pinged >= self.ping / 2:  # a turn may come early: better a ping too many than one too late
            self._pinged = now
            metrics.pings += 1
            return [e.Send(f.Ping())]
        return []

    def due(self, now: float, wall: float) -> float:
        """In how many seconds `tick` must come at the latest; negative: never."""
        if self.state is State.CLOSED:
            return -1.0
        if self.state < State.OPEN:
            return max(0.0, self.since + self.limits.connect - now)
        due = min(self._pinged, self.seen + self.grace) + self.ping - now
        if self.expires is not None:
            due = min(due, self.expires - wall)
        return max(0.0, due)

    def move(self, after: float) -> Effects:
        """The gateway drains: tell the client to go elsewhere within `after` seconds."""
        if self.state < State.OPEN:
            return self._close(CloseCode.MOVED, "this gateway drains")
        if self.state is not State.OPEN:
            return []
        self.state = State.MOVING
        return [e.Send(f.Move(after=after))]

    def close(self, code: int, reason: str) -> Effects:
        """End the session."""
        return self._close(code, reason) if self.state is not State.CLOSED else []

    def lost(self) -> Effects:
        """The transport is gone: everything that still runs for it is let go."""
        self.state = State.CLOSED
        return self._let_go()

    def _close(self, code: int, reason: str) -> Effects:
        self.state = State.CLOSED
        return [*self._let_go(), e.Close(int(code), reason)]

    def _let_go(self) -> Effects:
        out: Effects = [e.CancelCall(request_id) for request_id in sorted(self._open or ())]
        out.extend(e.Stop(subscription) for subscription in self.subscriptions.values())
        self._open = None
        self._resume = None
        self.subscriptions = {}
        return out

    # Bookkeeping of requests

    def _opened(self, request_id: int) -> None:
        if self._open is None:
            self._open = set()
        self._open.add(request_id)

    def _is_open(self, request_id: int) -> bool:
        return self._open is not None and request_id in self._open

    def _closed(self, request_id: int | None) -> None:
        if request_id is not None and self._open is not None:
            self._open.discard(request_id)
            if not self._open:
                self._open = None  # an idle connection keeps nothing

    def _reply(self, request_id: int, data: Any) -> e.Send:
        self._closed(request_id)
        return e.Send(f.Reply(id=request_id, data=Raw(self.codec.encode(data))))


def _refuse(request_id: int | None, refusal: Refused) -> e.Send:
    return e.Send(
        f.Error(
            id=request_id,
            code=refusal.code,
            message=refusal.message,
            retry=refusal.retry,
            outcome=refusal.outcome,
            details=refusal.details,
            retry_after=refusal.retry_after,
        )
    )


_TAKE: dict[type[Any], Any] = {
    f.Connect: Session._on_connect,
    f.Subscribe: Session._on_subscribe,
    f.Unsubscribe: Session._on_unsubscribe,
    f.Call: Session._on_call,
    f.Cancel: Session._on_cancel,
    f.Publish: Session._on_publish,
    f.History: Session._on_history,
    f.PresenceRequest: Session._on_presence,
    f.Refresh: Session._on_refresh,
}
