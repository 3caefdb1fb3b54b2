"""Opening a session: CONN-5, CONN-8 to CONN-11, CONN-20 to CONN-26."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from backchannel.auth.principal import Principal
from backchannel.session import effects as e
from backchannel.session.states import State
from backchannel_protocol import CloseCode, Limits, Refused
from backchannel_protocol import frames as f

if TYPE_CHECKING:
    from tests.unit.session.conftest import Peer, Read

MakePeer = Callable[..., "Peer"]


def test_connected_comes_first_and_tells_what_holds(make_peer: MakePeer) -> None:
    """CONN-23 to CONN-26: `connected` with version, limits, expiry and clock, before anything of a channel."""
    peer = make_peer(burst=17)
    first, start, *rest = peer.open(expires=peer.wall + 60.5)
    assert first == e.Send(
        f.Connected(
            id=1,
            session="s-1",
            user="alice",
            version=1,
            time=int(peer.wall * 1000),
            ping=25.0,
            grace=10.0,
            limits=Limits(burst=17),
            expires=int((peer.wall + 60.5) * 1000),
        )
    )
    assert start == e.Start()
    assert [effect.subscription.channel for effect in rest if isinstance(effect, e.Subscribe)] == ["user:alice"]


def test_a_guest_is_told_the_token_with_which_it_comes_back(make_peer: MakePeer, read: type[Read]) -> None:
    """`connected.token` is what the authenticator issued."""
    peer = make_peer()
    request_id, _ = peer.ask(f.Connect)
    effects = peer.session.authenticated(request_id, Principal("guest-1", "guest:1", issued="tok"), peer.wall)
    connected = read.frames(effects)[0]
    assert isinstance(connected, f.Connected)
    assert connected.token == "tok"


def test_the_server_subscribes_what_is_resumed_named_and_ones_own(make_peer: MakePeer) -> None:
    """CONN-21: each channel of `resume`, of the token's claim, and the user's own, once, with its position."""
    peer = make_peer()
    lobby, mine = f.Position("e1", 42), f.Position("e2", 3)
    effects = peer.open(
        channels=("chat:team", "chat:lobby", "no channel"), resume={"chat:lobby": lobby, "user:alice": mine}
    )
    wanted = {x.subscription.channel: x.since for x in effects if isinstance(x, e.Subscribe)}
    assert wanted == {"user:alice": mine, "chat:lobby": lobby, "chat:team": None}
    assert set(peer.session.subscriptions) == set(wanted)


def test_a_user_without_a_name_has_no_own_channel(make_peer: MakePeer) -> None:
    """An API key that acts for nobody is subscribed to nothing of its own."""
    assert not [x for x in make_peer().open(user="") if isinstance(x, e.Subscribe)]


def test_channels_beyond_the_limit_are_told(make_peer: MakePeer, read: type[Read]) -> None:
    """CONN-22, SUB-6: what the server was to subscribe and cannot is told by `unsubscribed`; one's own always fits."""
    peer = make_peer(channels=2)
    resume = {"chat:a": f.Position("e", 1), "chat:b": f.Position("e", 1)}
    effects = peer.open(resume=resume, channels=("chat:c",))
    assert list(peer.session.subscriptions) == ["user:alice", "chat:a"]
    refused = [x for x in read.frames(effects) if isinstance(x, f.Unsubscribed)]
    assert [(x.channel, x.code) for x in refused] == [("chat:b", "limit_exceeded"), ("chat:c", "limit_exceeded")]


def test_each_resumed_channel_gets_its_own_frame_without_id(make_peer: MakePeer, read: type[Read]) -> None:
    """CONN-22: `subscribed` without id, or `unsubscribed` with the reason; one refusal hinders no other."""
    peer = make_peer()
    peer.open(resume={"chat:a": f.Position("e", 1), "chat:b": f.Position("e", 1)})
    first, second = peer.session.subscriptions["chat:a"], peer.session.subscriptions["chat:b"]
    refused = read.frame(peer.session.unsubscribed(first, Refused("forbidden", "No.")), f.Unsubscribed)
    assert (refused.channel, refused.code, refused.message) == ("chat:a", "forbidden", "No.")
    told = read.frame(peer.session.subscribed(second, "recovered", "e", 5), f.Subscribed)
    assert (told.id, told.channel, told.verdict, told.epoch, told.offset) == (None, "chat:b", "recovered", "e", 5)


def test_a_resume_of_too_many_channels_is_refused_and_may_be_tried_again(make_peer: MakePeer, read: type[Read]) -> None:
    """CONN-21: `limit_exceeded`, the connection stays open, another `connect` may follow."""
    peer = make_peer(channels=1)
    resume = {"chat:a": f.Position("e", 1), "chat:b": f.Position("e", 1)}
    request_id, effects = peer.ask(f.Connect, resume=resume)
    assert read.error(effects) == (request_id, "limit_exceeded")
    assert peer.session.state is State.NEW
    assert isinstance(peer.open()[0], e.Send)


@pytest.mark.parametrize(
    "frame",
    [
        f.Subscribe(id=9, channel="chat:lobby"),
        f.Unsubscribe(id=9, channel="chat:lobby"),
        f.History(id=9, channel="chat:lobby", limit=3),
        f.PresenceRequest(id=9, channel="chat:lobby"),
        f.Refresh(id=9, token="t"),
        f.Cancel(id=9),
    ],
    ids=lambda frame: type(frame).__name__,
)
@pytest.mark.parametrize("connecting", [False, True], ids=["new", "connecting"])
def test_nothing_is_served_before_connected(
    make_peer: MakePeer, read: type[Read], frame: f.ClientFrame, connecting: bool
) -> None:
    """CONN-9: `unauthenticated`, and the connection stays open; also while the token is being verified."""
    peer = make_peer()
    if connecting:
        peer.ask(f.Connect)
    assert read.error(peer.send(frame)) == (9, "unauthenticated")
    assert peer.session.state is (State.CONNECTING if connecting else State.NEW)


def test_calls_and_publishes_are_not_served_before_connected(make_peer: MakePeer, read: type[Read]) -> None:
    """CONN-9, for the frames that carry data."""
    peer = make_peer()
    assert read.error(peer.send(f.Call(id=9, name="a.b", data=peer.data({})))) == (9, "unauthenticated")
    publish = f.Publish(id=9, channel="a:b", name="a.b", data=peer.data({}))
    assert read.error(peer.send(publish)) == (9, "unauthenticated")


def test_a_pong_is_ignored_before_connected(make_peer: MakePeer) -> None:
    """CONN-9, PING-3."""
    assert make_peer().send(f.Pong()) == []


@pytest.mark.parametrize("moment", ["connecting", "open", "moving"])
def test_a_second_connect_is_invalid(make_peer: MakePeer, read: type[Read], moment: str) -> None:
    """CONN-11: the session goes on."""
    peer = make_peer()
    if moment == "connecting":
        peer.ask(f.Connect)
    else:
        peer.open()
    if moment == "moving":
        peer.session.move(5.0)
    state = peer.session.state
    request_id, effects = peer.ask(f.Connect)
    assert read.error(effects) == (request_id, "invalid")
    assert peer.session.state is state


@pytest.mark.parametrize(
    ("code", "close"),
    [
        ("unauthenticated", CloseCode.UNAUTHENTICATED),
        ("unavailable", CloseCode.UNAVAILABLE),
        ("internal", CloseCode.UNAVAILABLE),
        ("limit_exceeded", CloseCode.TOO_MANY_CONNECTIONS),
    ],
)
def test_a_connect_that_fails_is_answered_and_closed(
    make_peer: MakePeer, read: type[Read], code: str, close: CloseCode
) -> None:
    """CONN-10: the error first, then the close code that says whether to come back."""
    peer = make_peer()
    request_id, _ = peer.ask(f.Connect, token="garbage")
    error, closed = peer.session.refused_token(request_id, Refused(code, "No."))
    assert read.error([error]) == (request_id, code)
    assert isinstance(closed, e.Close)
    assert closed.code == close
    assert peer.session.state is State.CLOSED


@pytest.mark.parametrize("token", ["x" * 101, "ü" * 51], ids=["characters", "bytes"])
def test_a_token_over_its_limit_is_too_large(make_peer: MakePeer, read: type[Read], token: str) -> None:
    """CONN-10, LIM-4: `too_large`, then 4500; the limit counts bytes."""
    peer = make_peer(token=None)
    peer = make_peer()
    peer.session.limits = Limits(token=100)
    request_id, (error, closed) = peer.ask(f.Connect, token=token)
    assert read.error([error]) == (request_id, "too_large")
    assert isinstance(closed, e.Close)
    assert closed.code == CloseCode.UNAUTHENTICATED


def test_the_header_s_token_counts_where_the_frame_has_none(make_peer: MakePeer, read: type[Read]) -> None:
    """CONN-5: it is judged at `connect`; the frame's wins."""
    _, effects = make_peer(token="header").ask(f.Connect)
    assert read.one(effects, e.Authenticate).token == "header"
    _, effects = make_peer(token="header").ask(f.Connect, token="frame")
    assert read.one(effects, e.Authenticate).token == "frame"
    _, effects = make_peer().ask(f.Connect)
    assert read.one(effects, e.Authenticate).token is None


def test_the_header_s_token_outlives_a_connect_that_was_refused_for_its_resume(
    make_peer: MakePeer, read: type[Read]
) -> None:
    """CONN-21: another `connect` may follow, with the same header."""
    peer = make_peer(token="header", channels=1)
    peer.ask(f.Connect, resume={"chat:a": f.Position("e", 1), "chat:b": f.Position("e", 1)})
    _, effects = peer.ask(f.Connect)
    assert read.one(effects, e.Authenticate).token == "header"


def test_a_header_s_token_over_its_limit_is_too_large(make_peer: MakePeer, read: type[Read]) -> None:
    """LIM-4 holds for both ways of a token."""
    peer = make_peer(token="x" * 8193)
    request_id, (error, _) = peer.ask(f.Connect)
    assert read.error([error]) == (request_id, "too_large")


def test_who_does_not_connect_in_time_is_closed(make_peer: MakePeer, read: type[Read]) -> None:
    """CONN-8: 4003 after `limits.connect` seconds, and not before."""
    peer = make_peer()
    peer.now += 9.9
    assert peer.tick() == []
    assert peer.session.due(peer.now, peer.wall) == pytest.approx(0.1)
    peer.now += 0.1
    assert read.one(peer.tick(), e.Close).code == CloseCode.CONNECT_TIMEOUT


def test_a_token_that_is_not_verified_in_time_is_unavailable(make_peer: MakePeer, read: type[Read]) -> None:
    """CONN-10: `connect` came in time, so it is the server that is late: `unavailable`, 4004. A late answer is void."""
    peer = make_peer()
    request_id, _ = peer.ask(f.Connect)
    peer.now += 10.0
    error, closed = peer.tick()
    assert read.error([error]) == (request_id, "unavailable")
    assert isinstance(closed, e.Close)
    assert closed.code == CloseCode.UNAVAILABLE
    assert peer.session.authenticated(request_id, Principal("alice", "user:alice"), peer.wall) == []
    assert peer.session.refused_token(request_id, Refused("unauthenticated", "No.")) == []
