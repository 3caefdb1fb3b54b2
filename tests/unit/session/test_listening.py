"""Subscribing, unsubscribing, history and presence: SUB, UNSUB, HIST-1, -3, -6, PRES-1."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from backchannel.broker.broker import LogHead
from backchannel.session import effects as e
from backchannel.session.position import Beginning, begin
from backchannel.session.subscription import SubscriptionState
from backchannel_protocol import Refused
from backchannel_protocol import frames as f

if TYPE_CHECKING:
    from tests.unit.session.conftest import Peer, Read

MakePeer = Callable[..., "Peer"]


def test_a_subscribe_is_answered_by_its_verdict(peer: Peer, read: type[Read]) -> None:
    """SUB-1, SUB-2: the gateway decides, the session tells, with the request's id."""
    since = f.Position("e1", 3)
    request_id, effects = peer.ask(f.Subscribe, channel="chat:lobby", since=since)
    wish = read.one(effects, e.Subscribe)
    assert (wish.subscription.channel, wish.since) == ("chat:lobby", since)
    states = [wish.subscription.state]
    told = read.frame(peer.session.subscribed(wish.subscription, "recovered", "e1", 9), f.Subscribed)
    states.append(wish.subscription.state)
    assert states == [SubscriptionState.PENDING, SubscriptionState.ACTIVE]
    assert told == f.Subscribed(id=request_id, channel="chat:lobby", verdict="recovered", epoch="e1", offset=9)


def test_to_subscribe_again_tells_where_the_subscription_stands(peer: Peer, read: type[Read]) -> None:
    """SUB-4: answered by `recovered` at the present position; `since` is not looked at, nothing is reset."""
    subscription = peer.listen()
    request_id, effects = peer.ask(f.Subscribe, channel="chat:lobby", since=f.Position("old", 1))
    assert read.one(effects, e.Tell).subscription is subscription
    told = read.frame(peer.session.subscribed(subscription, "new", "e1", 11, again=True), f.Subscribed)
    assert (told.id, told.verdict, told.offset) == (request_id, "recovered", 11)
    assert peer.session.subscriptions["chat:lobby"] is subscription


def test_a_second_subscribe_waits_for_the_first(peer: Peer, read: type[Read]) -> None:
    """REQ-2: both get one answer each, from one beginning."""
    first, (wish,) = peer.ask(f.Subscribe, channel="chat:lobby")
    second, effects = peer.ask(f.Subscribe, channel="chat:lobby")
    assert effects == []
    assert isinstance(wish, e.Subscribe)
    told = read.frames(peer.session.subscribed(wish.subscription, "new", "e1", 4))
    assert [(x.id, x.verdict) for x in told if isinstance(x, f.Subscribed)] == [(first, "new"), (second, "recovered")]


def test_a_client_s_wish_and_the_server_s_own_are_both_answered(make_peer: MakePeer, read: type[Read]) -> None:
    """CONN-22 and REQ-2: a `subscribe` of a channel that is being resumed."""
    for accepted in (True, False):
        peer = make_peer()
        peer.open(resume={"chat:lobby": f.Position("e1", 3)})
        request_id, _ = peer.ask(f.Subscribe, channel="chat:lobby")
        subscription = peer.session.subscriptions["chat:lobby"]
        if accepted:
            effects = peer.session.subscribed(subscription, "recovered", "e1", 5)
            kinds: list[type[f.ServerFrame]] = [f.Subscribed, f.Subscribed]
        else:
            effects = peer.session.unsubscribed(subscription, Refused("forbidden", "No."))
            kinds = [f.Error, f.Unsubscribed]
        told = read.frames(effects)
        assert [type(x) for x in told] == kinds
        assert sorted(str(getattr(x, "id", None)) for x in told) == sorted(["None", str(request_id)])


def test_a_refused_subscribe_is_answered_by_error(peer: Peer, read: type[Read]) -> None:
    """REQ-2: the request's `error` is the whole answer, no `unsubscribed` beside it; a new attempt is a new one."""
    request_id, (wish,) = peer.ask(f.Subscribe, channel="chat:secret")
    assert isinstance(wish, e.Subscribe)
    refusal = Refused("forbidden", "No.")
    assert read.error(peer.session.unsubscribed(wish.subscription, refusal)) == (request_id, "forbidden")
    assert "chat:secret" not in peer.session.subscriptions
    _, effects = peer.ask(f.Subscribe, channel="chat:secret")
    again = read.one(effects, e.Subscribe)
    # The first one's late answers are void.
    assert peer.session.subscribed(wish.subscription, "new", "e", 1) == []
    assert peer.session.unsubscribed(wish.subscription, refusal) == []
    assert peer.session.subscriptions["chat:secret"] is again.subscription


def test_a_right_that_ends_is_told(peer: Peer, read: type[Read]) -> None:
    """UNSUB-10: without being asked, with the reason."""
    subscription = peer.listen()
    told = read.frame(peer.session.unsubscribed(subscription, Refused("forbidden", "Gone.")), f.Unsubscribed)
    assert told == f.Unsubscribed(channel="chat:lobby", code="forbidden", message="Gone.")


def test_unsubscribing_stops_and_is_answered(peer: Peer, read: type[Read]) -> None:
    """UNSUB: the subscription is over at once."""
    subscription = peer.listen()
    request_id, (stop, answer) = peer.ask(f.Unsubscribe, channel="chat:lobby")
    assert stop == e.Stop(subscription)
    reply = read.frame([answer], f.Reply)
    assert reply.id == request_id
    assert peer.codec.decode_any(reply.data) == {"channel": "chat:lobby"}


def test_unsubscribing_from_what_is_not_listened_to_is_fine(peer: Peer, read: type[Read]) -> None:
    """UNSUB-1."""
    request_id, effects = peer.ask(f.Unsubscribe, channel="chat:lobby")
    assert read.frame(effects, f.Reply).id == request_id


def test_unsubscribe_overtakes_an_open_subscribe(peer: Peer, read: type[Read]) -> None:
    """UNSUB-3: the subscribe is `cancelled`, and its late answer is void."""
    asked, (wish,) = peer.ask(f.Subscribe, channel="chat:lobby")
    assert isinstance(wish, e.Subscribe)
    leaving, (stop, cancelled, answer) = peer.ask(f.Unsubscribe, channel="chat:lobby")
    assert stop == e.Stop(wish.subscription)
    assert read.error([cancelled]) == (asked, "cancelled")
    assert read.frame([answer], f.Reply).id == leaving
    assert peer.session.subscribed(wish.subscription, "new", "e", 1) == []


def test_channels_are_limited(make_peer: MakePeer, read: type[Read]) -> None:
    """SUB-6: whatever made the others; leaving one makes room."""
    peer = make_peer(channels=3)
    peer.open()
    peer.listen("chat:a")
    peer.ask(f.Subscribe, channel="chat:b")
    request_id, effects = peer.ask(f.Subscribe, channel="chat:c")
    assert read.error(effects) == (request_id, "limit_exceeded")
    peer.ask(f.Unsubscribe, channel="chat:a")
    _, effects = peer.ask(f.Subscribe, channel="chat:c")
    read.one(effects, e.Subscribe)


def test_history_is_read_for_listeners(peer: Peer, read: type[Read]) -> None:
    """HIST-1, HIST-3: one page, at most `limits.history` events, answered by `reply`."""
    peer.listen()
    before = f.Position("e1", 5)
    request_id, effects = peer.ask(f.History, channel="chat:lobby", limit=5000, before=before)
    assert effects == [e.ReadHistory(request_id, "chat:lobby", 1000, None, before)]
    answer = peer.codec.encode({"events": []})
    reply = read.frame(peer.session.answered(request_id, answer), f.Reply)
    assert (reply.id, bytes(reply.data)) == (request_id, answer)
    assert peer.session.answered(request_id, answer) == []


def test_history_goes_one_way(peer: Peer, read: type[Read]) -> None:
    """HIST-1: `since` and `before` together are `invalid`."""
    peer.listen()
    at = f.Position("e1", 5)
    request_id, effects = peer.ask(f.History, channel="chat:lobby", limit=5, before=at, since=at)
    assert read.error(effects) == (request_id, "invalid")


@pytest.mark.parametrize("pending", [False, True])
def test_only_listeners_read(peer: Peer, read: type[Read], pending: bool) -> None:
    """HIST-6, PRES-1: without a subscription, or before it is there, it is `forbidden`."""
    if pending:
        peer.ask(f.Subscribe, channel="chat:lobby")
    request_id, effects = peer.ask(f.History, channel="chat:lobby", limit=5)
    assert read.error(effects) == (request_id, "forbidden")
    request_id, effects = peer.ask(f.PresenceRequest, channel="chat:lobby")
    assert read.error(effects) == (request_id, "forbidden")


def test_presence_is_told_to_listeners(peer: Peer, read: type[Read]) -> None:
    """PRES-2: the answer carries the request's id."""
    peer.listen()
    request_id, effects = peer.ask(f.PresenceRequest, channel="chat:lobby")
    assert effects == [e.ReadPresence(request_id, "chat:lobby")]
    told = f.Presence(id=request_id, channel="chat:lobby", revision=1, members=[])
    assert peer.session.present(request_id, told) == [e.Send(told)]
    assert peer.session.present(request_id, told) == []


POSITION = f.Position("e1", 40)


@pytest.mark.parametrize(
    ("since", "head", "recovery", "after", "expected"),
    [
        pytest.param(None, LogHead("e1", 50, 1), 500, 0, ("new", 50), id="SUB-1: from now"),
        pytest.param(None, LogHead("e1", 0, 1), 500, 0, ("new", 0), id="SUB-1: an empty log"),
        pytest.param(POSITION, LogHead("e1", 50, 1), 500, 0, ("recovered", 40), id="SUB-2: all there"),
        pytest.param(POSITION, LogHead("e1", 40, 1), 500, 0, ("recovered", 40), id="SUB-2: nothing missed"),
        pytest.param(POSITION, LogHead("e1", 40, 41), 0, 0, ("recovered", 40), id="SUB-2: nothing missed or kept"),
        pytest.param(POSITION, LogHead("e1", 50, 41), 500, 0, ("recovered", 40), id="SUB-2: just not trimmed"),
        pytest.param(POSITION, LogHead("e1", 50, 42), 500, 0, ("gap", 50), id="SUB-2: trimmed"),
        pytest.param(POSITION, LogHead("e1", 50, 1), 10, 0, ("recovered", 40), id="SUB-2: as many as allowed"),
        pytest.param(POSITION, LogHead("e1", 50, 1), 9, 0, ("gap", 50), id="SUB-2: one too many"),
        pytest.param(POSITION, LogHead("e2", 50, 1), 500, 0, ("gap", 50), id="SUB-2: another epoch"),
        pytest.param(POSITION, LogHead("e1", 39, 1), 500, 0, ("gap", 39), id="SUB-2: past the head"),
        pytest.param(POSITION, LogHead("e1", 50, 1), 500, 40, ("recovered", 40), id="SUB-5: joined before"),
        pytest.param(POSITION, LogHead("e1", 50, 1), 500, 41, ("gap", 50), id="SUB-5: joined later"),
    ],
)
def test_the_verdict(
    since: f.Position | None, head: LogHead, recovery: int, after: int, expected: tuple[f.Verdict, int]
) -> None:
    """SUB-1, SUB-2, SUB-5 as a table: the verdict, and after which offset events are sent."""
    assert begin(since, head, recovery, after) == Beginning(*expected)
