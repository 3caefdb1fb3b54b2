"""Scripts: their text and the hash that Redis knows them by."""

from __future__ import annotations

import hashlib

import pytest

from backchannel.bus import Script


def test_a_script_is_named_by_the_sha1_of_its_text() -> None:
    """EVALSHA's name is the SHA-1 of the very bytes that EVAL would send."""
    script = Script.of("one", "return 'ü'")
    assert script.sha == hashlib.sha1("return 'ü'".encode()).hexdigest()


def test_a_script_that_is_not_there_is_told_by_its_file() -> None:
    """A damaged installation names the missing file."""
    with pytest.raises(FileNotFoundError, match=r"absent\.lua"):
        Script.load("bus", "absent.lua")
