"""A query's data in its URL."""

from __future__ import annotations

import contextlib
import json
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backchannel import App, Meta, Query, Refused
from backchannel.schema.query_string import QueryString


@pytest.fixture(scope="module")
def find(everything: App) -> QueryString:
    """Of a query with every kind of field."""
    return QueryString(everything.requests["item.find"].cls)


def read(query_string: QueryString, text: str) -> Any:
    """What a query string says, as the worker would get it."""
    return json.loads(query_string.data(text.encode(), 32))


def test_each_field_has_its_spelling(find: QueryString) -> None:
    """Plain values once, lists of them repeated, and the rest, where a text could mean two things too, as JSON."""
    assert find.spellings == {
        "text": "one",
        "limit": "one",
        "ratio": "one",
        "open": "one",
        "sizes": "many",
        "levels": "many",
        "kind": "one",
        "since": "one",
        "either": "json",
        "near": "json",
        "filter": "json",
    }


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("", {}),
        ("text=", {"text": ""}),
        ("text=a+b%26c%C3%A4", {"text": "a b&cä"}),
        ("text=5&limit=7&ratio=1.5&open=true", {"text": "5", "limit": 7, "ratio": 1.5, "open": True}),
        ("open=0", {"open": False}),
        ("sizes=s&sizes=l&levels=2", {"sizes": ["s", "l"], "levels": [2]}),
        ("kind=b&since=2026-01-31", {"kind": "b", "since": "2026-01-31"}),
        ("near=%5B1,2%5D&either=%22x%22", {"near": [1, 2], "either": "x"}),
        ("filter=" + quote('{"name": "tea", "tags": ["a"]}'), {"filter": {"name": "tea", "tags": ["a"]}}),
        ("unknown=1&text=x", {"text": "x"}),
    ],
)
def test_what_is_written(find: QueryString, text: str, data: Any) -> None:
    """Texts become what their fields are declared as; what is not there is left out, and unknown names are ignored."""
    assert read(find, text) == data


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limit=many", r"Expected `int`, got `str` - at `\$\.limit`"),
        ("limit=0", r"Expected `int` >= 1 - at `\$\.limit`"),
        ("limit=", "limit"),
        ("open=perhaps", "open"),
        ("kind=c", "Invalid enum value 'c'"),
        ("levels=1&levels=x", r"\$\.levels"),
        ("text=a&text=b", "two parameters 'text'"),
        ("text=%FF", "UTF-8"),
        ("near=%5B1", "Parameter 'near' carries JSON"),
        ("filter=" + "[" * 40 + "]" * 40, "Nested deeper than 32"),
        ("filter=9007199254740993", "outside"),
        ("limit=5&limit=6", "two parameters 'limit'"),
    ],
)
def test_what_is_refused(find: QueryString, text: str, said: str) -> None:
    """With a message that names the parameter."""
    with pytest.raises(Refused, match=said) as caught:
        find.data(text.encode(), 32)
    assert caught.value.code == "invalid"


def test_integers_are_within_the_data_model() -> None:
    """As in a body (ENC-3)."""

    class Count(Query[int]):
        n: int

    with pytest.raises(Refused, match="outside"):
        QueryString(Count).data(b"n=9007199254740992", 32)


def test_a_strict_struct_stays_strict() -> None:
    """One that forbids unknown fields refuses them in a URL too."""

    class Strict(Query[int], forbid_unknown_fields=True):
        n: int = 0

    with pytest.raises(Refused, match="unknown field `m`"):
        QueryString(Strict).data(b"m=1", 32)


def test_fields_are_named_as_on_the_wire() -> None:
    """A renamed field has its encoded name."""

    class Renamed(Query[int], rename="camel"):
        page_size: int = 1

    assert read(QueryString(Renamed), "pageSize=3&page_size=4") == {"pageSize": 3}


class Plain(Query[int]):
    text: str = ""
    number: int = 0
    share: float = 0.0
    switch: bool = False
    words: tuple[str, ...] = ()


@given(
    st.builds(
        Plain,
        text=st.text(),
        number=st.integers(-(2**53) + 1, 2**53 - 1),
        share=st.floats(allow_nan=False, allow_infinity=False),
        switch=st.booleans(),
        words=st.lists(st.text(), max_size=3).map(tuple),
    )
)
def test_plain_values_arrive_as_they_were(value: Plain) -> None:
    """Whatever they are: what is written into a URL is what is read from it."""
    fields = {name: getattr(value, name) for name in value.__struct_fields__}
    pairs = urlencode({**fields, "switch": str(value.switch).lower()}, doseq=True)
    assert msgspec.json.decode(QueryString(Plain).data(pairs.encode(), 32), type=Plain) == value


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    """Never another exception."""
    with contextlib.suppress(Refused):
        msgspec.json.decode(QueryString(Plain).data(text, 32), type=Plain)


class Wish(Query[int]):
    """Fields that may be left out."""

    on: bool | None = None
    number: Annotated[int, Meta(ge=1)] | None = None
    word: str | None = None


@pytest.mark.parametrize("text", ["on=null", "number=null", "on=Null"])
def test_null_is_no_value(text: str) -> None:
    """What may be null is left out; the text `null` is neither a truth nor a number, and is a word like any other."""
    with pytest.raises(Refused, match="invalid"):
        read(QueryString(Wish), text)
    assert read(QueryString(Wish), "word=null") == {"word": "null"}
    assert read(QueryString(Wish), "") == {}
