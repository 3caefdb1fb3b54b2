"""The reference page of the settings is what the declaration says."""

from __future__ import annotations

from pathlib import Path

from backchannel.settings import describe, reference

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "settings.md"


def test_the_page_is_up_to_date() -> None:
    """Whoever changes a setting runs ./scripts/generate and commits the page."""
    assert PAGE.read_text(encoding="utf-8") == reference()


def test_every_setting_is_on_the_page() -> None:
    """Each has one row with its name, flag, variable and default."""
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert len(rows) == len(describe())
    for info, row in zip(describe(), rows, strict=True):
        assert row.startswith(f"| `{info.name}` ")
        assert f"`{info.variable}`" in row
        assert info.flag is None or f"`{info.flag}`" in row
        assert row.count(" | ") == 4
