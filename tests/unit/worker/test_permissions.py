"""The internal query `may`: what a principal may hear, and where it may publish."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from structlog.testing import capture_logs

from backchannel import App, Context, Namespace
from backchannel.auth.principal import Principal
from backchannel.relay.relay import May, MayReply

if TYPE_CHECKING:
    from tests.unit.worker.conftest import Bench, StartWorker

app = App("rules")


@app.namespace("open")
class Open(Namespace):
    """Everybody listens, and may publish one event."""

    kind = "live"
    clients_may_publish = True

    async def may_listen(self, ctx: Context, channel: str) -> bool:
        """Yes."""
        return True

    async def may_publish(self, ctx: Context, channel: str, name: str) -> bool:
        """One name only."""
        return name == "hand.raised"


@app.namespace("late")
class Late(Namespace):
    """Who joined later hears later events only."""

    async def may_listen(self, ctx: Context, channel: str) -> bool | int:
        """From an offset on, which may be 0."""
        return int(channel.partition(":")[2])


@app.namespace("broken")
class Broken(Namespace):
    """A rule that fails."""

    async def may_listen(self, ctx: Context, channel: str) -> bool:
        """Fail."""
        raise RuntimeError("secret")


@app.namespace("vague")
class Vague(Namespace):
    """Rules that answer what is no answer."""

    kind = "live"
    clients_may_publish = True

    async def may_listen(self, ctx: Context, channel: str) -> bool | int:
        """Answer as a rule does that forgot to await, to return, or to think."""
        answers: dict[str, Any] = {"vague:text": "yes", "vague:nothing": None, "vague:below": -1}
        return answers[channel]  # type: ignore[no-any-return]

    async def may_publish(self, ctx: Context, channel: str, name: str) -> bool:
        """Answer what is merely true in Python."""
        answer: Any = "yes"
        return answer  # type: ignore[no-any-return]


@app.namespace("plain")
class Plain(Namespace):
    """The default rule."""


ALICE = Principal(user="alice", id="user:alice", channels=("plain:a", "user:bob"))


async def may(bench: Bench, principal: Principal, *listen: str, publish: tuple[str, ...] = ()) -> MayReply:
    """Ask as a gateway does."""
    request = bench.request("may", kind="internal", principal=principal)
    request.data = msgspec.json.encode(May(list(listen), list(publish)))
    reply = await bench.ask(request)
    assert reply.failure is None
    return msgspec.json.decode(reply.data, type=MayReply)


@pytest.mark.parametrize(
    ("channel", "allowed", "after", "code"),
    [
        ("open:a", True, 0, None),
        ("plain:a", True, 0, None),
        ("plain:b", False, 0, "forbidden"),
        ("user:alice", True, 0, None),
        ("user:bob", False, 0, "forbidden"),
        ("late:17", True, 17, None),
        ("late:0", True, 0, None),
        ("nowhere:a", False, 0, "not_found"),
    ],
)
async def test_who_may_listen(
    start_worker: StartWorker, channel: str, allowed: bool, after: int, code: str | None
) -> None:
    """The namespace's rule decides: no, yes, or yes from an offset on; `user:<id>` is that user's alone."""
    bench = await start_worker(app)
    grant = (await may(bench, ALICE, channel)).listen[channel]
    assert (grant.allowed, grant.after) == (allowed, after)
    if code is not None:
        assert grant.code == code
        assert channel in grant.message


async def test_all_channels_are_answered_although_one_rule_fails(start_worker: StartWorker) -> None:
    """A rule that fails denies its own channel, without details, and is in the log."""
    bench = await start_worker(app)
    with capture_logs() as logs:
        reply = await may(bench, ALICE, "open:a", "broken:a", "user:alice")
    assert {channel: grant.allowed for channel, grant in reply.listen.items()} == {
        "open:a": True,
        "broken:a": False,
        "user:alice": True,
    }
    assert reply.listen["broken:a"].code == "internal"
    assert "secret" not in reply.listen["broken:a"].message
    assert [(entry["event"], entry["channel"]) for entry in logs] == [("a namespace's rule failed", "broken:a")]


async def test_an_answer_that_is_none_denies(start_worker: StartWorker) -> None:
    """A rule that answers neither yes, no nor an offset denies its own channel, and is in the log."""
    bench = await start_worker(app)
    vague = ("vague:text", "vague:nothing", "vague:below")
    with capture_logs() as logs:
        reply = await may(bench, ALICE, "open:a", *vague, publish=("vague:a hand.raised", "open:a hand.raised"))
    assert {channel: grant.code for channel, grant in reply.listen.items() if not grant.allowed} == dict.fromkeys(
        vague, "internal"
    )
    assert {entry: grant.allowed for entry, grant in reply.publish.items()} == {
        "vague:a hand.raised": False,
        "open:a hand.raised": True,
    }
    assert [entry["channel"] for entry in logs] == [*vague, "vague:a"]


async def test_caps_narrow_and_never_grant(start_worker: StartWorker) -> None:
    """A token's `caps` leave only what they name, and only if the rule allows it too."""
    bench = await start_worker(app)
    narrow = Principal(user="alice", id="user:alice", caps=("listen:open:*", "listen:plain:a", "publish:open:a"))
    reply = await may(
        bench, narrow, "open:a", "plain:a", "user:alice", publish=("open:a hand.raised", "open:b hand.raised")
    )
    assert {channel: grant.allowed for channel, grant in reply.listen.items()} == {
        "open:a": True,
        "plain:a": False,
        "user:alice": False,
    }
    assert {entry: grant.allowed for entry, grant in reply.publish.items()} == {
        "open:a hand.raised": True,
        "open:b hand.raised": False,
    }


async def test_who_may_publish(start_worker: StartWorker) -> None:
    """Only where the namespace lets clients publish, and its rule allows this event."""
    bench = await start_worker(app)
    entries = ("open:a hand.raised", "open:a hand.lowered", "plain:a hand.raised", "nowhere:a hand.raised")
    reply = await may(bench, ALICE, publish=entries)
    codes = {entry: None if grant.allowed else grant.code for entry, grant in reply.publish.items()}
    assert codes == dict(zip(entries, [None, "forbidden", "forbidden", "not_found"], strict=True))
