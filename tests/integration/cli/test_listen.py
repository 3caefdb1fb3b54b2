"""`backchannel listen` shows what happens on channels while it happens."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .conftest import Served

Order = Callable[..., str]


def place(served: Served, order: str) -> str:
    """Place an order as bob; its id."""
    done = served.ask("call", "order.place", order, "--user", "bob")
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["id"])


def events(lines: list[str]) -> list[dict[str, Any]]:
    """The events among lines of JSON."""
    return [line for line in map(json.loads, lines) if line["type"] == "event"]


def test_events_are_lines_of_json(served: Served, shop: str, order: Order) -> None:
    """From `subscribed` on each event is a line, with its position; Ctrl-C ends it quietly with 130."""
    channel = f"orders:{shop}"
    words = ["listen", channel, "--json", "--user", "alice", "--url", served.url]
    with served.folder.start(*words) as running:
        running.until('"subscribed"')
        placed = place(served, order())
        (event,) = events(running.until('"event"'))
        assert (event["channel"], event["name"], event["data"]["id"]) == (channel, "order.placed", placed)
        assert {"offset", "epoch", "time"} <= event.keys()
        assert running.end(signal.SIGINT) == 130
        assert running.stderr == ""


def test_since_brings_what_was_missed(served: Served, shop: str, order: Order) -> None:
    """A position from an event's line continues behind that event."""
    words = ["listen", f"orders:{shop}", "--json", "--user", "alice", "--url", served.url]
    with served.folder.start(*words) as running:
        running.until('"subscribed"')
        place(served, order())
        (seen,) = events(running.until('"event"'))
    missed = [place(served, order()) for _ in range(2)]
    with served.folder.start(*words, "--since", f"{seen['epoch']}:{seen['offset']}") as running:
        found = events(running.until(missed[-1]))
        assert [event["data"]["id"] for event in found] == missed


def test_people_get_a_readable_line(served: Served, shop: str, order: Order) -> None:
    """Channel, name, data and offset on one line, without colours in a pipe."""
    with served.folder.start("listen", f"orders:{shop}", "--user", "alice", "--url", served.url) as running:
        running.until("listening")
        placed = place(served, order())
        line = running.until(placed)[-1]
        for part in (f"orders:{shop}", "order.placed", '"item":"tea"', "#1"):
            assert part in line
        assert "\x1b" not in line


def test_what_one_may_not_hear_is_refused(served: Served) -> None:
    """Another user's channel: the reason on stderr, exit code 1."""
    done = served.ask("listen", "user:bob", "--user", "alice")
    assert done.returncode == 1
    assert "Refused (" in done.stderr


def test_a_closed_pipe_ends_it_quietly(served: Served, shop: str, order: Order) -> None:
    """`| head` takes what it wants and goes."""
    words = ["listen", f"orders:{shop}", "--json", "--user", "alice", "--url", served.url]
    with served.folder.start(*words) as running:
        running.until('"subscribed"')
        assert running.process.stdout is not None
        running.process.stdout.close()
        place(served, order())
        assert running.process.wait(30) == 1
        assert running.stderr == ""
