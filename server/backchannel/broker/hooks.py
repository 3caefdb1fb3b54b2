"""Hooks: an app's own functions that run when a user comes to a channel or is gone from it, `joined` and `gone`.

Whichever process finds out has a note (`notes`), and asks the internal command `presence.note` for it, as that user and
with the note's id as the key: a note that is told again has one effect, and notes of one user run one after another.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from backchannel_protocol import Command, Refused

from ..app import App, hooked
from ..context import Context
from .broker import Broker
from .notes import PresenceNote

__all__ = ["Hooks", "NotePresence", "hooks"]

log = structlog.get_logger(__name__)

# Shorter than a note is its teller's alone (redis_notes.CLAIM): whoever tells it again is the only one then.
_TIMEOUT: Final = 5.0

hooks = App("presence")


@hooks.command("presence.note", internal=True, timeout=_TIMEOUT)
class NotePresence(Command[None]):
    """The asking user came to this channel, or is gone from it."""

    channel: str
    here: bool


@hooks.handle(NotePresence)
async def note_presence(ctx: Context, note: NotePresence) -> None:
    """Run the namespace's hook."""
    rule = ctx.runtime.namespaces.rule(note.channel)  # type: ignore[attr-defined]
    if rule is not None:
        await (rule.joined if note.here else rule.gone)(ctx, note.channel)


Ask = Callable[[NotePresence, str, str], Awaitable[object]]
"""Asks a note as a user, with a key. Raises `Refused`."""


class Hooks:
    """Tells a broker's notes to the app's hooks, where it has any.

    Args:
        app: the declarations.
        ask: the way to a worker.
    """

    def __init__(self, app: App, ask: Ask) -> None:
        self._hooked = frozenset(name for name, each in app.all_namespaces().items() if hooked(each.cls))
        self._ask = ask

    def attach(self, broker: Broker) -> None:
        """Have the broker note what the hooks are to be told."""
        if self._hooked:
            broker.note(self.wanted, self.tell)

    def wanted(self, channel: str) -> bool:
        """Whether there are hooks for this channel."""
        return channel.partition(":")[0] in self._hooked

    async def tell(self, notes: Sequence[PresenceNote]) -> Sequence[PresenceNote]:
        """Run the hooks of these, and return those that no worker could be asked for.

        What a hook raises is logged, and not tried again: nobody is there who could do anything about it.
        """
        told = await asyncio.gather(*[self._tell(note) for note in notes])
        return [note for note, done in zip(notes, told, strict=True) if not done]

    async def _tell(self, note: PresenceNote) -> bool:
        key = hashlib.blake2b(f"{note.channel} {note.user} {note.id}".encode(), digest_size=16).hexdigest()
        try:
            await self._ask(NotePresence(note.channel, note.here), note.user, f"presence:{key}")
        except Refused as exc:
            if exc.code in ("unavailable", "rate_limited", "cancelled"):
                return False
            log.error(
                "a hook of a namespace failed", channel=note.channel, user=note.user, here=note.here, reason=str(exc)
            )
        return True
