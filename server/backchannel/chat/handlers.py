"""The whole chat app: its contract with its handlers, namespace and tables."""

from __future__ import annotations

from pathlib import Path

from backchannel import Context, Namespace, Refused

from .access import access
from .channels import handlers as channels
from .common import app
from .counts import changes, counting, receipts
from .data import erasing, exporting, putting, retaining
from .files import collect, downloads, files, links, uploads
from .messages import changing, expiry, listing, mentions, pins, reactions, sending, threads
from .moderation import audit, bans, filters, hooks, pace, reports, restraints, review, standing
from .people import blocks, devices, preferences, presence, profiles, typing
from .people.tables import presences
from .personal import drafts, due, polls, reminders, saved, scheduled
from .search import messages as search_messages
from .search import names as search_names
from .tables import metadata

__all__ = [
    "app",
    "audit",
    "bans",
    "blocks",
    "changes",
    "changing",
    "channels",
    "collect",
    "counting",
    "devices",
    "downloads",
    "drafts",
    "due",
    "erasing",
    "expiry",
    "exporting",
    "files",
    "filters",
    "hooks",
    "links",
    "listing",
    "mentions",
    "pace",
    "pins",
    "polls",
    "preferences",
    "presence",
    "profiles",
    "putting",
    "reactions",
    "receipts",
    "reminders",
    "reports",
    "restraints",
    "retaining",
    "review",
    "saved",
    "scheduled",
    "search_messages",
    "search_names",
    "sending",
    "standing",
    "threads",
    "typing",
    "uploads",
]

app.tables(metadata, Path(__file__).parent / "migrations")


@app.namespace("chat")
class ChatNamespace(Namespace):
    """One channel per conversation; who may read it listens, and is told who else does."""

    kind = "durable"
    presence = True

    async def may_listen(self, ctx: Context, channel: str) -> bool | int:
        """Who may read; from where they joined, if what was said before is not theirs."""
        try:
            found = await access(ctx, channel, "channel.read")
        except Refused:
            return False
        return True if found.member is None else found.member.events_from or True

    async def seen(self, ctx: Context) -> bool:
        """Whoever is not invisible."""
        row = await ctx.db.get(presences, user=ctx.user)
        return row is None or not row.invisible
