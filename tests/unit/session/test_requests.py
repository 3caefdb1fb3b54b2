"""Calls, publishes, refresh, and what is refused: REQ, CALL, CANCEL, PUB, REFRESH, ENC-11, LIM."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from backchannel.auth.principal import Principal
from backchannel.session import effects as e
from backchannel.session.bucket import Bucket
from backchannel.session.states import State
from backchannel.telemetry.metrics import metrics
from backchannel_protocol import JSON, CloseCode, Refused
from backchannel_protocol import frames as f

if TYPE_CHECKING:
    from tests.unit.session.conftest import Peer, Read

MakePeer = Callable[..., "Peer"]


def call(peer: Peer, **fields: object) -> tuple[int, list[e.Effect]]:
    return peer.ask(f.Call, name="message.send", data=peer.data({"text": "Hi"}), **fields)


@pytest.mark.parametrize(("asked", "granted"), [(None, 10.0), (3.0, 3.0), (60.0, 10.0)])
def test_a_call_goes_to_the_relay(peer: Peer, asked: float | None, granted: float) -> None:
    """CALL-4: with the client's time-out, at most `limits.call`; the body is passed on as it is."""
    request_id, effects = call(peer, key="Wq3f9ZkT", timeout=asked)
    body = bytes(peer.data({"text": "Hi"}))
    assert effects == [e.Relay(request_id, "message.send", body, "Wq3f9ZkT", granted)]


def test_a_call_is_answered_once(peer: Peer, read: type[Read]) -> None:
    """REQ-2: by its reply with `positions`; what comes later is dropped."""
    request_id, _ = call(peer)
    answer = peer.codec.encode({"seq": 1})
    reply = read.frame(peer.session.answered(request_id, answer, {"chat:lobby": 7}), f.Reply)
    assert (reply.id, bytes(reply.data), reply.positions) == (request_id, answer, {"chat:lobby": 7})
    assert peer.session.answered(request_id, answer) == []
    assert peer.session.failed(request_id, Refused("internal", "late")) == []


def test_a_refusal_is_passed_on_whole(peer: Peer, read: type[Read]) -> None:
    """REQ-4: code, message, retry, outcome, details and retry_after are the refusal's own."""
    request_id, _ = call(peer)
    refusal = Refused("sold_out", "None.", details={"left": 0}, retry=True, outcome="unknown", retry_after=2.5)
    assert read.frame(peer.session.failed(request_id, refusal), f.Error) == f.Error(
        id=request_id,
        code="sold_out",
        message="None.",
        retry=True,
        outcome="unknown",
        details={"left": 0},
        retry_after=2.5,
    )


def test_answers_may_come_in_any_order(peer: Peer, read: type[Read]) -> None:
    """REQ-2."""
    first, _ = call(peer)
    second, _ = call(peer)
    assert read.frame(peer.session.answered(second, peer.codec.encode(None)), f.Reply).id == second
    assert read.frame(peer.session.answered(first, peer.codec.encode(None)), f.Reply).id == first


def test_an_id_that_is_open_is_refused(peer: Peer, read: type[Read]) -> None:
    """REQ-3: the later request is `invalid`, the earlier one goes on and gets its answer; then the id is free."""
    request_id, _ = call(peer)
    again = f.Subscribe(id=request_id, channel="chat:lobby")
    assert read.error(peer.send(again)) == (request_id, "invalid")
    assert "chat:lobby" not in peer.session.subscriptions
    assert read.frame(peer.session.answered(request_id, peer.codec.encode(None)), f.Reply).id == request_id
    read.one(peer.send(again), e.Subscribe)


def test_cancel_reaches_the_relay_while_the_call_is_open(peer: Peer) -> None:
    """CANCEL-1, CANCEL-3: it has no answer of its own, and what is not open is ignored."""
    request_id, _ = call(peer)
    assert peer.send(f.Cancel(id=request_id)) == [e.CancelCall(request_id)]
    assert peer.send(f.Cancel(id=99)) == []
    peer.session.failed(request_id, Refused("cancelled", "Cancelled."))
    assert peer.send(f.Cancel(id=request_id)) == []


def test_a_publish_is_answered_if_it_asks(peer: Peer, read: type[Read]) -> None:
    """PUB: with an id it is answered once."""
    request_id, effects = peer.ask(f.Publish, channel="a:b", name="a.moved", data=peer.data(1), key="12345678")
    assert effects == [e.PublishEvent(request_id, "a:b", "a.moved", bytes(peer.data(1)), "12345678")]
    assert read.error(peer.session.failed(request_id, Refused("forbidden", "No."))) == (request_id, "forbidden")


def test_a_publish_without_id_is_never_answered(make_peer: MakePeer) -> None:
    """PUB-1: neither refused for the rate nor served; the failure is counted."""
    peer = make_peer(burst=2)
    peer.open()
    publish = f.Publish(channel="a:b", name="a.moved", data=peer.data(1))
    assert peer.send(publish) == [e.PublishEvent(None, "a:b", "a.moved", bytes(peer.data(1)), None)]
    errors, limited = metrics.errors["rate_limited"], metrics.rate_limited
    assert peer.send(publish) == []
    assert (metrics.errors["rate_limited"], metrics.rate_limited) == (errors + 1, limited + 1)


def test_refresh_goes_on_with_the_new_token(peer: Peer, read: type[Read]) -> None:
    """REFRESH-3, CONN-25: the new expiry counts, subscriptions and open requests go on."""
    subscription = peer.listen()
    waiting, _ = call(peer)
    request_id, effects = peer.ask(f.Refresh, token="new")
    assert effects == [e.Authenticate(request_id, "new", refresh=True)]
    expires = peer.wall + 500
    principal = Principal("alice", "user:alice", caps=("call:*",), expires=expires)
    reply = read.frame(peer.session.authenticated(request_id, principal, peer.wall), f.Reply)
    assert peer.codec.decode_any(reply.data) == {"expires": int(expires * 1000)}
    assert (peer.session.principal, peer.session.expires) == (principal, expires)
    assert peer.session.subscriptions["chat:lobby"] is subscription
    read.frame(peer.session.answered(waiting, peer.codec.encode(None)), f.Reply)


@pytest.mark.parametrize("reason", ["another user", "refused", "too large"])
def test_a_refused_refresh_changes_nothing(peer: Peer, read: type[Read], reason: str) -> None:
    """REFRESH-1, REFRESH-2, LIM-4: the connection goes on with the old token."""
    before = (peer.session.principal, peer.session.expires)
    request_id, effects = peer.ask(f.Refresh, token="x" * (8193 if reason == "too large" else 5))
    if reason == "another user":
        effects = peer.session.authenticated(request_id, Principal("bob", "user:bob", expires=1.0), peer.wall)
    elif reason == "refused":
        effects = peer.session.refused_token(request_id, Refused("unauthenticated", "No."))
    code = {"another user": "forbidden", "refused": "unauthenticated", "too large": "too_large"}[reason]
    assert read.error(effects) == (request_id, code)
    assert (peer.session.principal, peer.session.expires) == before
    assert peer.session.state is State.OPEN


@pytest.mark.parametrize(
    ("text", "answered"),
    [
        (b'{"type":"dance","id":17}', 17),
        (b'{"type":"call","id":18,"name":"a.b","data":{"x":NaN}}', 18),
        (b'{"id":19,"type":"subscribe","channel":"no channel"}', 19),
        (b'{"type":"cancel"}', None),
        (b"[1,2,3", None),
        (b"\xff", None),
        (b"", None),
    ],
)
@pytest.mark.parametrize("codec", [JSON], indirect=True)
def test_what_cannot_be_read_is_invalid(make_peer: MakePeer, read: type[Read], text: bytes, answered: int) -> None:
    """ENC-11, ERR-1: with the id where one can be read; the connection stays open, and it is counted."""
    peer = make_peer()
    peer.open()
    malformed = metrics.frames_malformed
    assert read.error(peer.session.receive(text, peer.now)) == (answered, "invalid")
    assert metrics.frames_malformed == malformed + 1
    assert peer.session.state is State.OPEN


def test_open_requests_are_limited(make_peer: MakePeer, read: type[Read]) -> None:
    """LIM-3: the next is refused, and may come again after an answer."""
    peer = make_peer(open_requests=2)
    peer.open()
    first, _ = call(peer)
    peer.ask(f.Subscribe, channel="chat:lobby")
    request_id, effects = call(peer)
    assert read.error(effects) == (request_id, "limit_exceeded")
    peer.session.answered(first, peer.codec.encode(None))
    _, effects = call(peer)
    read.one(effects, e.Relay)


def test_the_rate_is_limited(make_peer: MakePeer, read: type[Read]) -> None:
    """LIM-2: a burst, then `rate_limited` with the time to wait, then it goes on at the rate."""
    peer = make_peer(calls=2.0, burst=3)
    peer.open()
    call(peer)
    call(peer)
    request_id, effects = call(peer)
    error = read.frame(effects, f.Error)
    assert (error.id, error.code, error.retry, error.outcome, error.retry_after) == (
        request_id,
        "rate_limited",
        True,
        "none",
        0.5,
    )
    peer.now += 0.5
    _, effects = call(peer)
    read.one(effects, e.Relay)


def test_every_frame_counts_but_pong_and_cancel(make_peer: MakePeer, read: type[Read]) -> None:
    """LIM-2: what cannot be read counts, too."""
    peer = make_peer(burst=3)
    peer.open()
    for _ in range(10):
        peer.send(f.Pong())
        peer.send(f.Cancel(id=1))
    assert read.error(peer.session.receive(b"\xc1", peer.now)) == (None, "invalid")
    assert read.error(peer.session.receive(b"\xc1", peer.now)) == (None, "invalid")
    assert read.error(peer.session.receive(b"\xc1", peer.now)) == (None, "rate_limited")


@pytest.mark.parametrize("with_id", [True, False])
def test_who_stays_far_over_the_rate_is_closed(make_peer: MakePeer, read: type[Read], with_id: bool) -> None:
    """LIM-2: with 4006, also for publishes that want no answer; although some requests still get through."""
    peer = make_peer()
    peer.open()
    publish = f.Publish(channel="a:b", name="a.moved", data=peer.data(1))
    for _ in range(20_000):
        peer.now += 0.002  # 500 per second, ten times the rate
        effects = peer.ask(f.Unsubscribe, channel="a:b")[1] if with_id else peer.send(publish)
        if peer.session.state is State.CLOSED:
            break
    closed = effects[-1]
    assert isinstance(closed, e.Close)
    assert closed.code == CloseCode.RATE_LIMITED
    assert peer.send(publish) == []


def test_who_stays_a_little_over_the_rate_is_not_closed(make_peer: MakePeer) -> None:
    """LIM-2: being refused now and then is not being deaf."""
    peer = make_peer()
    peer.open()
    for _ in range(20_000):
        peer.now += 0.01  # twice the rate
        peer.ask(f.Unsubscribe, channel="a:b")
    assert peer.session.state is State.OPEN


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([0.0] * 4, [0.0, 0.0, 0.0, 0.25]),
        ([0.0, 0.0, 0.0, 0.25, 0.0], [0.0, 0.0, 0.0, 0.0, 0.25]),
        ([0.0, 0.0, 0.0, 0.125, 0.125], [0.0, 0.0, 0.0, 0.125, 0.0]),
        ([0.0, 0.0, 0.0, 100.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.25]),
    ],
)
def test_the_bucket(steps: list[float], expected: list[float]) -> None:
    """Three at once, four per second, never more than three saved up; a refusal takes nothing."""
    bucket = Bucket(4.0, 3, 0.0)
    now, waits = 0.0, []
    for step in steps:
        now += step
        waits.append(bucket.take(now))
    assert waits == expected


def test_a_refresh_subscribes_what_only_the_new_token_names(make_peer: MakePeer) -> None:
    """As after `connect` (CONN-21); what the client listens to or let go of is left alone, and the limit holds."""
    peer = make_peer()
    peer.open(channels=("chat:a", "chat:gone"))
    peer.ask(f.Unsubscribe, channel="chat:gone")
    peer.listen("chat:mine")
    request_id, _ = peer.ask(f.Refresh, token="new")
    channels = ("chat:a", "chat:gone", "chat:mine", "chat:b")
    effects = peer.session.authenticated(
        request_id, Principal(user="alice", id="user:alice", channels=channels), peer.wall
    )
    assert [type(effect) for effect in effects] == [e.Send, e.Subscribe]
    assert [effect.subscription.channel for effect in effects if isinstance(effect, e.Subscribe)] == ["chat:b"]
