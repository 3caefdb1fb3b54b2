"""The example bot: dice, load, command line."""

from __future__ import annotations

import importlib.util
import random
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[3] / "examples" / "bot.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("example_bot", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("text", "shown", "least", "most"),
    [
        ("2d6", "2d6", 2, 12),
        ("1d6", "1d6", 1, 6),
        ("d20", "1d20", 1, 20),
        ("1D6+2", "1d6+2", 3, 8),
        ("3d8-1", "3d8-1", 2, 23),
        ("100d1000", "100d1000", 100, 100_000),
    ],
)
def test_dice_are_rolled(example: ModuleType, text: str, shown: str, least: int, most: int) -> None:
    """Count, sides and bonus; the sum is shown and right."""
    for seed in range(50):
        dice, _, rolled = example.roll(text, random.Random(seed)).partition(": ")
        terms, _, total = rolled.rpartition(" = ")
        assert dice == shown
        assert least <= int(total) <= most
        assert not terms or sum(map(int, re.findall(r"-?\d+", terms.replace(" ", "")))) == int(total)


@pytest.mark.parametrize("text", ["0d6", "101d6", "1d1", "1d1001", "99999d6", "six", "2d6; rm", "d", "-1d6"])
def test_what_is_no_dice_is_answered_kindly(example: ModuleType, text: str) -> None:
    """Limits and grammar: a sentence for the user, no traceback."""
    with pytest.raises(ValueError, match=r"^(Write|I can|My dice).*\.$"):
        example.roll(text, random.Random(1))


def test_load_is_a_sentence(example: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """By psutil where it can be imported, else by the system's own average."""
    assert example.load().startswith("CPU ")
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert example.load().startswith("Load ")


def test_help_and_a_missing_token(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line explains itself."""
    monkeypatch.delenv("BACKCHANNEL_TOKEN", raising=False)
    monkeypatch.setattr(sys, "argv", ["bot.py", "--help"])
    with pytest.raises(SystemExit):
        example.main()
    assert "--join" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["bot.py"])
    with pytest.raises(SystemExit):
        example.main()
    assert "backchannel token" in capsys.readouterr().err
