"""The life of a session in time: PING, CONN-12, CONN-25, MOVE, closing."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from backchannel.auth.principal import Principal
from backchannel.session import effects as e
from backchannel.session.states import State
from backchannel.telemetry.metrics import metrics
from backchannel_protocol import CloseCode, Refused
from backchannel_protocol import frames as f

if TYPE_CHECKING:
    from tests.unit.session.conftest import Peer, Read

MakePeer = Callable[..., "Peer"]


def test_pings_come_at_least_every_ping_seconds(peer: Peer, read: type[Read]) -> None:
    """PING-1: whoever turns the session when it is due never lets more than `ping` seconds pass between two."""
    pings, at = metrics.pings, [peer.now]
    while len(at) < 5:
        peer.now += max(peer.session.due(peer.now, peer.wall) - 0.5, 0.5)  # the wheel is early rather than late
        if effects := peer.tick():
            read.frame(effects, f.Ping)
            at.append(peer.now)
            peer.send(f.Pong())
    assert max(later - earlier for earlier, later in pairwise(at)) <= 25.0
    assert metrics.pings == pings + 4


def test_silence_ends_the_session(peer: Peer, read: type[Read]) -> None:
    """PING-2: after more than ping + grace without any frame, not before; every frame is a sign of life."""
    peer.now += 20.0
    peer.session.receive(b"\xc1 no frame, but a sign of life", peer.now)
    peer.now += 35.0
    assert not [x for x in peer.tick() if isinstance(x, e.Close)]
    assert peer.session.due(peer.now, peer.wall) == 0.0
    peer.now += 0.01
    effects = peer.tick()
    closed = effects[-1]
    assert isinstance(closed, e.Close)
    assert closed.code == CloseCode.SILENT


def test_silence_is_noticed_in_time(peer: Peer) -> None:
    """PING-2: the session asks for a turn when silence would be too long, not a whole ping later."""
    for _ in range(100):
        peer.now += max(peer.session.due(peer.now, peer.wall), 0.1)
        peer.tick()
        if peer.session.state is State.CLOSED:
            break
    assert peer.now - 1000.0 == pytest.approx(35.1)


def test_an_expired_token_ends_the_session(make_peer: MakePeer) -> None:
    """CONN-25: 4005 at that time, unless it was refreshed."""
    for refreshed in (False, True):
        peer = make_peer()
        peer.open(expires=peer.wall + 10.0)
        assert peer.session.due(peer.now, peer.wall) == pytest.approx(10.0)
        if refreshed:
            request_id, _ = peer.ask(f.Refresh, token="new")
            principal = Principal("alice", "user:alice", expires=peer.wall + 1000.0)
            peer.session.authenticated(request_id, principal, peer.wall)
        peer.now += 9.9
        assert peer.tick() == []
        peer.now += 0.1
        closed = [x.code for x in peer.tick() if isinstance(x, e.Close)]
        assert closed == ([] if refreshed else [CloseCode.EXPIRED])


def test_closing_lets_go_of_everything(peer: Peer) -> None:
    """CONN-12: open requests get no answer any more, calls are cancelled, subscriptions stopped; then silence."""
    subscription = peer.listen()
    request_id, _ = peer.ask(f.Call, name="a.b", data=peer.data({}))
    effects = peer.session.close(CloseCode.REVOKED, "banned")
    own = [x for x in effects if isinstance(x, e.Stop) and x.subscription.channel == "user:alice"]
    assert effects == [e.CancelCall(request_id), *own, e.Stop(subscription), e.Close(CloseCode.REVOKED, "banned")]
    assert peer.session.answered(request_id, b"null") == []
    assert peer.session.subscribed(subscription, "new", "e", 1) == []
    assert peer.session.close(CloseCode.NORMAL, "again") == []
    assert peer.session.lost() == []
    assert peer.session.move(5.0) == []
    assert peer.tick() == []
    assert peer.send(f.Subscribe(id=77, channel="a:b")) == []
    assert peer.session.due(peer.now, peer.wall) < 0


def test_a_lost_connection_lets_go_of_everything(peer: Peer) -> None:
    """CONN-12: as closing, but there is nobody to close any more."""
    peer.listen()
    peer.ask(f.Call, name="a.b", data=peer.data({}))
    kinds = [type(x) for x in peer.session.lost()]
    assert kinds == [e.CancelCall, e.Stop, e.Stop]
    assert peer.session.subscriptions == {}
    assert peer.session.state is State.CLOSED


def test_move_is_told_once_and_everything_is_served(peer: Peer, read: type[Read]) -> None:
    """MOVE-2."""
    assert read.frame(peer.session.move(30.0), f.Move) == f.Move(after=30.0)
    assert peer.session.move(20.0) == []
    peer.listen()
    _, effects = peer.ask(f.Call, name="a.b", data=peer.data({}))
    read.one(effects, e.Relay)
    peer.now += 25.0
    read.frame(peer.tick(), f.Ping)


@pytest.mark.parametrize("connecting", [False, True])
def test_who_has_not_connected_is_closed_when_the_gateway_drains(
    make_peer: MakePeer, read: type[Read], connecting: bool
) -> None:
    """MOVE-4: there is nothing to move."""
    peer = make_peer()
    if connecting:
        peer.ask(f.Connect)
    assert read.one(peer.session.move(30.0), e.Close).code == CloseCode.MOVED


def test_an_idle_session_keeps_nothing_of_its_requests(peer: Peer) -> None:
    """Memory: thousands of sessions are idle at any time."""
    request_id, _ = peer.ask(f.Call, name="a.b", data=peer.data({}))
    peer.session.failed(request_id, Refused("not_found", "No."))
    assert peer.session._open is None
