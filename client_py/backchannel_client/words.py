"""Words as people write them behind a command: apart by spaces, or between quotation marks."""

from __future__ import annotations

from typing import Final

__all__ = ["Unclosed", "next_word"]

# Phones and office programs write the curly ones, unasked.
_CLOSING: Final = {'"': '"', "'": "'", "“": "”", "„": "“", "«": "»"}


class Unclosed(ValueError):
    """A quotation mark begins a word and nothing ends it."""


def next_word(text: str, at: int) -> tuple[str, int] | None:
    r"""The next word at or behind index `at`, and the index behind it; None where there is no other.

    A quotation mark at the beginning of a word makes it reach to the closing one; there, a backslash takes a quotation
    mark or a backslash as it is. Inside a word quotation marks are letters like any other: `don't`.

    Raises:
        Unclosed: the closing quotation mark is missing.
    """
    while at < len(text) and text[at].isspace():
        at += 1
    if at == len(text):
        return None
    closing = _CLOSING.get(text[at])
    if closing is None:
        end = at
        while end < len(text) and not text[end].isspace():
            end += 1
        return text[at:end], end
    opening, word = text[at], ""
    at += 1
    while at < len(text):
        letter = text[at]
        if letter == closing or (opening == "“" and letter == '"'):
            return word, at + 1
        if letter == "\\" and text[at + 1 : at + 2] in (closing, "\\"):
            at += 1
            letter = text[at]
        word += letter
        at += 1
    raise Unclosed(f"The quotation mark {opening} is not closed.")
