"""What a message goes through before it is stored: checks, one after the other, that may change or refuse it.

Other areas register theirs when they are imported::

    @before_message("content")
    async def mask_words(ctx: Context, found: Access, draft: Draft) -> Draft: ...

They run in the order of the stages; within one, in the order in which they were registered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeVar

from backchannel import Context

from ..access import Access
from ..common import Data
from .contract import Forwarded, Mentions, Message

__all__ = ["AfterMessage", "Check", "Draft", "Purpose", "Stage", "before_message", "run_checks"]

Stage = Literal["sender", "hook", "content"]
"""`sender`: whether this user may speak now; `hook`: what the app does itself; `content`: what is said, after that."""

Purpose = Literal["send", "edit", "forward"]

AfterMessage = Callable[[Context, Access, Message], Awaitable[None]]


@dataclass(slots=True, kw_only=True)
class Draft:
    """A message that is about to be stored. A check changes it in place, or returns another."""

    purpose: Purpose
    type: str
    text: str
    data: Data | None = None
    """Checked already: by its declared type, or for its size."""
    mentions: Mentions | None = None
    files: list[str] = field(default_factory=list)
    """Ids of files."""
    parent: int | None = None
    shown: bool = True
    quote: int | None = None
    silent: bool = False
    only_for: str | None = None
    expires: int | None = None
    """When it goes by itself, Unix milliseconds."""
    shadow: bool = False
    """Whether nobody but its sender is to see it."""
    forwarded: Forwarded | None = None
    seq: int | None = None
    """Of the message that is edited; a new one has none yet."""
    author: str = ""
    """Who sent the message that is edited; else who sends it."""
    after: list[AfterMessage] = field(default_factory=list)
    """What is done once it is stored, in the same transaction: a report, say, needs its `seq`."""


Check = Callable[[Context, Access, Draft], Awaitable[Draft]]
CheckFunction = TypeVar("CheckFunction", bound=Check)

_STAGES: Final[tuple[Stage, ...]] = ("sender", "hook", "content")
_checks: Final[dict[Stage, list[Check]]] = {stage: [] for stage in _STAGES}


def before_message(stage: Stage) -> Callable[[CheckFunction], CheckFunction]:
    """Register a check that every message goes through before it is stored, and every edit.

    It is `async def check(ctx, found, draft) -> draft`; it raises `Refused` to refuse. A message without anything
    special must cost no statement of its own: look at what `found` holds first.
    """

    def register(check: CheckFunction) -> CheckFunction:
        _checks[stage].append(check)
        return check

    return register


async def run_checks(ctx: Context, found: Access, draft: Draft) -> Draft:
    """The message as all checks leave it.

    Raises:
        Refused: as one of them refuses it.
    """
    for stage in _STAGES:
        for check in _checks[stage]:
            draft = await check(ctx, found, draft)
    return draft
