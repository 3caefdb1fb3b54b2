"""The commands of a bot: messages such as `/roll 2d6`, their arguments, and `/help`."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

from .arguments import Signature, UsageError, signature_of
from .bot_event import BotEvent

__all__ = ["Command", "Commands"]

log = logging.getLogger("backchannel_client.bot")

# A chat takes messages up to 4,000 characters; a long list of commands goes out in several.
_PAGE: Final = 3000


class Command:
    """One command: its word, its handler, and what the handler takes."""

    def __init__(self, word: str, identity: str, handler: Callable[..., Awaitable[None]]) -> None:
        """Raises TypeError if the handler's parameters cannot be read from words."""
        self.word = word
        self.identity = identity
        self._handler = handler
        self._signature: Signature = signature_of(handler)
        self._doc = inspect.getdoc(handler) if inspect.isroutine(handler) else inspect.getdoc(type(handler))

    @property
    def usage(self) -> str:
        """`/roll [dice]`"""
        return f"{self.word} {self._signature.usage}".rstrip()

    @property
    def summary(self) -> str:
        """What it does, in a line: the first one of its docstring."""
        return (self._doc or "").partition("\n")[0]

    @property
    def explanation(self) -> str:
        """How it is used, its whole docstring, and its arguments."""
        parts = [self.usage, self._doc or "", "\n".join(self._signature.explanations)]
        return "\n\n".join(part for part in parts if part)

    async def run(self, event: BotEvent[Any], text: str) -> None:
        """Read the arguments and run the handler; who wrote something else is told what to write."""
        try:
            positional, named = self._signature.read(text)
        except UsageError as exc:
            await event.reply(f"{exc} Usage: {self.usage}")
        else:
            await self._handler(event, *positional, **named)


class Commands:
    """The commands of one bot, by their words."""

    def __init__(self, help_word: str | None) -> None:
        """`help_word` is the command that tells what the bot can do; None: there is none."""
        self._commands: dict[str, Command] = {}
        self._help: str | None = None
        if help_word is not None:
            self._help = _slashed(help_word)
            self._commands[self._help] = Command(self._help, "help", self._tell_help)

    def add(self, name: str, identity: str, handler: Callable[..., Awaitable[None]]) -> None:
        """Take in a command.

        Raises:
            ValueError: the name is none, or is taken.
            TypeError: the handler's parameters cannot be read from words.
        """
        word = self.check(name)
        command = Command(word, identity, handler)
        if word == self._help:
            # The app has a help of its own.
            self._help = None
        self._commands[word] = command

    def check(self, name: str) -> str:
        """The word of a command of this name, which is free. Raises ValueError otherwise."""
        word = _slashed(name)
        if word in self._commands and word != self._help:
            raise ValueError(f"There are two handlers of {word}: rename one of them.")
        return word

    def find(self, text: str) -> tuple[Command, str] | None:
        """The command that a message begins with, and the text behind it."""
        first, *rest = text.split(maxsplit=1) or [""]
        command = self._commands.get(first)
        if command is None or (first == self._help and len(self._commands) == 1):
            return None
        return command, rest[0] if rest else ""

    async def _tell_help(self, event: BotEvent[Any], command: str | None = None) -> None:
        """Tell what I can do, or how a command is used."""
        if command is None:
            for page in self._pages():
                await event.reply(page)
            return
        found = self._commands.get("/" + command.removeprefix("/"))
        if found is not None:
            await event.reply(found.explanation[:_PAGE])
        else:
            await event.reply(f"I have no such command; {self._help} lists those that I have.")

    def _pages(self) -> Iterator[str]:
        page = ""
        for word in sorted(self._commands):
            command = self._commands[word]
            line = (command.usage + (f" - {command.summary}" if command.summary else ""))[:_PAGE]
            if page and len(page) + 1 + len(line) > _PAGE:
                yield page
                page = ""
            page += ("\n" if page else "") + line
        yield page


def _slashed(name: str) -> str:
    word = "/" + name.removeprefix("/")
    if len(word.split()) != 1 or word == "/" or not name.isprintable():
        raise ValueError(f"{name!r} is no command: give one word, as in @bot.command('roll').")
    return word
