"""Whatever comes, in whatever order: nothing raises, every request has one answer, and a closed session is silent."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule
from msgspec import Raw

from backchannel.auth.principal import Principal
from backchannel.session import effects as e
from backchannel.session.session import Session
from backchannel.session.states import State
from backchannel.session.subscription import SubscriptionState
from backchannel_protocol import JSON, MSGPACK, Codec, Limits, Refused
from backchannel_protocol import frames as f

LIMITS = Limits(channels=3, open_requests=4, burst=30, calls=5.0, token=20, nesting=8)

ids = st.integers(1, 6)
channels = st.sampled_from(["chat:a", "chat:b", "chat:c", "user:alice", "live:x"])
positions = st.none() | st.builds(f.Position, st.sampled_from(["e1", "e2"]), st.integers(0, 9))
tokens = st.sampled_from(["good", "bad", "x" * 21, "ü" * 11])
refusals = st.sampled_from(["forbidden", "unauthenticated", "unavailable", "limit_exceeded", "internal"])
names = st.sampled_from(["a.b", "message.send"])
keys = st.none() | st.just("12345678")
optional_ids = st.none() | ids


def asking(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    return st.fixed_dictionaries(fields).map(lambda values: (kind, values))


resumes = st.none() | st.dictionaries(channels, positions.filter(bool), max_size=4)
requests = st.one_of(
    asking("Connect", id=ids, token=st.none() | tokens, resume=resumes),
    asking("Subscribe", id=ids, channel=channels, since=positions),
    asking("Unsubscribe", id=ids, channel=channels),
    asking("Call", id=ids, name=names, key=keys, data=st.just({"x": 1})),
    asking("Cancel", id=ids),
    asking("Publish", id=optional_ids, channel=channels, name=names, data=st.just([1])),
    asking("History", id=ids, channel=channels, limit=st.just(5), since=positions, before=positions),
    asking("PresenceRequest", id=ids, channel=channels),
    asking("Refresh", id=ids, token=tokens),
    asking("Pong"),
)


usual = st.one_of(
    asking("Call", id=ids, name=names, key=keys, data=st.just({"x": 1})),
    asking("Subscribe", id=ids, channel=channels, since=positions),
    asking("Unsubscribe", id=ids, channel=channels),
)


class AnyOrder(RuleBasedStateMachine):
    """A client that sends anything, and a gateway that answers what it was asked, in any order."""

    asked = Bundle("asked")

    @initialize(codec=st.sampled_from([JSON, MSGPACK]), header=st.none() | tokens, opened=st.integers(0, 5))
    def start(self, codec: Codec, header: str | None, opened: int) -> None:
        self.codec = codec
        self.now = 0.0
        self.session = Session("s", codec, LIMITS, ping=25.0, grace=10.0, now=0.0, token=header)
        self.expected: Counter[int] = Counter()
        self.closed = False
        self.steps = 0
        if opened:
            # Mostly begin where things happen.
            self.session.receive(codec.encode(f.Connect(id=1, token="good")), 0.0)
            self.session.authenticated(1, Principal("a", "user:a"), 0.0)

    def perform(self, effects: list[e.Effect]) -> list[e.Effect]:
        """Check what is sent; returns what the gateway has to answer."""
        to_do: list[e.Effect] = []
        for effect in effects:
            assert not self.closed, f"{effect} after the end"
            if isinstance(effect, e.Send):
                payload = self.codec.encode(effect.frame)
                assert type(self.codec.decode_server(payload)) is type(effect.frame)
                answers = isinstance(effect.frame, f.Connected | f.Subscribed | f.Reply | f.Presence | f.Error)
                request_id = getattr(effect.frame, "id", None)
                if answers and request_id is not None:
                    self.expected[request_id] -= 1
                    assert self.expected[request_id] >= 0, f"{effect.frame} answers nothing"
            elif isinstance(effect, e.Close):
                self.closed = True
            elif isinstance(effect, e.Start):
                assert self.session.state is State.OPEN
            else:
                to_do.append(effect)
        if self.session.state is State.CLOSED:
            self.closed = True
        return to_do

    @rule(target=asked, request=usual)
    def usual_frame(self, request: tuple[str, dict[str, Any]]) -> Any:
        """What clients send most, with ids that often clash."""
        return self.frame(request)

    @rule(target=asked, request=requests)
    def frame(self, request: tuple[str, dict[str, Any]]) -> Any:
        """A valid frame, timely or not."""
        kind, fields = request
        if "data" in fields:
            fields = {**fields, "data": Raw(self.codec.encode(fields["data"]))}
        frame = getattr(f, kind)(**fields)
        request_id = fields.get("id")
        # Cancel has no answer, except before `connected`, where every frame is told so (CONN-9).
        answered = kind != "Cancel" or self.session.state < State.OPEN
        if request_id is not None and not self.closed and answered:
            self.expected[request_id] += 1
        effects = self.session.receive(self.codec.encode(frame), self.now)
        if kind == "Publish" and request_id is None and self.session.state >= State.OPEN:
            assert not [x for x in effects if isinstance(x, e.Send)]
        return tuple(self.perform(effects))

    @rule(data=st.binary(max_size=60))
    def noise(self, data: bytes) -> None:
        """Bytes that are hardly a frame."""
        for effect in self.session.receive(data, self.now):
            if isinstance(effect, e.Send) and isinstance(effect.frame, f.Error) and effect.frame.id is not None:
                self.expected[effect.frame.id] += 1
            self.perform([effect])

    @rule(kind=st.sampled_from(["dance", "call", "subscribe"]), request_id=ids)
    def broken(self, kind: str, request_id: int) -> None:
        """A frame that breaks the contract, with an id that can be read."""
        if not self.closed:
            self.expected[request_id] += 1
        self.perform(self.session.receive(self.codec.encode({"type": kind, "id": request_id, "name": 7}), self.now))

    @rule(target=asked, effects=consumes(asked), good=st.booleans(), code=refusals, user=st.sampled_from("ab"),
          expires=st.none() | st.just(60.0), named=st.lists(channels, max_size=3))  # fmt: skip
    def answer(self, effects: Any, good: bool, code: str, user: str, expires: float | None, named: list[str]) -> Any:
        """The gateway answers what it was asked at some time."""
        session = self.session
        further: list[e.Effect] = []
        refusal = Refused(code, "No.")
        for effect in effects:
            out: list[e.Effect] = []
            if isinstance(effect, e.Authenticate):
                principal = Principal(user, f"user:{user}", channels=tuple(named), expires=expires)
                if good:
                    out = session.authenticated(effect.id, principal, self.now)
                else:
                    out = session.refused_token(effect.id, refusal)
            elif isinstance(effect, e.Subscribe | e.Tell):
                again = isinstance(effect, e.Tell)
                if good:
                    out = session.subscribed(effect.subscription, "new", "e1", 3, again=again)
                else:
                    out = session.unsubscribed(effect.subscription, refusal)
            elif isinstance(effect, e.Relay | e.PublishEvent | e.ReadHistory | e.ReadPresence):
                if effect.id is None:
                    continue
                if not good:
                    out = session.failed(effect.id, refusal)
                elif isinstance(effect, e.ReadPresence):
                    out = session.present(effect.id, f.Presence(id=effect.id, channel=effect.channel, revision=1))
                else:
                    out = session.answered(effect.id, self.codec.encode({}))
            further.extend(self.perform(out))
        return tuple(further)

    @rule(channel=channels)
    def right_ends(self, channel: str) -> None:
        """An event took the right away."""
        subscription = self.session.subscriptions.get(channel)
        if subscription is not None:
            self.perform(self.session.unsubscribed(subscription, Refused("forbidden", "Gone.")))

    @rule(seconds=st.sampled_from([0.1, 1.0, 9.0, 26.0]))
    def time_passes(self, seconds: float) -> None:
        """The wheel turns when the session is due."""
        self.now += seconds
        self.perform(self.session.tick(self.now, self.now))

    @precondition(lambda self: self.steps > 20)
    @rule()
    def drain(self) -> None:
        """The gateway moves its connections."""
        self.perform(self.session.move(5.0))

    @precondition(lambda self: self.steps > 25)
    @rule(lost=st.booleans())
    def end(self, lost: bool) -> None:
        """The connection ends, from either side."""
        self.perform(self.session.lost() if lost else self.session.close(1001, "stop"))

    @invariant()
    def bounded(self) -> None:
        """Subscriptions and open requests stay within their limits, and belong to each other."""
        self.steps += 1
        session = self.session
        assert len(session.subscriptions) <= LIMITS.channels
        open_ids = session._open or set()
        assert len(open_ids) <= LIMITS.open_requests
        assert session._open is None or session._open
        assert all(channel == x.channel for channel, x in session.subscriptions.items())
        waiting = [i for x in session.subscriptions.values() for i in x.request_ids if i is not None]
        assert set(waiting) <= open_ids
        pending = [x for x in session.subscriptions.values() if x.state is SubscriptionState.PENDING]
        assert all(x.request_ids for x in pending)
        if session.state is State.CLOSED:
            assert not session.subscriptions
            assert session._open is None

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        """A request that is not open has been answered, while the session lives."""
        if self.session.state not in (State.CLOSED, State.CONNECTING):
            waiting = {i for i, count in self.expected.items() if count}
            assert waiting == (self.session._open or set())
            assert all(count <= 1 for count in self.expected.values())


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
