"""The page that shows a contract, in a real browser."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from backchannel import demo


@pytest.mark.timeout(300)  # the tools may have to be installed
async def test_the_page_shows_and_asks(serve: Any, tools: Any) -> None:
    """Under its own policy it lists everything, asks with a pasted token by keyboard alone, finds, has two themes,
    fits a phone, and loads nothing from elsewhere."""
    chromium = shutil.which("chromium")
    assert chromium, "chromium is needed: run scripts/setup-system"
    here = Path(__file__).parent
    async with serve(demo.app) as served:
        await tools.run("node", here / "page.mjs", served.url, served.token(), chromium, cwd=here)
