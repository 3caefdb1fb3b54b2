"""Commands: found by their word, listed and explained by `/help`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, cast

import pytest
from msgspec import Meta

from backchannel_client import BotEvent
from backchannel_client.commands import Commands


class Said:
    """An event that keeps what is replied to it."""

    def __init__(self) -> None:
        self.replies: list[str] = []

    async def reply(self, text: str) -> None:
        self.replies.append(text)


async def run(commands: Commands, message: str) -> list[str]:
    said = Said()
    found = commands.find(message)
    if found is not None:
        command, text = found
        await command.run(cast(BotEvent[Any], said), text)
    return said.replies


async def roll(event: BotEvent[Any], dice: Annotated[str, Meta(description="dice", examples=["2d6"])] = "1d6") -> None:
    """Roll dice.

    The sum is told.
    """
    await event.reply(f"rolled {dice}")


async def stop(event: BotEvent[Any]) -> None:
    await event.reply("stopped")


@pytest.fixture
def commands() -> Commands:
    commands = Commands("help")
    commands.add("roll", "roll", roll)
    commands.add("/stop", "stop", stop)
    return commands


@pytest.mark.parametrize(
    ("message", "reply"),
    [
        ("/roll", "rolled 1d6"),
        ("  /roll\n2d6 ", "rolled 2d6"),
        ("/roll '2 d'", "rolled 2 d"),
        ("/roll 1 2", "That is too much, from “2” on. Usage: /roll [dice]"),
        ("/stop now", "That is too much, from “now” on. Usage: /stop"),
        ("/stop", "stopped"),
        ("/help", "/help [command] - Tell what I can do, or how a command is used.\n/roll [dice] - Roll dice.\n/stop"),
        ("/help roll", "/roll [dice]\n\nRoll dice.\n\nThe sum is told.\n\ndice: dice, such as 2d6"),
        ("/help /stop", "/stop"),
        ("/help dance", "I have no such command; /help lists those that I have."),
    ],
)
async def test_a_command_is_answered(commands: Commands, message: str, reply: str) -> None:
    """With the arguments that were written, with its usage where they are wrong, and `/help` by the docstrings."""
    assert await run(commands, message) == [reply]


@pytest.mark.parametrize("message", ["", "roll", "/rolling", "/Roll", "/", "say /roll"])
async def test_other_messages_are_not_for_the_bot(commands: Commands, message: str) -> None:
    """An unknown command may be another bot's: nothing is said."""
    assert await run(commands, message) == []


async def test_a_bot_without_commands_has_no_help() -> None:
    """It would only say that there is none."""
    assert await run(Commands("help"), "/help") == []


async def test_help_can_be_renamed_replaced_and_left_out() -> None:
    """`help_command="?"`, a command of one's own by that name, `help_command=None`."""
    renamed = Commands("?")
    renamed.add("stop", "stop", stop)
    assert (await run(renamed, "/?"))[0].startswith("/?")
    assert await run(renamed, "/help") == []
    replaced = Commands("help")
    replaced.add("help", "stop", stop)
    assert await run(replaced, "/help") == ["stopped"]
    without = Commands(None)
    without.add("stop", "stop", stop)
    assert await run(without, "/help") == []


async def test_a_long_help_comes_in_several_messages() -> None:
    """A message has at most 4,000 characters; every command is listed once, whole."""
    commands = Commands("help")
    for number in range(100):
        commands.add(f"command-{number:03}-{'x' * 50}", "stop", stop)
    pages = await run(commands, "/help")
    assert len(pages) > 1
    assert all(len(page) <= 4000 for page in pages)
    lines = [line for page in pages for line in page.splitlines()]
    assert len(lines) == len(set(lines)) == 101


@pytest.mark.parametrize("name", ["", "/", "two words", "a\n", "\x00"])
def test_a_name_that_is_none(name: str) -> None:
    """It fails at once."""
    with pytest.raises(ValueError, match="one word"):
        Commands("help").add(name, "stop", stop)


def test_two_handlers_of_one_command(commands: Commands) -> None:
    """Both would answer: a mistake that is told when the bot is made."""
    with pytest.raises(ValueError, match="two handlers of /roll"):
        commands.add("roll", "stop", stop)


def test_a_callable_object_is_explained_by_its_class() -> None:
    """Its docstring, not that of `__call__`'s type."""

    class Greet:
        """Greet somebody."""

        async def __call__(self, event: BotEvent[Any], name: str) -> None: ...

    commands = Commands(None)
    handler: Callable[..., Awaitable[None]] = Greet()
    commands.add("greet", "greet", handler)
    found = commands.find("/greet")
    assert found is not None
    assert (found[0].usage, found[0].summary) == ("/greet <name>", "Greet somebody.")
