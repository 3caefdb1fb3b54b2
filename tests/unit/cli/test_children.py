"""Children get the settings of their parent, whichever way those were given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backchannel.cli.children import children_environment
from backchannel.settings import Settings, load

SECRET = "s" * 40


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def both(flags: dict[str, Any], config: Path | None = None) -> tuple[Settings, Settings]:
    """The settings of a command with these flags, and of its children."""
    return load(flags, file=config)[0], load({}, environ=children_environment(flags, config))[0]


def test_what_flags_say_reaches_the_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """As does what they leave to variables; a flag wins over its variable there too."""
    monkeypatch.setenv("BACKCHANNEL_PORT", "1")
    monkeypatch.setenv("BACKCHANNEL_PING", "7")
    flags = {"port": "2", "dev": True, "docs": False, "origins": "https://a.example,https://b.example", "host": None}
    parent, child = both(flags)
    assert (parent.port, parent.ping, parent.dev, parent.docs) == (2, 7.0, True, False)
    assert child == parent


def test_a_named_file_is_theirs_too() -> None:
    """Children read the same file."""
    file = Path("other.toml")
    file.write_text("burst = 7")
    parent, child = both({}, file)
    assert child == parent
    assert child.burst == 7


@pytest.mark.parametrize("name", ["secret", "redis"])
def test_a_flag_that_names_a_file_wins_over_the_variable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Both would be variables for the children, which could not tell which one was meant."""
    monkeypatch.setenv(f"BACKCHANNEL_{name.upper()}", f"redis://{SECRET}-variable")
    Path("file").write_text(f"redis://{SECRET}-file")
    parent, child = both({f"{name}_file": "file"})
    assert getattr(parent, name) == f"redis://{SECRET}-file"
    assert child == parent


def test_a_flag_wins_over_the_variable_that_names_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other way round."""
    monkeypatch.setenv("BACKCHANNEL_REDIS_FILE", "gone")
    parent, child = both({"redis": "redis://flag"})
    assert child.redis == parent.redis == "redis://flag"
