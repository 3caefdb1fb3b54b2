"""Registration: what is declared wrongly fails at once, with a message that tells the cure."""

from __future__ import annotations

from typing import Any

import pytest

from backchannel import App, Command, Context, Event, Namespace, RegistrationError


class Ask(Command[int]):
    """A command."""

    number: int


class Happened(Event):
    """An event."""


def synchronous(ctx: Context, request: Ask) -> int:
    """No coroutine function."""
    return request.number


async def otherwise(ctx: Context, request: Ask) -> str:
    """Not what the command declares."""
    return str(request.number)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"kind": "durabel"}, "kind is 'durabel'; make it 'durable', 'live' or 'ephemeral'"),
        ({"slow": "drop"}, "slow is 'drop'; make it 'disconnect', 'gap' or 'latest'"),
        ({"slow": "latest"}, "`latest` is for live channels"),
        ({"history": -1}, "history is -1; make it a whole number of events, at least 1"),
        ({"history": "many"}, "history is 'many'"),
        ({"max_age": 0}, "max_age is 0; make it a number of seconds above 0"),
        ({"recovery": 1.5}, "recovery is 1.5; make it a whole number of events, or None"),
        ({"presence": "yes"}, "presence is 'yes'; make it True or False"),
        ({"clients_may_publish": 1}, "clients_may_publish is 1; make it True or False"),
        ({"clients_may_publish": True}, "on durable channels only commands publish"),
        ({"may_lisen": synchronous}, "may_lisen is no rule; did you mean may_listen?"),
        ({"presense": True}, "presense is no rule; did you mean presence?"),
        ({"may_listen": lambda self, ctx, channel: True}, "may_listen must be `async def`"),
    ],
)
def test_a_namespace_that_says_what_it_cannot_mean(attributes: dict[str, Any], words: str) -> None:
    """Each attribute takes only what its description allows; nothing of the namespace is registered."""
    app = App("wrong")
    with pytest.raises(RegistrationError) as raised:
        app.namespace("room")(type("Room", (Namespace,), attributes))
    assert words in str(raised.value)
    assert str(raised.value).startswith("Namespace 'room': ")
    assert "room" not in app.namespaces


def test_a_namespace_that_says_all_it_can() -> None:
    """The smallest values and whole seconds are allowed."""
    app = App("right")
    attributes = {"kind": "live", "slow": "latest", "history": 1, "max_age": 1, "recovery": 0, "presence": True}
    app.namespace("room")(type("Room", (Namespace,), {**attributes, "clients_may_publish": True}))
    assert "room" in app.namespaces


def test_names_and_handlers() -> None:
    """Names have their form and are declared once; a handler is what its command declares."""
    app = App("wrong")
    with pytest.raises(RegistrationError, match=r"'AB' is not a name: use `noun\.verb`"):
        app.command("AB")(Ask)
    with pytest.raises(RegistrationError, match=r"lane 'channel' is not a field of Ask \(it has: number\)"):
        app.command("number.ask", lane="channel")(Ask)
    app.command("number.ask")(Ask)
    with pytest.raises(RegistrationError, match=r"synchronous must be `async def`"):
        app.handle(Ask)(synchronous)  # type: ignore[arg-type]
    with pytest.raises(RegistrationError, match=r"otherwise must return int, as Ask declares"):
        app.handle(Ask)(otherwise)  # type: ignore[arg-type]
    with pytest.raises(RegistrationError, match=r"No handler for number\.ask: put @app\.handle\(Ask\)"):
        app.check()
    app.event("number.happened")(Happened)
    with pytest.raises(RegistrationError, match=r"number\.happened is declared already"):
        app.event("number.happened")(Happened)


class Sort(Command[int]):
    """A command whose fields are of many kinds."""

    text: str
    number: int | None
    tags: dict[str, int]
    share: float


@pytest.mark.parametrize("field", ["tags", "share"])
def test_a_lane_that_is_no_name(field: str) -> None:
    """A lane is text or a whole number: of other things it is not sure what counts as the same."""
    with pytest.raises(RegistrationError, match=f"lane '{field}' must be text or a whole number"):
        App("wrong").command("thing.sort", lane=field)(Sort)


def test_a_lane_of_text_and_numbers() -> None:
    """Several fields may name a lane, and one of them may be missing."""
    App("right").command("thing.sort", lane=["text", "number"])(Sort)


def test_a_namespace_may_have_names_of_its_own() -> None:
    """What resembles no rule is the app's own affair."""
    App("right").namespace("room")(type("Room", (Namespace,), {"greeting": "hello", "rows_of": synchronous}))
