"""Lists: words, domains and regular expressions, compiled; what they find in a text. Pure: no database, no request.

Everything takes time linear in the text, whatever the lists and the text are. Words are looked up word by word. Regular
expressions are RE2's, which has no backtracking; how large their programs may be is bounded, too.
"""

from __future__ import annotations

import bisect
import contextlib
import functools
import hashlib
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
import re2

from backchannel import Refused

__all__ = [
    "MAX_ENTRIES",
    "MAX_PROGRAM",
    "MAX_PROGRAM_OF_CHANNEL",
    "Compiled",
    "Found",
    "Outcome",
    "Source",
    "compile_list",
    "digest_of",
    "judge",
]

MAX_ENTRIES: Final = 5000
"""Entries of all lists of one scope."""
MAX_PROGRAM: Final = 20_000
"""Instructions of RE2 in all regular expressions of one scope. One has a few more than it has characters; `\\pL`, all
letters, has 1500. In the worst case each takes 10 ns per character of a text."""
MAX_PROGRAM_OF_CHANNEL: Final = 2000
"""The same, for the lists of one channel, which its own moderators make."""

_MAX_PHRASE: Final = 16
"""Words of a phrase."""
_MAX_PLACES: Final = 100
"""Places where one regular expression is found; the rest of the text then counts as one more."""

Span = tuple[int, int]
Action = Literal["block", "mask", "flag", "allow"]


class Source(NamedTuple):
    """A list as it is kept."""

    name: str
    kind: str
    action: Any
    entries: Sequence[str]
    message: str


class Found(NamedTuple):
    """What a list found, and where."""

    list: Compiled
    span: Span


class Compiled(NamedTuple):
    """A list that can look for its entries."""

    name: str
    action: Action
    message: str
    find: Callable[[_Text], Iterable[Span]]
    program: int
    """Instructions of its regular expressions."""


class Outcome(NamedTuple):
    """What is to be done with a text."""

    verdict: Literal["pass", "mask", "flag", "block"]
    text: str
    """With what `mask` lists found replaced."""
    found: Sequence[Found]
    """What decided it, in the order of the lists."""


def digest_of(sources: Iterable[Source]) -> str:
    """Names what the lists of a scope contain: 24 characters, or as many `-` if there are none."""
    lists = sorted(sources)
    if not lists:
        return "-" * 24
    return hashlib.sha256(msgspec.json.encode(lists)).hexdigest()[:24]


def judge(scopes: Sequence[Sequence[Compiled]], text: str) -> Outcome:
    """What the lists make of a text.

    Args:
        scopes: the lists of each scope, the widest scope first: an `allow` list speaks for its own and those behind it.
        text: what is said.
    """
    view = _Text(text)
    allowed = _Spans()
    found: list[Found] = []
    for lists in scopes:
        for one in lists:
            if one.action == "allow":
                allowed.add(one.find(view))
        for one in lists:
            if one.action != "allow":
                found += [Found(one, span) for span in one.find(view) if not allowed.hold(span)]
    verdicts: tuple[Literal["block", "mask", "flag"], ...] = ("block", "mask", "flag")
    for verdict in verdicts:
        decisive = [one for one in found if one.list.action == verdict]
        if decisive:
            masked = _masked(text, [one.span for one in found if one.list.action == "mask"])
            return Outcome(verdict, text if verdict == "block" else masked, decisive if verdict == "block" else found)
    return Outcome("pass", text, ())


class _Spans:
    """Spans, to be asked whether one of them holds another."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._ends: list[int] = []

    def add(self, spans: Iterable[Span]) -> None:
        self._spans = sorted([*self._spans, *spans])
        self._ends = list(itertools.accumulate((end for _, end in self._spans), max))

    def hold(self, span: Span) -> bool:
        begun = bisect.bisect_right(self._spans, span[0], key=lambda own: own[0])
        return begun > 0 and self._ends[begun - 1] >= span[1]


def _masked(text: str, spans: Sequence[Span]) -> str:
    pieces, end = [], 0
    for start, stop in sorted(spans):
        if stop > end:
            begin = max(start, end)
            pieces += [text[end:begin], "".join(c if c.isspace() else "*" for c in text[begin:stop])]
            end = stop
    return "".join([*pieces, text[end:]])


# Texts

_ASCII_WORDS: Final = re.compile(r"[A-Za-z0-9]+")
# Marks belong to the letter before them, and what has no width parts no word.
_WORDS: Final = re2.compile(r"[\pL\pN\pM\p{Cf}]+")
_DOTS: Final = ".\u3002\uff0e\uff61"
_LABEL: Final = 63
_LABELS: Final = 127
"""Characters of a label and labels of a domain, RFC 1035, 2.3.4."""
_HOSTS: Final = re2.compile(
    rf"(?i)(?:[\pL\pN][\pL\pN\pM\p{{Cf}}_-]*[{_DOTS}])+(?:xn--[a-z0-9-]+|\pL[\pL\pM\p{{Cf}}]+)"
    rf"|[0-9]{{1,3}}(?:[{_DOTS}][0-9]{{1,3}}){{3}}"
)


class _Text:
    """A text, with its words and domains where a list asks for them."""

    def __init__(self, text: str) -> None:
        self.text = text

    @functools.cached_property
    def words(self) -> list[tuple[str, Span]]:
        """The words in their common form."""
        return [(_common(word), span) for word, span in _words(self.text)]

    @functools.cached_property
    def hosts(self) -> list[tuple[list[str], Span]]:
        """The labels of what looks like a domain or an IPv4 address."""
        return [(_labels(match.group()), match.span()) for match in _HOSTS.finditer(self.text)]


def _words(text: str) -> Iterator[tuple[str, Span]]:
    words = (_ASCII_WORDS if text.isascii() else _WORDS).finditer(text)
    return ((match.group(), match.span()) for match in words)


def _common(word: str) -> str:
    """One form for what reads the same: full-width and other variants, capitals, what has no width."""
    if word.isascii():
        return word.lower()
    plain = "".join(c for c in unicodedata.normalize("NFKC", word) if unicodedata.category(c) != "Cf")
    return unicodedata.normalize("NFKC", plain.casefold())


def _labels(host: str) -> list[str]:
    labels = []
    for label in re.split(f"[{_DOTS}]", host):
        common = _common(label)
        if not common.isascii() and len(common) <= _LABEL:
            with contextlib.suppress(UnicodeError):
                common = common.encode("idna").decode("ascii")
        labels.append(common)
    return labels[-_LABELS:]


# Lists


def compile_list(source: Source) -> Compiled:
    """A list that can look for its entries.

    Raises:
        Refused: `invalid`, an entry is none of its kind; the message says which, and why.
    """
    program = 0
    if source.kind == "word":
        find = _word_finder(source.entries)
    elif source.kind == "domain":
        find = _domain_finder(source.entries)
    else:
        regexes = [_regex(entry) for entry in source.entries]
        find, program = _regex_finder(regexes), sum(regex.programsize for regex in regexes)
    return Compiled(source.name, source.action, source.message, find, program)


def _invalid(entry: str, why: str) -> Refused:
    return Refused("invalid", f"The entry {entry!r}: {why}", details={"reason": "entry", "entry": entry})


def _any_of(literals: Iterable[str]) -> Any:
    options = re2.Options()
    options.log_errors = False
    return re2.compile("|".join(map(re2.escape, literals)), options)


def _word_finder(entries: Sequence[str]) -> Callable[[_Text], Iterable[Span]]:
    exact: set[str] = set()
    beginnings: set[str] = set()
    ends: set[str] = set()
    parts: set[str] = set()
    signs: set[str] = set()
    phrases: dict[str, Any] = {}  # word after word; the key "" says that a phrase ends
    for entry in entries:
        bare = entry.strip().removeprefix("*").removesuffix("*")
        words = [_common(word) for word, _ in _words(bare)]
        open_start, open_end = entry.strip().startswith("*"), entry.strip().endswith("*")
        if "*" in bare or not bare.strip():
            raise _invalid(entry, "`*` may stand at its beginning and at its end, with something in between.")
        if not words:
            signs.add(bare)
        elif len(words) > 1:
            if open_start or open_end:
                raise _invalid(entry, "`*` goes with one word, not with a phrase.")
            if len(words) > _MAX_PHRASE:
                raise _invalid(entry, f"a phrase has {_MAX_PHRASE} words at most.")
            branch = phrases
            for word in words:
                branch = branch.setdefault(word, {})
            branch[""] = {}
        else:
            kind = parts if open_start and open_end else ends if open_start else beginnings if open_end else exact
            kind.add(words[0])
    heads, tails = sorted(set(map(len, beginnings))), sorted(set(map(len, ends)))
    inside = _any_of(sorted(parts)) if parts else None
    literal = _any_of(sorted(signs)) if signs else None

    def matches(word: str) -> bool:
        return (
            word in exact
            or any(word[:length] in beginnings for length in heads)
            or any(word[-length:] in ends for length in tails)
            or (inside is not None and inside.search(word) is not None)
        )

    def find(view: _Text) -> Iterator[Span]:
        words = view.words
        for index, (word, span) in enumerate(words):
            if matches(word):
                yield span
            branch = phrases.get(word)
            following = index + 1
            while branch is not None:
                if "" in branch:
                    yield span[0], words[following - 1][1][1]
                branch = branch.get(words[following][0]) if following < len(words) else None
                following += 1
        if literal is not None:
            yield from (match.span() for match in literal.finditer(view.text))

    return find


def _domain_finder(entries: Sequence[str]) -> Callable[[_Text], Iterable[Span]]:
    domains = set()
    for entry in entries:
        match = _HOSTS.fullmatch(entry.strip())
        if match is None and entry.strip() != "*":
            raise _invalid(entry, "write a domain, as `example.com`, or `*` for all.")
        domains.add("*" if match is None else ".".join(_labels(match.group())))

    def find(view: _Text) -> Iterator[Span]:
        for labels, span in view.hosts:
            if "*" in domains or any(".".join(labels[first:]) in domains for first in range(len(labels))):
                yield span

    return find


def _regex(entry: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = False
    try:
        regex = re2.compile(entry, options)
    except re2.error as error:
        why = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        raise _invalid(entry, f"{why}; RE2 knows neither look-around nor back-references.") from None
    if regex.search("") is not None:
        raise _invalid(entry, "it finds what is empty, so it would find something in every text.")
    return regex


def _regex_finder(regexes: Sequence[Any]) -> Callable[[_Text], Iterable[Span]]:
    def find(view: _Text) -> Iterator[Span]:
        for regex in regexes:
            for count, match in enumerate(regex.finditer(view.text)):
                if count == _MAX_PLACES:
                    yield match.start(), len(view.text)
                    break
                yield match.span()

    return find
