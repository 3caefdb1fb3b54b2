"""Wording: what somebody typed into a search box, understood. Pure: no database, no request."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from backchannel import Refused

__all__ = ["MARKS", "Term", "Wording", "fold", "matches", "read_wording", "spans_of", "tokens_of"]

MARKS: Final = ("file", "image", "link", "poll", "quote", "reply", "mention")
"""What a message can have, for `has:`."""

_MAX_TERMS: Final = 20
_PIECE: Final = re.compile(
    r'(?P<minus>-)?(?:(?P<filter>in|from|before|after|has):(?P<value>"[^"]*"|[^\s"]+)|"(?P<phrase>[^"]*)"?|(?P<word>[^\s"]+))',
    re.IGNORECASE,
)
_CHANNEL: Final = re.compile(r"(?:chat:)?([A-Za-z0-9_.@-]{1,128})")
_USER: Final = re.compile(r"@?([A-Za-z0-9_.@-]{1,128})")


class Term(NamedTuple):
    """Something that must be in the text, or must not."""

    tokens: tuple[str, ...]
    """Words that stand together in this order, as they were typed."""
    unfinished: bool = False
    """Whether the last of them is the beginning of a word."""
    unwanted: bool = False


class Wording(NamedTuple):
    """What is looked for."""

    terms: tuple[Term, ...] = ()
    channels: tuple[str, ...] = ()
    """In one of these, by their full names."""
    users: tuple[str, ...] = ()
    """From one of these."""
    before: int | None = None
    """Unix milliseconds."""
    after: int | None = None
    has: tuple[str, ...] = ()

    @property
    def wanted(self) -> list[Term]:
        """What must be there."""
        return [term for term in self.terms if not term.unwanted]


def read_wording(text: str, *, me: str = "", unfinished: bool = False, filters: bool = True) -> Wording:
    """Understand a search text.

    Args:
        text: words, `"phrases"`, `-unwanted`, `beg*`, and filters.
        me: who `from:me` is.
        unfinished: whether the last word may be the beginning of one.
        filters: whether `in:` and the like are filters, or words as others.

    Raises:
        Refused: `invalid`, for a filter whose value it cannot have, or too many words; the message says which.
    """
    terms: list[Term] = []
    channels: list[str] = []
    users: list[str] = []
    has: list[str] = []
    before: int | None = None
    after: int | None = None
    for piece in _PIECE.finditer(text):
        name = (piece["filter"] or "").lower()
        if not name or not filters:
            terms += _terms(piece)
            continue
        value = piece["value"].strip('"')
        if piece["minus"]:
            raise _bad(f"`-{name}:` is not understood; a minus goes before words and phrases.")
        if name == "in":
            channels.append(f"chat:{_named(_CHANNEL, name, value.removeprefix('#'))}")
        elif name == "from":
            user = _named(_USER, name, value)
            users.append(me if user == "me" else user)
        elif name == "has":
            has.append(_thing(value))
        elif name == "before":
            moment = _moment(name, value)
            before = moment if before is None else min(before, moment)
        else:
            moment = _moment(name, value)
            after = moment if after is None else max(after, moment)
    if len(terms) > _MAX_TERMS:
        raise _bad(f"A search takes {_MAX_TERMS} words and phrases at most.")
    if unfinished and terms and not text[-1:].isspace() and not terms[-1].unwanted and _enough(terms[-1].tokens):
        terms[-1] = terms[-1]._replace(unfinished=True)
    return Wording(tuple(terms), tuple(channels), tuple(users), before, after, tuple(dict.fromkeys(has)))


def _terms(piece: re.Match[str]) -> Iterator[Term]:
    text = piece["phrase"]
    if text is None:
        text = piece["word"] or f"{piece['filter']}:{piece['value']}"
    tokens = tuple(tokens_of(text))
    if tokens:
        unfinished = piece["phrase"] is None and text.endswith("*")
        yield Term(tokens, unfinished and _enough(tokens), bool(piece["minus"]))


def _enough(tokens: Sequence[str]) -> bool:
    """Whether the last word is enough of a beginning: of one Latin letter, half of all messages have a word."""
    return len(tokens[-1]) > 1 or not tokens[-1].isascii()


def _named(form: re.Pattern[str], name: str, value: str) -> str:
    found = form.fullmatch(value)
    if found is None:
        raise _bad(f"`{name}:{value}` names nothing that there can be.")
    return found[1]


def _thing(value: str) -> str:
    thing = value.lower()
    if thing not in MARKS:
        raise _bad(f"`has:{value}` is not understood; there are: {', '.join(MARKS)}.")
    return thing


def _moment(name: str, value: str) -> int:
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0, int(moment.timestamp() * 1000))
    except (ValueError, OverflowError):
        raise _bad(f"`{name}:{value}` is no date; write it as 2026-01-31, or 2026-01-31T18:00.") from None


def _bad(message: str) -> Refused:
    return Refused("invalid", message, details={"reason": "search"})


# Words


def _of_word(character: str) -> bool:
    """Whether a character is part of a word, as both databases' indexes have it: letters, digits, marks."""
    return unicodedata.category(character)[0] in "LNM"


def tokens_of(text: str) -> list[str]:
    """The words of a text, in order, as they are written."""
    return [text[start:end] for start, end in spans_of(text)]


def spans_of(text: str) -> Iterator[tuple[int, int]]:
    """Where each word of a text begins and ends."""
    start: int | None = None
    for at, character in enumerate(text):
        if _of_word(character):
            start = at if start is None else start
        elif start is not None:
            yield start, at
            start = None
    if start is not None:
        yield start, len(text)


def fold(word: str) -> str:
    """A word as it is compared: in lower case, without accents. In PostgreSQL this is `chat_search_words`."""
    plain = [c for c in unicodedata.normalize("NFKD", word) if not "\u0300" <= c <= "\u036f"]
    return "".join(plain).lower()


def matches(word: str, terms: Iterable[Term]) -> bool:
    """Whether a word is one that is looked for; of a phrase, any of its words."""
    folded = fold(word)
    return any(_matches(folded, term) for term in terms)


def _matches(folded: str, term: Term) -> bool:
    wanted: Sequence[str] = [fold(token) for token in term.tokens]
    return folded in wanted or (term.unfinished and folded.startswith(wanted[-1]))
