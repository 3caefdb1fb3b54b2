"""Excerpts: the part of a text that shows what was found in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from .wording import Term, matches, spans_of

__all__ = ["Excerpt", "excerpt_of"]

_BEFORE: Final = 60
_LENGTH: Final = 240


class Excerpt(NamedTuple):
    """A part of a text: pieces, of which every second one, from the second on, was looked for."""

    pieces: list[str]
    cut: bool


def excerpt_of(text: str, wanted: Sequence[Term]) -> Excerpt:
    """The part of a text around the first of the words that were looked for."""
    hits = [(start, end) for start, end in spans_of(text) if matches(text[start:end], wanted)] if wanted else []
    first, last = 0, len(text)
    if last > _LENGTH:
        first = max(0, min(hits[0][0] - _BEFORE if hits else 0, last - _LENGTH))
        last = first + _LENGTH
    pieces: list[str] = []
    done = first
    for start, end in hits:
        if start >= first and end <= last:
            pieces += [text[done:start], text[start:end]]
            done = end
    pieces.append(text[done:last])
    return Excerpt(pieces, last - first < len(text))
