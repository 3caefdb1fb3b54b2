"""The session under fuzzing: any frames from a client, any order of answers from a gateway."""

from __future__ import annotations

from collections import Counter
from typing import Final

from backchannel.auth.principal import Principal
from backchannel.session import effects as e
from backchannel.session.session import Session
from backchannel.session.states import State
from backchannel_protocol import JSON, MSGPACK, CloseCode, Limits, Malformed, Refused
from backchannel_protocol import frames as f
from backchannel_protocol.limits import CHANNEL_RE, NAME_RE

__all__ = ["check_session"]

_LIMITS: Final = Limits(channels=3, open_requests=4, burst=30, calls=5.0, token=20, nesting=8)
_REFUSED: Final = Refused("unavailable", "No.")


def check_session(data: bytes) -> None:
    """Every effect can be performed, every request has at most one answer, and a closed session is silent.

    The first byte chooses the encoding and whether the session is open. Then come steps: a byte 0 and two of length
    before a frame from the client, or a byte that says what the gateway does.
    """
    run = _Run(data[0] if data else 0)
    position = 1
    while position < len(data):
        step = data[position] % 9
        position += 1
        if step == 0:
            size = int.from_bytes(data[position : position + 2], "big")
            run.receive(data[position + 2 : position + 2 + size])
            position += 2 + size
        else:
            run.step(step)
        run.check()


class _Run:
    """One session and what is known of it from outside."""

    def __init__(self, setting: int) -> None:
        self.codec = MSGPACK if setting & 1 else JSON
        self.now = 0.0
        self.session = Session("s", self.codec, _LIMITS, ping=25.0, grace=10.0, now=0.0)
        self.unanswered: Counter[int] = Counter()
        self.asked: list[e.Effect] = []
        self.is_closed = False
        if setting & 2:
            self.receive(self.codec.encode(f.Connect(id=1)))
            self.step(1)

    def receive(self, data: bytes) -> None:
        """A frame from the client."""
        request_id: int | None
        try:
            request_id = getattr(self.codec.decode_client(data, _LIMITS.nesting), "id", None)
        except Malformed as exc:
            request_id = exc.request_id
        if request_id is not None:
            self.unanswered[request_id] += 1
        self.perform(self.session.receive(data, self.now))

    def step(self, step: int) -> None:
        """What the gateway does: answer the oldest or the newest question, well or not; or time, or the end."""
        if step <= 4:
            if self.asked:
                effect = self.asked.pop(0 if step <= 2 else -1)
                self.perform(self.answer(effect, is_good=step % 2 == 1))
        elif step == 5:
            self.now += 3.0
            self.perform(self.session.tick(self.now, self.now))
        elif step == 6:
            self.now += 30.0
            self.perform(self.session.tick(self.now, self.now))
        elif step == 7:
            self.perform(self.session.move(5.0))
        else:
            self.perform(self.session.close(CloseCode.GOING_AWAY, "stop"))

    def answer(self, effect: e.Effect, *, is_good: bool) -> list[e.Effect]:
        """What comes of an effect."""
        session = self.session
        if isinstance(effect, e.Authenticate):
            if is_good:
                return session.authenticated(effect.id, Principal("alice", "user:alice", expires=100.0), self.now)
            return session.refused_token(effect.id, _REFUSED)
        if isinstance(effect, e.Subscribe | e.Tell):
            if is_good:
                return session.subscribed(effect.subscription, "new", "e1", 3, again=isinstance(effect, e.Tell))
            return session.unsubscribed(effect.subscription, _REFUSED)
        if not isinstance(effect, e.Relay | e.PublishEvent | e.ReadHistory | e.ReadPresence) or effect.id is None:
            return []
        if not is_good:
            return session.failed(effect.id, _REFUSED)
        if isinstance(effect, e.ReadPresence):
            return session.present(effect.id, f.Presence(id=effect.id, channel=effect.channel, revision=1))
        return session.answered(effect.id, self.codec.encode({}))

    def perform(self, effects: list[e.Effect]) -> None:
        """Check each effect, and remember what has to be answered."""
        for effect in effects:
            assert not self.is_closed, f"{effect} after the end"
            if isinstance(effect, e.Send):
                self.sent(effect.frame)
            elif isinstance(effect, e.Close):
                assert effect.code in set(CloseCode)
                self.is_closed = True
            else:
                self.asked.append(effect)
                if isinstance(effect, e.Relay):
                    assert 0 < effect.timeout <= _LIMITS.call
                    assert NAME_RE.match(effect.name)
                    self.codec.decode_any(effect.data)
                elif isinstance(effect, e.PublishEvent):
                    assert CHANNEL_RE.match(effect.channel)
                    self.codec.decode_any(effect.data)
                elif isinstance(effect, e.Subscribe):
                    assert CHANNEL_RE.match(effect.subscription.channel)
        self.is_closed = self.is_closed or self.session.state is State.CLOSED

    def sent(self, frame: f.ServerFrame) -> None:
        """A frame to the client can be read there, and answers something that it asked."""
        assert type(self.codec.decode_server(self.codec.encode(frame))) is type(frame)
        if isinstance(frame, f.Connected | f.Subscribed | f.Reply | f.Presence | f.Error) and frame.id is not None:
            self.unanswered[frame.id] -= 1
            assert self.unanswered[frame.id] >= 0, f"{frame} answers nothing"

    def check(self) -> None:
        """What holds between any two steps."""
        session = self.session
        assert len(session.subscriptions) <= _LIMITS.channels
        assert len(session._open or ()) <= _LIMITS.open_requests
        if self.is_closed:
            assert not session.subscriptions
            assert session._open is None
