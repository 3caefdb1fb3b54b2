"""Word lists by themselves: what they find, what speaks for it, and that no list and no text makes them slow."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel.chat.moderation.lists import Source, compile_list, digest_of, judge
from backchannel_protocol import Refused


def outcome(text: str, *scopes: Sequence[tuple[str, str, Sequence[str]]]) -> Any:
    """What lists, each a kind, an action and entries, make of a text; the widest scope first."""
    compiled = [
        [compile_list(Source(f"{kind} {action}", kind, action, entries, "")) for kind, action, entries in scope]
        for scope in scopes
    ]
    return judge(compiled, text)


def found(kind: str, entries: Sequence[str], text: str) -> list[str]:
    """The pieces that one list finds."""
    return [text[slice(*one.span)] for one in outcome(text, [(kind, "block", entries)]).found]


@pytest.mark.parametrize(
    ("entry", "text", "pieces"),
    [
        ("darn", "Oh DARN it, darning", ["DARN"]),
        ("darn", "_darn_ d-arn", ["darn"]),
        ("darn", "\uff24\uff41\uff52\uff4e", ["\uff24\uff41\uff52\uff4e"]),
        ("darn", "d\u200bar\u00adn", ["d\u200bar\u00adn"]),
        ("Straße", "STRASSE", ["STRASSE"]),
        ("क्या", "क्या है", ["क्या"]),
        ("darn*", "darning undarn", ["darning"]),
        ("*darn", "undarn darning", ["undarn"]),
        ("*darn*", "a xdarnx", ["xdarnx"]),
        ("buy now", "Buy, NOW! buy nothing now", ["Buy, NOW"]),
        ("don't", "don\u2019t, don't", ["don\u2019t", "don't"]),
        ("🖕", "so 🖕🏽 there", ["🖕"]),
    ],
)
def test_words(entry: str, text: str, pieces: list[str]) -> None:
    """Whole words in whatever case, width or disguise; `*` opens an end; phrases skip what stands between words."""
    assert found("word", [entry], text) == pieces


@pytest.mark.parametrize(
    ("entry", "text", "pieces"),
    [
        ("evil.example", "see http://www.EVIL.example/x and notevil.example", ["www.EVIL.example"]),
        ("evil.example", "mail me@evil.example", ["evil.example"]),
        ("evil.example", "https://good.example@evil.example/", ["evil.example"]),
        ("evil.example", "evil。example", ["evil。example"]),
        ("bücher.example", "xn--bcher-kva.example", ["xn--bcher-kva.example"]),
        ("xn--bcher-kva.example", "BÜCHER.example", ["BÜCHER.example"]),
        ("10.0.0.1", "at 10.0.0.1:80", ["10.0.0.1"]),
        ("*", "a.example, 3.14, e.g. this", ["a.example"]),
    ],
)
def test_domains(entry: str, text: str, pieces: list[str]) -> None:
    """A domain and all below it, in a link or bare, in Unicode or Punycode."""
    assert found("domain", [entry], text) == pieces


def test_regular_expressions() -> None:
    """RE2's syntax, whatever the case."""
    assert found("regex", [r"\bcall \d{3}"], "Call 555 or recall 555") == ["Call 555"]


@pytest.mark.parametrize(
    ("kind", "entry", "says"),
    [
        ("regex", "(?=a)", "look-around"),
        ("regex", "(a", "missing"),
        ("regex", "a*", "empty"),
        ("word", "a*b", "`*`"),
        ("word", "*", "`*`"),
        ("word", "two words*", "phrase"),
        ("word", "w " * 17, "16 words"),
        ("domain", "http://a.example", "domain"),
    ],
)
def test_an_entry_that_is_none_is_refused_by_name(kind: str, entry: str, says: str) -> None:
    """The refusal shows the entry and tells what to do."""
    with pytest.raises(Refused, match=says) as caught:
        compile_list(Source("n", kind, "block", [entry], ""))
    assert (caught.value.code, caught.value.details["entry"]) == ("invalid", entry)


def test_block_is_more_than_mask_is_more_than_flag() -> None:
    """The strictest action that anything found asks for decides; a text that is blocked is not rewritten."""
    lists = [("word", "flag", ["one"]), ("word", "mask", ["two"]), ("word", "block", ["three"])]
    assert outcome("zero", lists).verdict == "pass"
    assert outcome("one", lists).verdict == "flag"
    masked = outcome("one two", lists)
    assert (masked.verdict, masked.text) == ("mask", "one ***")
    assert {one.list.action for one in masked.found} == {"flag", "mask"}
    blocked = outcome("one two three", lists)
    assert (blocked.verdict, blocked.text) == ("block", "one two three")


def test_an_allow_list_speaks_for_its_scope_and_narrower_ones_alone() -> None:
    """A channel cannot allow what operators block; operators can allow what a channel blocks."""
    block, allow = ("word", "block", ["*ass*"]), ("word", "allow", ["assess"])
    assert outcome("assess", [block]).verdict == "block"
    assert outcome("assess", [block, allow]).verdict == "pass"
    assert outcome("assess ass", [block, allow]).verdict == "block"
    assert outcome("assess", [allow], [block]).verdict == "pass"
    assert outcome("assess", [block], [allow]).verdict == "block"
    only_ours = [("domain", "block", ["*"]), ("domain", "allow", ["our.example"])]
    assert outcome("docs.our.example", only_ours).verdict == "pass"
    assert outcome("our.example.evil.example", only_ours).verdict == "block"


TEXTS = st.text(st.sampled_from("ab \u200b.ß\u0301"), max_size=40)


@given(TEXTS, st.lists(st.sampled_from(["a", "ab*", "*b", "*a*", "a b", "a b a"]), min_size=1, unique=True))
def test_a_mask_covers_what_was_found_and_nothing_else(text: str, entries: list[str]) -> None:
    """The text keeps its length and its spaces, and masking twice masks nothing new."""
    result = outcome(text, [("word", "mask", entries)])
    assert len(result.text) == len(text)
    covered = {at for one in result.found for at in range(*one.span)}
    for at, (old, new) in enumerate(zip(text, result.text, strict=True)):
        assert new == ("*" if at in covered and not old.isspace() else old)


def test_a_digest_names_the_content() -> None:
    """The same lists in another order have one digest; any other content has another."""
    one, two = Source("a", "word", "block", ("x",), ""), Source("b", "word", "mask", ("y",), "")
    assert digest_of([one, two]) == digest_of([two, one])
    others = [
        digest_of([one]),
        digest_of([one._replace(entries=("z",)), two]),
        digest_of([one, two._replace(name="c")]),
    ]
    assert len({digest_of([one, two]), *others}) == 4
    assert digest_of([]) == "-" * 24


@pytest.mark.parametrize(
    ("kind", "entries", "text"),
    [
        ("regex", [r"(a+)+$"], "a" * 20_000 + "!"),
        ("regex", [r"(.*a){20}x"], "a" * 20_000),
        ("regex", [r"a.*b|a"], "a" * 20_000),
        ("word", ["a " * 15 + str(n) for n in range(500)], "a " * 10_000),
        ("domain", ["b.example"], "a." * 10_000 + "example"),
        ("word", ["*a*"], "a " * 10_000),
    ],
)
def test_no_text_makes_a_list_slow(kind: str, entries: list[str], text: str) -> None:
    """What would take a backtracking engine, or a careless search, minutes and more takes well under a second."""
    compiled = compile_list(Source("n", kind, "block", entries, ""))
    allowed = compile_list(Source("m", "word", "allow", ["zzz", "a"], ""))
    began = time.process_time()
    judge([[compiled, allowed]], text)
    assert time.process_time() - began < 1.0
