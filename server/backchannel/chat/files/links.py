"""Previews of links: wished for when a message is stored, fetched by a job, given to the message by a command.

No handler waits for a stranger's server: the wish is a row in the message's own transaction, so that it is lost in no
crash. The worker that stored it fetches at once; where that one dies, another one does within a minute.
"""

from __future__ import annotations

import asyncio
import re
from typing import Final
from weakref import WeakKeyDictionary

import msgspec
import sqlalchemy as sa
import structlog

from backchannel import Context, Publisher, Refused

from ..access import Access
from ..common import app
from ..messages.announce import announce
from ..messages.contract import Message
from ..messages.pipeline import Draft, before_message
from ..tables import messages
from .contract import LinkPreview
from .fetching import Fetcher, Unfetchable
from .internal import AnyWishes, Claimed, ClaimWishes, StorePreviews, Wish
from .pages import preview_of
from .tables import link_wishes

__all__ = ["LINKS", "fetch_previews", "fetcher", "links_in"]

_log = structlog.get_logger(__name__)

LINKS: Final = 3
"""Links of a message that get a preview: the first ones."""
_SECONDS: Final = 60
_STEP: Final = 20
_CLAIM: Final = 60_000
"""How long whoever took a wish has for it, milliseconds; then another one takes it."""
_TOO_OLD: Final = 600_000
"""A wish that is not fulfilled for so long is dropped."""

_LINK: Final = re.compile(r"https?://[^\s<>\"'`{}|\\^\[\]]{1,2000}", re.IGNORECASE)
_BEHIND: Final = ".,;:!?'\"*_~"

fetcher = Fetcher()
"""Who fetches the pages."""

_fetching: Final[set[asyncio.Task[None]]] = set()

_publishers: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Publisher]] = WeakKeyDictionary()
"""By the loop of a worker, what its jobs ask by: callbacks after a commit run there, too."""

_urls: Final = msgspec.json.Decoder(list[str])


def links_in(text: str) -> list[str]:
    """The first links of a text, each once, without the punctuation behind them."""
    found: dict[str, None] = {}
    for match in _LINK.finditer(text):
        link = match.group().rstrip(_BEHIND)
        while link.endswith(")") and link.count(")") > link.count("("):
            link = link[:-1].rstrip(_BEHIND)
        found[link] = None
        if len(found) == LINKS:
            break
    return list(found)


@before_message("content")
async def wish_previews(ctx: Context, found: Access, draft: Draft) -> Draft:
    """See to it that the links of a message get previews; a message without links costs nothing."""
    if not found.rules.features.links or draft.only_for is not None:
        return draft
    if draft.purpose == "edit":
        draft.after.append(_wish_anew)
    elif "://" in draft.text:
        draft.after.append(_wish)
    return draft


async def _wish(ctx: Context, found: Access, message: Message) -> None:
    urls = links_in(message.text)
    if urls:
        _insert(ctx, message, urls)
        ctx.after_commit(_fetch_now)


async def _wish_anew(ctx: Context, found: Access, message: Message) -> None:
    """After an edit, in which links may have come or gone."""
    urls = links_in(message.text)
    if not urls and not message.links:
        return
    waiting = await ctx.db.get(link_wishes, channel=message.channel, seq=message.seq)
    if waiting is None:
        _insert(ctx, message, urls)
    else:
        key = {"channel": message.channel, "seq": message.seq}
        ctx.update(link_wishes, key, urls=_encoded(urls), since=ctx.now, claimed=0)
    ctx.after_commit(_fetch_now)


def _insert(ctx: Context, message: Message, urls: list[str]) -> None:
    ctx.insert(link_wishes, channel=message.channel, seq=message.seq, urls=_encoded(urls), since=ctx.now, claimed=0)


def _encoded(value: list[str] | list[LinkPreview]) -> str:
    return msgspec.json.encode(value).decode()


@app.on_start
async def remember(publisher: Publisher) -> None:
    """Keep what callbacks after a commit ask by."""
    _publishers[asyncio.get_running_loop()] = publisher


async def _fetch_now() -> None:
    # Beside the other callbacks, which are not to wait for strangers.
    loop = asyncio.get_running_loop()
    task = loop.create_task(_fetch_unless_stopped(_publishers[loop]), name="fetch previews")
    _fetching.add(task)
    task.add_done_callback(_fetching.discard)


async def _fetch_unless_stopped(publisher: Publisher) -> None:
    try:
        await fetch_previews(publisher)
    except Refused as refused:
        # The worker stops, or the database is gone; the wish is still there.
        _log.info("previews are fetched later", reason=str(refused))


@app.every(_SECONDS, once="process")
async def fetch_previews(publisher: Publisher) -> None:
    """Fetch what was wished for. Every worker looks; each wish is one's alone."""
    if not await publisher.call(AnyWishes(), user=""):
        return
    claimed = await publisher.call(ClaimWishes(), user="")
    await asyncio.gather(*[_fulfil(publisher, wish) for wish in claimed.wishes])


async def _fulfil(publisher: Publisher, wish: Wish) -> None:
    found = await asyncio.gather(*[_preview(url) for url in wish.urls])
    previews = [preview for preview in found if preview is not None]
    await publisher.call(StorePreviews(channel=wish.channel, seq=wish.seq, urls=wish.urls, previews=previews), user="")


async def _preview(url: str) -> LinkPreview | None:
    try:
        page = await fetcher.fetch(url)
    except Unfetchable:
        return None
    # A parser takes its time over what strangers write.
    return await asyncio.to_thread(preview_of, url, page)


@app.handle(AnyWishes)
async def any_wishes(ctx: Context, request: AnyWishes) -> bool:
    """Whether somebody waits, and nobody works on it."""
    waiting = sa.select(link_wishes.c.seq).where(
        link_wishes.c.app == ctx.app, link_wishes.c.claimed <= ctx.now - _CLAIM
    )
    return bool(await ctx.db.value(sa.select(sa.exists(waiting))))


@app.handle(ClaimWishes)
async def claim_wishes(ctx: Context, request: ClaimWishes) -> Claimed:
    """Take some; those that nobody could fulfil go."""
    rows = await ctx.db.rows(
        sa.select(link_wishes)
        .where(link_wishes.c.app == ctx.app, link_wishes.c.claimed <= ctx.now - _CLAIM)
        .order_by(link_wishes.c.claimed, link_wishes.c.since)
        .limit(_STEP)
    )
    taken = []
    for row in rows:
        key = {"channel": row.channel, "seq": row.seq}
        if row.since <= ctx.now - _TOO_OLD:
            ctx.delete(link_wishes, key)
        else:
            ctx.update(link_wishes, key, claimed=ctx.now)
            taken.append(Wish(row.channel, row.seq, _urls.decode(row.urls)))
    return Claimed(taken)


@app.handle(StorePreviews)
async def store_previews(ctx: Context, request: StorePreviews) -> bool:
    """Give a message its previews, unless it was edited meanwhile: then it waits for others."""
    key = {"channel": request.channel, "seq": request.seq}
    waiting = await ctx.db.get(link_wishes, **key)
    if waiting is None or _urls.decode(waiting.urls) != request.urls:
        return False
    ctx.delete(link_wishes, key)
    row = await ctx.db.get(messages, **key)
    links = _encoded(request.previews) if request.previews else None
    if row is None or row.deleted is not None or row.links == links:
        return False
    ctx.update(messages, key, links=links)
    await announce(ctx, request.channel, request.seq)
    return True
