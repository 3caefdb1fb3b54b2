"""Arguments of commands: what a signature or a struct takes, and what people are told who write something else."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from backchannel_client.arguments import UsageError, signature_of
from backchannel_client.words import Unclosed, next_word

if TYPE_CHECKING:
    from backchannel_client import BotEvent


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


Dice = Annotated[str, Meta(pattern=r"^\d+d\d+$", description="dice.", examples=["2d6", "1d20"])]


class Poll(Struct):
    question: str
    days: Annotated[int, Meta(ge=1, le=30)] = 7
    options: list[str] = []

    def __post_init__(self) -> None:
        if len(self.options) == 1:
            raise ValueError("One option is no choice.")


async def nothing(event: BotEvent[Any]) -> None: ...
async def plain(event: BotEvent[Any], a: str, b: int = 2, *, text: str = "") -> None: ...
async def numbers(event: BotEvent[Any], x: float, y: Decimal | None = None, *more: int) -> None: ...
async def bounded(
    event: BotEvent[Any], n: Annotated[int, Meta(ge=1, le=10_000_000)], f: Annotated[float, Meta(gt=0)]
) -> None: ...
async def chosen(event: BotEvent[Any], on: bool, size: Literal["s", "m", 3], colour: Colour = Colour.RED) -> None: ...
async def dated(event: BotEvent[Any], day: datetime.date) -> None: ...
async def rolled(event: BotEvent[Any], dice: Dice = "1d6") -> None: ...
async def polled(event: BotEvent[Any], poll: Poll) -> None: ...


def words_of(text: str) -> list[str]:
    words, at = [], 0
    while (found := next_word(text, at)) is not None:
        word, at = found
        words.append(word)
    return words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("  a\tb\n c ", ["a", "b", "c"]),
        ('"a b" c', ["a b", "c"]),
        ("'a b'", ["a b"]),
        ("“a b” „c d“ «e f»", ["a b", "c d", "e f"]),
        ("“mixed\" 'x'", ["mixed", "x"]),
        (r'"say \"hi\" \\ \n"', [r"say \"hi\" \ \n".replace(r"\"", '"')]),
        ("don't 5'11\"", ["don't", "5'11\""]),
        ('""', [""]),
        ('"a"b', ["a", "b"]),
    ],
)
def test_words_and_quotation_marks(text: str, words: list[str]) -> None:
    """Spaces part words, quotation marks of all kinds keep them together, an apostrophe is a letter."""
    assert words_of(text) == words


@pytest.mark.parametrize("text", ['"a b', "a 'b", r'"a\"'])
def test_a_quotation_mark_that_is_not_closed(text: str) -> None:
    """It is told, instead of guessed at."""
    with pytest.raises(Unclosed, match="not closed"):
        words_of(text)


@given(st.lists(st.text(min_size=1)))
def test_quoted_words_come_back(words: list[str]) -> None:
    """Whatever is between quotation marks, with a backslash before the two special letters, is one word."""
    quoted = ('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words)
    assert words_of(" ".join(quoted)) == words


@given(st.text())
def test_any_text_is_words_or_unclosed(text: str) -> None:
    """Nothing else comes out, and reading ends."""
    try:
        words = words_of(text)
    except Unclosed:
        return
    assert sum(map(len, words)) <= len(text)


@pytest.mark.parametrize(
    ("handler", "text", "positional", "named"),
    [
        (nothing, " ", [], {}),
        (plain, "x", [], {"a": "x"}),
        (plain, "x 5", [], {"a": "x", "b": 5}),
        (plain, "'x y' 5  all \"the\" rest ", [], {"a": "x y", "b": 5, "text": 'all "the" rest'}),
        (numbers, "1.5", [], {"x": 1.5}),
        (numbers, "1 2.50 3 4", [1.0, Decimal("2.50"), 3, 4], {}),
        (bounded, "1 0.5", [], {"n": 1, "f": 0.5}),
        (chosen, "YES s", [], {"on": True, "size": "s"}),
        (chosen, "off 3 blue", [], {"on": False, "size": 3, "colour": Colour.BLUE}),
        (dated, "2030-12-31", [], {"day": datetime.date(2030, 12, 31)}),
        (rolled, "", [], {}),
        (rolled, "3d8", [], {"dice": "3d8"}),
        (polled, "'Tea or coffee?'", [Poll("Tea or coffee?")], {}),
        (polled, "What 3 tea coffee", [Poll("What", 3, ["tea", "coffee"])], {}),
    ],
)
def test_words_become_typed_arguments(
    handler: Callable[..., Any], text: str, positional: list[Any], named: dict[str, Any]
) -> None:
    """Ready to call the handler with; what is not written keeps its default."""
    assert signature_of(handler).read(text) == (positional, named)


@pytest.mark.parametrize(
    ("handler", "text", "told"),
    [
        (nothing, "x", "That is too much, from “x” on."),
        (plain, "", "a is missing: write a text."),
        (plain, "a b", "b: write a whole number, not “b”."),
        (plain, "'a", "The quotation mark ' is not closed."),
        (numbers, "nan", "x: write a number, not “nan”."),
        (numbers, "1 2 3 x", "more: write a whole number, not “x”."),
        (bounded, "0 1", "n: write a whole number from 1 to 10000000, not “0”."),
        (bounded, "1 0", "f: write a number above 0, not “0”."),
        (chosen, "maybe s", "on: write yes or no, not “maybe”."),
        (chosen, "yes xl", "size: write s, m or 3, not “xl”."),
        (chosen, "yes s green", "colour: write red or blue, not “green”."),
        (dated, "soon", "day: write a date as 2030-12-31, not “soon”."),
        (rolled, "6", "dice: write dice, such as 2d6 or 1d20, not “6”."),
        (rolled, "x" * 100, f"dice: write dice, such as 2d6 or 1d20, not “{'x' * 40}…”."),
        (polled, "", "question is missing: write a text."),
        (polled, "q 31", "days: write a whole number from 1 to 30, not “31”."),
        (polled, "q 1 x", "One option is no choice."),
    ],
)
def test_people_are_told_what_to_write(handler: Callable[..., Any], text: str, told: str) -> None:
    """A sentence without a word of Python."""
    with pytest.raises(UsageError) as caught:
        signature_of(handler).read(text)
    assert str(caught.value) == told


@pytest.mark.parametrize(
    ("handler", "usage"),
    [
        (nothing, ""),
        (plain, "<a> [b] [text]"),
        (numbers, "<x> [y] [more...]"),
        (chosen, "<on> <s|m|3> [red|blue]"),
        (polled, "<question> [days] [options...]"),
    ],
)
def test_usage(handler: Callable[..., Any], usage: str) -> None:
    """What is needed stands in angle brackets, what is not in square ones, and choices are shown."""
    assert signature_of(handler).usage == usage


async def no_event() -> None: ...
async def only_named(*, text: str) -> None: ...
async def untyped(event, a) -> None: ...  # type: ignore[no-untyped-def]
async def mapping(event: BotEvent[Any], a: dict[str, int]) -> None: ...
async def either(event: BotEvent[Any], a: int | str) -> None: ...
async def options(event: BotEvent[Any], **more: str) -> None: ...
async def number_as_text(event: BotEvent[Any], *, text: int) -> None: ...
async def two_texts(event: BotEvent[Any], *, a: str, b: str) -> None: ...
async def unknown(event: BotEvent[Any], a: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


class Backwards(Struct, kw_only=True):
    a: int = 1
    b: int


async def backwards(event: BotEvent[Any], arguments: Backwards) -> None: ...


@pytest.mark.parametrize(
    ("handler", "cure"),
    [
        (no_event, "takes no event"),
        (only_named, "takes no event"),
        (untyped, "a of untyped has no type"),
        (mapping, "a of mapping cannot be read from words: use str"),
        (either, "a of either cannot be read from words"),
        (options, "more of options: write it as"),
        (number_as_text, "let its type be str"),
        (two_texts, "let it be the last one"),
        (unknown, "Define it in the module"),
        (backwards, "b of Backwards needs a default, because a before it has one"),
    ],
)
def test_what_cannot_be_read_fails_at_once(handler: Callable[..., Any], cure: str) -> None:
    """When the bot is made, not when the first message comes; the message tells the cure."""
    with pytest.raises(TypeError, match=cure):
        signature_of(handler)


def test_methods_and_local_types_are_understood() -> None:
    """`self` is no argument, and a type may be one that the surrounding function has."""
    small = Annotated[int, Meta(le=9)]

    class Game:
        async def play(self, event: BotEvent[Any], level: small) -> None:
            repr(small)

    assert signature_of(Game().play).read("9") == ([], {"level": 9})
