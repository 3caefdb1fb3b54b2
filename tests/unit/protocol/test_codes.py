"""Codes: the tables say what the ranges and the statuses promise."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import get_args

import pytest

from backchannel_protocol import CLOSE_CODES, ERROR_CODES, CloseCode, Malformed, Outcome, Refused, is_final
from backchannel_protocol.codes import CODE_PATTERN

error_codes = pytest.mark.parametrize("code", ERROR_CODES)
close_codes = pytest.mark.parametrize("code", CloseCode)


@error_codes
def test_error_code_is_a_word(code: str) -> None:
    """A code matches the grammar that an app's own codes must match, and is filed under itself."""
    assert re.fullmatch(CODE_PATTERN, code)
    assert ERROR_CODES[code].code == code


@error_codes
def test_error_status_can_travel(code: str) -> None:
    """The status is an HTTP error; 499 alone is not registered, for nobody is there to read it."""
    status = ERROR_CODES[code].status
    assert 400 <= status <= 599
    assert code == "cancelled" or HTTPStatus(status)


@error_codes
def test_error_outcome_fits_the_status(code: str) -> None:
    """A refusal of the client's (4xx) changed nothing; only a failure of the server's leaves it open."""
    row = ERROR_CODES[code]
    assert row.outcome in get_args(Outcome)
    assert (row.outcome == "unknown") == (row.status >= 500 or code == "cancelled")
    assert row.retry == (row.status >= 500 or row.status == 429)


@error_codes
def test_error_tells_meaning_and_cure(code: str) -> None:
    """Both are sentences."""
    row = ERROR_CODES[code]
    assert row.meaning.endswith(".")
    assert row.cure.endswith(".")


def test_statuses_of_retries_are_told_apart() -> None:
    """An HTTP client that knows the status alone still retries rightly."""
    retried = {row.status for row in ERROR_CODES.values() if row.retry}
    assert retried.isdisjoint(row.status for row in ERROR_CODES.values() if not row.retry)


@close_codes
def test_close_code_is_described_and_sendable(code: CloseCode) -> None:
    """Each code has its row and may be sent in a close frame (RFC 6455 section 7.4)."""
    row = CLOSE_CODES[code]
    assert row.code is code
    assert row.meaning.endswith(".")
    assert row.cure.endswith(".")
    assert 1000 <= code <= 1003 or 1007 <= code <= 1011 or 4000 <= code <= 4999


@close_codes
def test_close_range_is_the_instruction(code: CloseCode) -> None:
    """4000-4499 tells to reconnect, 4500-4999 never does."""
    says_reconnect = "reconnect" in CLOSE_CODES[code].cure.lower().replace("do not reconnect", "")
    if 4000 <= code <= 4499:
        assert says_reconnect
        assert not is_final(code)
    elif code >= 4500:
        assert not says_reconnect
        assert is_final(code)


def test_no_close_code_is_undescribed() -> None:
    """The table and the enumeration hold the same."""
    assert set(CLOSE_CODES) == set(CloseCode)


@pytest.mark.parametrize(
    ("code", "final"),
    [(1006, False), (3999, False), (4000, False), (4499, False), (4500, True), (4999, True), (5000, False)],
)
def test_final_is_a_range(code: int, final: bool) -> None:
    """A client that meets a code of a later version still knows whether to come back."""
    assert is_final(code) is final


def test_refused_takes_its_defaults_from_the_table() -> None:
    """Raising by code alone says what the table says; an app's own code says no, and nothing happened."""
    lost = Refused("unavailable", "Gone.")
    assert (lost.retry, lost.outcome) == (True, "unknown")
    assert (Refused("sold_out", "None left.").retry, Refused("sold_out", "None left.").outcome) == (False, "none")
    assert str(lost) == "unavailable: Gone."


def test_refused_may_know_better_than_the_table() -> None:
    """A refusal before anything was sent on is `unavailable`, and yet nothing happened."""
    refused = Refused("unavailable", "Later.", retry=False, outcome="none", retry_after=1.5, details={"a": 1})
    assert (refused.retry, refused.outcome, refused.retry_after) == (False, "none", 1.5)
    assert refused.details == {"a": 1}


def test_malformed_is_a_refusal() -> None:
    """Whoever handles refusals handles broken bytes."""
    broken = Malformed("No.", request_id=3)
    assert isinstance(broken, Refused)
    assert (broken.code, broken.request_id, broken.retry, broken.outcome) == ("invalid", 3, False, "none")
