"""A session under test, with a clock that stands still and a client's pen."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, TypeVar

import pytest
from msgspec import Raw

from backchannel.auth.principal import Principal
from backchannel.session import effects as e
from backchannel.session.session import Session
from backchannel.session.subscription import Subscription
from backchannel_protocol import JSON, MSGPACK, Codec, Limits, Refused
from backchannel_protocol import frames as f

T = TypeVar("T")
EffectT = TypeVar("EffectT", bound=e.Effect)

WALL = 1_760_000_000.0


class Peer:
    """One session and everything that it asked to be done."""

    def __init__(self, codec: Codec, limits: Limits, token: str | None = None) -> None:
        self.codec = codec
        self.now = 1000.0
        self.ids = count(1)
        self.session = Session("s-1", codec, limits, ping=25.0, grace=10.0, now=self.now, token=token)

    @property
    def wall(self) -> float:
        """Unix seconds, in step with the monotonic clock."""
        return WALL + self.now - 1000.0

    def data(self, value: Any) -> Raw:
        """`data` in the connection's encoding."""
        return Raw(self.codec.encode(value))

    def send(self, frame: f.ClientFrame) -> list[e.Effect]:
        """Hand a frame over as bytes."""
        return self.session.receive(self.codec.encode(frame), self.now)

    def ask(self, kind: Callable[..., f.ClientFrame], **fields: Any) -> tuple[int, list[e.Effect]]:
        """Send a request with the next id."""
        request_id = next(self.ids)
        return request_id, self.send(kind(id=request_id, **fields))

    def tick(self) -> list[e.Effect]:
        """A turn of the wheel."""
        return self.session.tick(self.now, self.wall)

    def open(
        self,
        user: str = "alice",
        *,
        channels: tuple[str, ...] = (),
        expires: float | None = None,
        resume: dict[str, f.Position] | None = None,
    ) -> list[e.Effect]:
        """Connect, and have the token accepted."""
        request_id, effects = self.ask(f.Connect, token="t", resume=resume)
        assert effects == [e.Authenticate(request_id, "t", refresh=False)]
        principal = Principal(user=user, id=f"user:{user}", channels=channels, expires=expires)
        return self.session.authenticated(request_id, principal, self.wall)

    def listen(self, channel: str = "chat:lobby") -> Subscription:
        """Subscribe, and have it accepted."""
        _, (effect,) = self.ask(f.Subscribe, channel=channel)
        assert isinstance(effect, e.Subscribe)
        self.session.subscribed(effect.subscription, "new", "e1", 7)
        return effect.subscription


def one(effects: list[e.Effect], kind: type[EffectT]) -> EffectT:
    """The only effect, which is of this kind."""
    (effect,) = effects
    assert isinstance(effect, kind)
    return effect


class Read:
    """What effects say."""

    one = staticmethod(one)

    @staticmethod
    def frames(effects: list[e.Effect]) -> list[f.ServerFrame]:
        """The frames among the effects."""
        return [effect.frame for effect in effects if isinstance(effect, e.Send)]

    @staticmethod
    def frame(effects: list[e.Effect], kind: type[T]) -> T:
        """The only effect, which sends a frame of this kind."""
        sent = one(effects, e.Send).frame
        assert isinstance(sent, kind)
        return sent

    @staticmethod
    def error(effects: list[e.Effect]) -> tuple[int | None, str]:
        """The id and code of the only effect, which sends an error."""
        sent = Read.frame(effects, f.Error)
        assert sent.message
        refused = Refused(sent.code, sent.message)
        assert sent.retry == refused.retry
        return sent.id, sent.code


@pytest.fixture
def read() -> type[Read]:
    """Looks into effects."""
    return Read


@pytest.fixture(params=[JSON, MSGPACK], ids=lambda codec: str(codec.name))
def codec(request: pytest.FixtureRequest) -> Codec:
    """Each encoding."""
    found: Codec = request.param
    return found


@pytest.fixture
def make_peer(codec: Codec) -> Callable[..., Peer]:
    """Makes a session that has not seen `connect`; `limits` differ from the defaults as named."""

    def make(*, token: str | None = None, **limits: Any) -> Peer:
        return Peer(codec, Limits(**limits), token)

    return make


@pytest.fixture
def peer(make_peer: Callable[..., Peer]) -> Peer:
    """A session that is open, of alice, without subscriptions but her own channel's."""
    peer = make_peer()
    peer.open()
    return peer
