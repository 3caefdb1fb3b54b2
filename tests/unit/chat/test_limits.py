"""Objects of the app's own are bounded, and what is refused says what to do."""

from __future__ import annotations

from typing import Any

import pytest

from backchannel.chat.limits import MAX_DATA, MAX_DEPTH, MAX_KEYS, check_data, merge_data
from backchannel_protocol import Refused


def nested(depth: int) -> dict[str, Any]:
    """An object of this many containers in each other."""
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def test_what_fits_is_kept_as_it_is() -> None:
    """An object at each bound is JSON text with the same content."""
    assert check_data({"a": [1, None, {"b": "ä"}]}, "data") == '{"a":[1,null,{"b":"ä"}]}'
    full = {"a": "x" * (MAX_DATA - len('{"a":""}'))}
    assert len(check_data(full, "data")) == MAX_DATA
    check_data({str(n): n for n in range(MAX_KEYS)}, "data")
    check_data(nested(MAX_DEPTH), "data")


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        ({"a": "x" * MAX_DATA}, "too_large", "data_size"),
        ({"a": "ä" * (MAX_DATA // 2)}, "too_large", "data_size"),
        ({str(n): n for n in range(MAX_KEYS + 1)}, "too_large", "data_keys"),
        ({"": 1}, "invalid", "data_key"),
        ({"k" * 65: 1}, "invalid", "data_key"),
        (nested(MAX_DEPTH + 1), "invalid", "data_depth"),
        ({"a": [[[[[[[[1]]]]]]]]}, "invalid", "data_depth"),
    ],
)
def test_what_is_beyond_a_bound_is_refused(data: dict[str, Any], code: str, reason: str) -> None:
    """One step beyond a bound is refused by its own code and reason, and the field is named."""
    with pytest.raises(Refused, match="`extra`") as caught:
        check_data(data, "extra")
    assert caught.value.code == code
    assert (caught.value.details or {})["reason"] == reason


def test_changes_merge_by_key() -> None:
    """A key that is given replaces the old value whole, null removes it, others stay; the sum is what is bounded."""
    assert merge_data('{"a":1,"b":{"c":2},"d":3}', {"b": {"e": 4}, "d": None, "n": None}, "data") == (
        '{"a":1,"b":{"e":4}}'
    )
    with pytest.raises(Refused, match="too_large"):
        merge_data('{"a":"' + "x" * (MAX_DATA - 20) + '"}', {"b": "x" * 20}, "data")
