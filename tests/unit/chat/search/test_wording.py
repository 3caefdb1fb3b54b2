"""What somebody types into a search box."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.chat.search.excerpt import excerpt_of
from backchannel.chat.search.matching import looked
from backchannel.chat.search.wording import Term, Wording, fold, read_wording, tokens_of
from backchannel_protocol import Refused


def test_words_phrases_and_what_is_unwanted() -> None:
    """Words are wanted each, a phrase together, a minus unwants, a star tells that a word goes on."""
    assert read_wording('green "iced tea" -milk sug* -"no thanks"').terms == (
        Term(("green",)),
        Term(("iced", "tea")),
        Term(("milk",), unwanted=True),
        Term(("sug",), unfinished=True),
        Term(("no", "thanks"), unwanted=True),
    )


def test_filters_stand_anywhere() -> None:
    """Filters are found between the words, in either case, and say the same as fields."""
    wording = read_wording(
        "in:#lobby tea FROM:@bob from:me before:2026-01-31 after:2026-01-30T12:00+02:00 has:File", me="alice"
    )
    assert wording == Wording(
        terms=(Term(("tea",)),),
        channels=("chat:lobby",),
        users=("bob", "alice"),
        before=1_769_817_600_000,
        after=1_769_767_200_000,
        has=("file",),
    )


@pytest.mark.parametrize("text", ["before:yesterday", "has:legs", "in:two!", 'from:"a b"', "-in:lobby", "a " * 21])
def test_what_is_not_understood_is_refused(text: str) -> None:
    """A filter that cannot be meant is refused, rather than looked for as a word."""
    with pytest.raises(Refused) as caught:
        read_wording(text)
    assert caught.value.code == "invalid"


def test_the_last_word_may_be_unfinished() -> None:
    """While somebody types, the last word is a beginning, unless a blank ended it or it is one letter alone."""

    def last(text: str) -> bool:
        return read_wording(text, unfinished=True).terms[-1].unfinished

    assert last("green te")
    assert not last("green te ")
    assert not last("green t")
    assert last("茶")
    assert not last("green -te")


def test_where_there_are_no_filters_they_are_words() -> None:
    """A name may read like a filter."""
    assert read_wording("in:side", filters=False).terms == (Term(("in", "side")),)


@given(st.text(max_size=300))
def test_any_text_is_understood_or_refused(text: str) -> None:
    """Nothing that is typed breaks the reading, or can end a word in a statement."""
    try:
        wording = read_wording(text, me="alice", unfinished=True)
    except Refused:
        return
    for term in wording.terms:
        assert term.tokens
        for token in term.tokens:
            assert not set(token) & set(" \"'()*:-^{}|&!<>\\")
    what = looked(wording.terms, users=wording.users, has=wording.has)
    assert (what is None) == (not wording.wanted and not wording.users and not wording.has)


@given(st.text(max_size=600), st.text(min_size=1, max_size=5))
def test_an_excerpt_is_part_of_its_text(text: str, word: str) -> None:
    """Joined, the pieces are a piece of the text; every second one is a word that was looked for."""
    terms = [Term((token,)) for token in tokens_of(word)]
    pieces, cut = excerpt_of(text, terms)
    assert "".join(pieces) in text
    assert cut == (len("".join(pieces)) < len(text))
    assert {fold(piece) for piece in pieces[1::2]} <= {fold(term.tokens[0]) for term in terms}


def test_an_excerpt_shows_the_first_words_that_were_found() -> None:
    """A long text is shown from shortly before the first of them, accents and case aside."""
    text = "blah " * 200 + "a Café au lait, please, in the cafeteria" + " blah" * 200
    pieces, cut = excerpt_of(text, [Term(("cafe",), unfinished=True)])
    assert pieces[1::2] == ["Café", "cafeteria"]
    assert cut
    assert len("".join(pieces)) == 240
